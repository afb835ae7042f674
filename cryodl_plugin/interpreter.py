"""Which Python has the engine, and is it really there."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple

from cryodl_plugin.constants import ENGINE

Found = namedtuple("Found", "version problem")
"""Version of the engine and an empty text, or an empty text and what is wrong."""

_TIMEOUT_SECONDS = 60
# Looks the engine up without importing it, so that no torch import makes the form wait.
_QUESTION = (
    "import importlib.util as u, sys; from importlib.metadata import version; "
    f"u.find_spec('{ENGINE}') or sys.exit(3); print('engine', version('{ENGINE}'))"
)
_MISSING = 3
_known = {}


def chooseInterpreter(configured, activation, installed):
    """Return the interpreter by order: the configured, the activated, the installed, our own."""
    if configured:
        return os.path.expanduser(configured)
    if activation:
        return "python"
    return installed if os.path.exists(installed) else sys.executable


def isScipionPython(interpreter):
    """Tell whether an interpreter is the one running now: the same file of the same environment."""
    return os.path.abspath(interpreter) == os.path.abspath(sys.executable)


def findEngine(interpreter, activation, environ):
    """Look for the engine; a success is kept as long as the interpreter's file stays the same."""
    path = shutil.which(interpreter, path=environ.get("PATH")) if not activation else interpreter
    if path is None:
        return Found("", f"there is no interpreter {interpreter}")
    key = (path, activation, _modified(path))
    if key in _known:
        return _known[key]
    found = _here() if not activation and isScipionPython(path) else _ask(path, activation, environ)
    if not found.problem:
        _known[key] = found
    return found


def forget():
    """Drop what is known, so that the next question is asked anew."""
    _known.clear()


def _here():
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    try:
        if find_spec(ENGINE) is not None:
            return Found(version(ENGINE), "")
    except PackageNotFoundError:
        pass  # a stray folder of that name: not installed
    return Found("", _missing(sys.executable))


def _ask(interpreter, activation, environ):
    import shlex

    command = f"{shlex.quote(interpreter)} -c {shlex.quote(_QUESTION)}"
    command = f"{activation} && {command}" if activation else command
    try:
        answer = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            env=dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Found("", f"{interpreter} does not answer ({error})")
    lines = [line for line in answer.stdout.splitlines() if line.startswith("engine ")]
    if answer.returncode == 0 and lines:
        return Found(lines[-1].split()[1], "")
    if answer.returncode == _MISSING:
        return Found("", _missing(interpreter))
    said = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
    return Found("", f"{interpreter} fails: {said}")


def _missing(interpreter):
    return f"the package {ENGINE} is not installed for {interpreter}"


def _modified(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
