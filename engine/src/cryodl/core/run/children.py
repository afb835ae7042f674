"""Ending the processes that this one has started."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from pathlib import Path

_OURS = b"spawn_main"
_PROC = Path("/proc/self/task")


def stop_children() -> None:
    """Tell all processes that were started for parallel work to end.

    Also one whose start was interrupted: it is on no list of Python's, and would wait for ever.
    """
    for child in multiprocessing.active_children():
        child.terminate()
    for number in _started():
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGTERM)


def _started() -> list[int]:
    """Return the numbers of this process's children that Python has spawned; none if unknown."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in _PROC.iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    kept = []
    for number in found:
        with contextlib.suppress(OSError):
            if _OURS in Path(f"/proc/{number}/cmdline").read_bytes():
                kept.append(number)
    return kept
