"""``cryodl doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import cryodl
from cryodl.core.config.parameters import BareConfig
from cryodl.core.config.registry import Command
from cryodl.errors import ResourceError

_GIBIBYTE = 2**30
_LOW_DISK_GIB = 5.0
_PROGRAM_SECONDS = 30


class DoctorConfig(BareConfig):
    """Look at this machine and say what works.

    A line that begins with "-" is something optional that is missing, with the command that mends
    it. A line that begins with "X" keeps the engine from working; then the exit status is 3.
    """


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes
    ----------
    what
        What was looked for.
    found
        What was found, in words.
    remedy
        The command or advice that mends it; empty when nothing is wrong.
    vital
        True when the engine cannot work without.
    """

    what: str
    found: str
    remedy: str = ""
    vital: bool = False

    @property
    def mark(self) -> str:
        """Return ``ok``, ``-`` for something optional that is missing, or ``X``."""
        if not self.remedy:
            return "ok"
        return "X" if self.vital else "-"


COMMANDS = [
    Command(
        "doctor",
        "",
        "What is installed, what is missing, and the command that mends it.",
        DoctorConfig,
        "cryodl.commands.doctor:run_doctor",
    )
]


def run_doctor(config: DoctorConfig) -> None:
    """Print the table.

    Raises
    ------
    ResourceError
        Something that the engine cannot work without is missing.
    """
    broken = []
    for title, findings in look():
        sys.stdout.write(f"\n{title}\n")
        for finding in findings():
            sys.stdout.write(f"  {finding.mark:<2}  {finding.what:<18} {finding.found}\n")
            if finding.remedy:
                sys.stdout.write(f"      {'':<18} mend: {finding.remedy}\n")
            if finding.mark == "X":
                broken.append(finding)
        sys.stdout.flush()
    if broken:
        names = ", ".join(finding.what for finding in broken)
        raise ResourceError(
            f"{names}: found {broken[0].found}, expected a working engine; {broken[0].remedy}"
        )
    sys.stdout.write("\nThe engine works on this machine.\n")


def look() -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Return the sections of the table; nothing is looked at before its section is asked for."""
    return [
        ("Engine", _engine),
        ("Computing", _computing),
        ("Scipion", _scipion),
        ("Other programs", _programs),
    ]


def _engine() -> Iterator[Finding]:
    here = ".".join(map(str, sys.version_info[:3]))
    old = "" if sys.version_info >= (3, 10) else "install Python 3.10 or newer"
    yield Finding("Python", f"{here}  {sys.executable}", old, vital=True)
    yield Finding("cryodl", cryodl.__version__)
    for name in _required_libraries():
        found = _version(name)
        remedy = "" if found else f"{sys.executable} -m pip install {name}"
        yield Finding(name, found or "missing", remedy, vital=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _required_libraries() -> list[str]:
    """Return the names of the libraries that our own distribution declares."""
    try:
        declared = requires("cryodl") or []
    except PackageNotFoundError:
        declared = ["torch", "numpy", "scipy", "mrcfile"]
    return [re.split(r"[^\w.-]", line)[0] for line in declared if "extra ==" not in line]


def _computing() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # whatever keeps it from loading is what we are here to tell
        remedy = f"{sys.executable} -m pip install --force-reinstall torch"
        yield Finding("PyTorch", f"does not load ({error})", remedy, vital=True)
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield _cuda_device(index)
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "GPU",
            f"PyTorch {torch.__version__} sees none, though nvidia-smi is here",
            "install the build of PyTorch for your driver: https://pytorch.org/get-started",
        )
    else:
        yield Finding("GPU", "none; everything runs on the CPU, only slower")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU threads", f"{cores} usable, PyTorch takes {torch.get_num_threads()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIBIBYTE
    yield Finding("memory", f"{memory:.0f} GiB")
    for what, folder in (("disk, here", Path.cwd()), ("disk, temporary", tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free / _GIBIBYTE
        remedy = "free some space" if free < _LOW_DISK_GIB else ""
        yield Finding(what, f"{free:.0f} GiB free in {folder}", remedy)


def _cuda_device(index: int) -> Finding:
    """Compute something on the device: a card that PyTorch no longer supports is still listed."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    what = f"GPU {index}"
    found = f"{properties.name}, {properties.total_memory / _GIBIBYTE:.0f} GiB"
    try:
        torch.ones(8, 8, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        return Finding(what, f"{found}, fails: {reason}", "run with --devices cpu or another GPU")
    return Finding(what, found)


def _scipion() -> Iterator[Finding]:
    if _version("scipion-pyworkflow") is None:
        words = "not in this environment (fine, if Scipion has another, or you need none)"
        yield Finding("Scipion", words, "in the source folder: make setup")
        return
    for name in ("scipion-pyworkflow", "scipion-em", "scipion-em-tomo", "scipion-em-cryodl"):
        found = _version(name)
        yield Finding(name, found or "missing", "" if found else "in the source folder: make setup")
    if find_spec("_tkinter") is None:
        yield Finding("tkinter", "missing; Scipion needs it", "sudo apt-get install python3-tk")
    else:
        yield Finding("tkinter", "present")
    yield Finding(
        "SCIPION_HOME", os.environ.get("SCIPION_HOME") or "not set; only Scipion needs it"
    )


def _programs() -> Iterator[Finding]:
    yield _program("RELION", ["relion_refine", "--version"], "sudo apt-get install relion")
    yield _program("ChimeraX", ["chimerax"], "get it from https://www.cgl.ucsf.edu/chimerax")
    yield _program("mpirun", ["mpirun", "--version"], "sudo apt-get install openmpi-bin")
    yield _program("Xvfb", ["Xvfb"], "sudo apt-get install xvfb (for the tests only)")


def _program(what: str, command: list[str], remedy: str) -> Finding:
    """Look for a program; arguments after its name make it tell its version."""
    path = shutil.which(command[0])
    if path is None:
        return Finding(what, f"no {command[0]} on PATH", remedy)
    if len(command) == 1:
        return Finding(what, path)
    try:
        answer = subprocess.run(
            [path, *command[1:]],
            capture_output=True,
            text=True,
            timeout=_PROGRAM_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, f"{path}, but it does not run ({error})", remedy)
    number = re.search(r"\d+(\.\d+)+", answer.stdout + answer.stderr)
    return Finding(what, f"{number.group() if number else 'version unknown'}  {path}")
