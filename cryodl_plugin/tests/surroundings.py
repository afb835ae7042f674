"""What the scipion launcher gives to tests, for pytest: a home, a host, the right Python.

Scipion reads these variables when it is imported, and importing anything of this package imports
Scipion. So the conftest.py of the repository's root runs this file by its path, before the rest.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

HOSTS = "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s\n"
SHARED = "CRYODL_TEST_HOME"


def prepare():
    """Make a SCIPION_HOME for this process: those of parallel test processes must not meet."""
    if SHARED not in os.environ:
        os.environ[SHARED] = tempfile.mkdtemp(prefix="cryodl_tests_")
        atexit.register(shutil.rmtree, os.environ[SHARED], ignore_errors=True)
    home = Path(os.environ[SHARED]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
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
        NO_COLOR="1",
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Scipion starts protocols with the first python3 it finds.
    folder = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[:1] != [folder]:
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
    os.environ.pop("PYTHONPATH", None)


if __name__ == "__main__":
    prepare()
