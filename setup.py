"""Distribution scipion-em-cryodl: the Scipion plugin. The engine is in engine/."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def readVersion():
    """Read the version from the package without importing it (that would need Scipion)."""
    text = (HERE / "cryodl_plugin" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def readLongDescription():
    """Return the README, or nothing where it was left out of a source archive."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="scipion-em-cryodl",
    version=readVersion(),
    description="Deep learning for cryo-EM and cryo-ET in Scipion: anisotropy correction, "
    "picking, alignment, classification, heterogeneity",
    long_description=readLongDescription(),
    long_description_content_type="text/markdown",
    license="GPL-3.0-or-later",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
    ],
    keywords="scipion cryoem cryoet deep-learning preferred-orientation 3DFSC",
    packages=find_packages(include=["cryodl_plugin", "cryodl_plugin.*"]),
    package_data={
        "cryodl_plugin": [
            "icon.png",
            "protocols.conf",
            "schemas/*.json",
            "templates/*.json.template",
        ]
    },
    include_package_data=True,
    python_requires=">=3.10",
    install_requires=[
        "scipion-pyworkflow>=3.11",
        "scipion-em>=3.11",
        "scipion-em-tomo>=3.12",
        "mrcfile",
        "numpy",
        "scipy",
        "matplotlib",
    ],
    entry_points={"pyworkflow.plugin": "cryodl_plugin = cryodl_plugin"},
    zip_safe=False,
)
