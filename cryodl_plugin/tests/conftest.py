"""Gives pytest the surroundings that the scipion launcher gives; before pyworkflow is imported."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

HOSTS = "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s\n"


def prepareScipion():
    """Make a SCIPION_HOME of our own, unless the launcher has set one."""
    if "SCIPION_HOME" in os.environ and "CRYODL_TEST_HOME" not in os.environ:
        return
    home = Path(os.environ.setdefault("CRYODL_TEST_HOME", tempfile.mkdtemp(prefix="cryodl_home_")))
    for name in ("config", "software/em", "user"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "config" / "hosts.conf").write_text(HOSTS, encoding="utf-8")
    os.environ.update(
        SCIPION_HOME=str(home),
        SCIPION_USER_DATA=str(home / "user"),
        SCIPION_TESTS_OUTPUT=str(home / "user" / "Tests"),
        SCIPION_LOCAL_CONFIG=str(home / "config" / "scipion.conf"),
        SCIPION_DOMAIN="pwem",
        SCIPION_NOTIFY="False",
        SCIPION_TEST_NOSYNC="True",
        SCIPION_PRIORITY_PACKAGE_LIST="pwem tomo",
        SCIPION_PYTHON=sys.executable,
        OMP_NUM_THREADS="1",
        NO_COLOR="1",
    )
    # Scipion starts protocols with the first python3 it finds.
    folder = os.path.dirname(sys.executable)
    os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
    os.environ.pop("PYTHONPATH", None)


prepareScipion()


def pytest_collection_modifyitems(items):
    """Mark what needs Xvfb, and let warnings of Scipion's own code pass."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error:::cryodl_plugin"))
        item.add_marker(pytest.mark.filterwarnings("ignore"))
        if item.path.name == "test_gui.py":
            item.add_marker(pytest.mark.gui)


def pytest_sessionfinish(session):
    """Remove the home that this session made; xdist workers leave it to the main process."""
    import shutil

    made = os.environ.get("CRYODL_TEST_HOME")
    if made and not hasattr(session.config, "workerinput"):
        shutil.rmtree(made, ignore_errors=True)
