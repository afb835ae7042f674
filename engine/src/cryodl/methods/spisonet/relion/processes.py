"""Which processes of this machine are alive: the one that holds a lock, the RELION that called."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

_GENERATIONS = 3


def process_start(pid: int) -> str | None:
    """Return when a process of this host was started, or None if there is none.

    A process number is used again sooner or later; together with the start it is unique.
    """
    try:
        fields = _status(pid)
    except OSError:
        return _alive_without_proc(pid)
    return None if fields[0] == "Z" else fields[19]


def parent_watch() -> Callable[[], None] | None:
    """Return a check that ends this process when the RELION that called it is gone.

    When one half fails RELION kills its ranks, but not what they have started: the other half's
    call would go on training on a GPU that nobody waits for. None when no RELION called.
    """
    pid = os.getppid()
    for _ in range(_GENERATIONS):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")
            if name.startswith("relion_refine"):
                return _Watch(pid)
            pid = int(_status(pid)[1])
        except OSError:
            break
    return None


class _Watch:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.start = process_start(pid)

    def __call__(self) -> None:
        if process_start(self.pid) != self.start:
            # The handler of the signal raises in the main thread, which cleans up.
            os.kill(os.getpid(), signal.SIGTERM)


def _status(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; the name before may hold blanks."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _alive_without_proc(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"
