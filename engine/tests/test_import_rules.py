"""Who may import whom: read from the import statements, so that nothing need be installed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "engine" / "src" / "cryodl"
PLUGIN = ROOT / "cryodl_plugin"

SCIPION = {"pyworkflow", "pwem", "tomo", "emtable", "scipion", "cryodl_plugin"}
# Loading one of these costs a second or more, so only what computes with them may do it at once.
SLOW_TO_LOAD = {"torch", "lightning_fabric", "sklearn", "matplotlib", "umap", "gemmi"}
TORCH_ROOMS = (
    "core/benchmark/",
    "core/networks/",
    "core/training/",
    "core/volumes/tiles",
    "core/alignment/",
    "core/volumes/averaging",
    "core/geometry/",
    "core/relion/",
)
TORCH_FILES = {"model", "losses", "train", "predict", "data"}
NUMPY_ROOMS = ("core/fourier/", "core/io/", "core/simulation/", "core/evaluation/", "core/run/")


class Import(NamedTuple):
    """One import statement's module, and whether it runs when the file is loaded."""

    module: str
    at_load: bool


def imports_of(source: str, package: str = "") -> Iterator[Import]:
    """Yield the imports of a source text, relative ones resolved against its package."""

    def visit(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).strip(".")
            for name in node.names:
                yield Import(f"{base}.{name.name}", at_load)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            constants = [a for a in node.args[:1] if isinstance(a, ast.Constant)]
            yield from (Import(str(constant.value), at_load) for constant in constants)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children: list[ast.AST] = list(node.orelse)
        else:
            children = list(ast.iter_child_nodes(node))
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in children:
            yield from visit(child, at_load and not inside)

    yield from visit(ast.parse(source), True)


def faults(path: str, source: str) -> list[str]:
    """Return the broken rules of one file; `path` is relative to the repository."""
    package = path.removeprefix("engine/src/").rsplit("/", 1)[0].replace("/", ".")
    found = list(imports_of(source, package))
    if path.startswith("cryodl_plugin/"):
        return [
            f"{path}: the plugin imports {i.module}"
            for i in found
            if i.module.split(".")[0] in ("torch", "cryodl")
        ]
    inner = path.removeprefix("engine/src/cryodl/")
    broken = []
    for module, at_load in found:
        top = module.split(".")[0]
        if top in SCIPION:
            broken.append(f"{path}: the engine imports {module} of Scipion")
        if inner.startswith("core/") and _within(
            module, "cryodl.methods", "cryodl.commands", "cryodl.cli"
        ):
            broken.append(f"{path}: core imports {module}, which stands above it")
        if inner.startswith("methods/"):
            own = ".".join(["cryodl", *inner.split("/")[:2]])
            if _within(module, "cryodl.commands", "cryodl.cli") or (
                _within(module, "cryodl.methods") and not _within(module, own)
            ):
                broken.append(f"{path}: a method imports {module}; what is shared lives in core")
        if top in SLOW_TO_LOAD and at_load and not _may_load(inner, top):
            broken.append(f"{path}: {module} is loaded with the file; import it where it is used")
        if top == "torch" and inner.startswith(NUMPY_ROOMS):
            broken.append(f"{path}: imports {module}; here everything is numpy")
    return broken


def _within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _may_load(inner: str, top: str) -> bool:
    if top == "torch":
        in_method = inner.startswith("methods/")
        name = inner.rsplit("/", 1)[-1].removesuffix(".py")
        return inner.startswith(TORCH_ROOMS) or (in_method and not _named_for_words(name))
    return top == "lightning_fabric" and inner.startswith("core/training/")


def _named_for_words(name: str) -> bool:
    """Return whether a method's file is one that every ``--help`` loads."""
    return name in ("__init__", "cli", "config")


def python_files() -> list[Path]:
    plugin = [path for path in PLUGIN.rglob("*.py") if "tests" not in path.parts]
    return sorted([*ENGINE.rglob("*.py"), *plugin])


def test_rules_hold_in_every_file():
    files = python_files()
    assert len(files) > 20
    broken = [
        fault
        for path in files
        for fault in faults(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/src/cryodl/core/io/mrc.py", "from cryodl.methods.spisonet import config"),
        ("engine/src/cryodl/core/io/mrc.py", "from cryodl.methods import spisonet"),
        ("engine/src/cryodl/core/run/folder.py", "def f():\n    import cryodl.commands.demo"),
        ("engine/src/cryodl/core/run/folder.py", "from cryodl import cli"),
        ("engine/src/cryodl/core/io/mrc.py", "from ...methods import spisonet"),
        ("engine/src/cryodl/core/a.py", "importlib.import_module('cryodl.methods.spisonet')"),
        ("engine/src/cryodl/methods/spisonet/data.py", "from cryodl.methods import opus_tomo"),
        ("engine/src/cryodl/methods/spisonet/data.py", "from ..opus_tomo import model"),
        ("engine/src/cryodl/methods/spisonet/data.py", "import cryodl.methods.spisonet2.a"),
        ("engine/src/cryodl/methods/spisonet/cli.py", "import torch"),
        (
            "engine/src/cryodl/methods/spisonet/config.py",
            "try:\n    from torch import nn\nfinally: 1",
        ),
        ("engine/src/cryodl/cli.py", "import pwem.objects"),
        ("engine/src/cryodl/core/volumes/masks.py", "import torch"),
        ("engine/src/cryodl/core/fourier/fsc.py", "def f():\n    import torch"),
        ("engine/src/cryodl/core/run/figures.py", "from matplotlib import pyplot"),
        ("engine/src/cryodl/methods/spisonet/train.py", "import lightning_fabric"),
        ("engine/src/cryodl/methods/spisonet/model.py", "from sklearn.cluster import KMeans"),
        ("cryodl_plugin/engine.py", "def f():\n    import cryodl.cli"),
        ("cryodl_plugin/protocols/base.py", "import torch.nn as nn"),
    ],
)
def test_a_broken_rule_is_found(path, source):
    assert faults(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/src/cryodl/methods/spisonet/data.py", "from . import config\nimport torch"),
        ("engine/src/cryodl/methods/spisonet/data.py", "from cryodl.methods.spisonet import cones"),
        ("engine/src/cryodl/core/run/figures.py", "def f():\n    import matplotlib"),
        ("engine/src/cryodl/core/a.py", "if TYPE_CHECKING:\n    import matplotlib, torch"),
        ("engine/src/cryodl/core/training/loop.py", "import lightning_fabric, torch"),
        ("engine/src/cryodl/commands/demo.py", "from cryodl.methods.spisonet import config"),
        ("cryodl_plugin/engine.py", "import cryodl_plugin.constants"),
    ],
)
def test_what_is_allowed_is_not_blamed(path, source):
    assert faults(path, source) == []


@pytest.mark.parametrize("words", [[], ["spisonet", "correct"], ["simulate", "half-maps"]])
def test_help_loads_nothing_slow(words):
    program = (
        "import sys, cryodl.cli\n"
        f"assert cryodl.cli.main({[*words, '--help']!r}) == 0\n"
        f"sys.exit(' '.join(sorted({SLOW_TO_LOAD | {'pandas', 'scipy'}!r} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert "Usage: cryodl" in done.stdout
