"""Time and memory, measured so that other work on the machine disturbs them least."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_GIB = 2**30


@dataclass(frozen=True)
class Clock:
    """Measures seconds of what a device does.

    With one thread on the processor these are CPU seconds, which other programs do not lengthen;
    otherwise the seconds that pass until the device has finished.
    """

    device: torch.device

    @property
    def name(self) -> str:
        """What kind of seconds these are."""
        return "CPU seconds" if self._own_time else "seconds"

    @property
    def _own_time(self) -> bool:
        return self.device.type == "cpu" and torch.get_num_threads() == 1

    def now(self) -> float:
        """Return the time once everything asked of the device has been done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self._own_time else time.perf_counter()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Return how long `work` takes."""
        started = self.now()
        work()
        return self.now() - started

    def best(self, work: Callable[[], Any], repeats: int, at_least: float = 0.0) -> float:
        """Return the shortest of some repeats after one that does not count.

        Parameters
        ----------
        work
            Called again and again.
        repeats
            How often, at most.
        at_least
            Short work is done several times a repeat, so that a repeat takes so many seconds.
        """
        first = max(self.seconds(work), 1e-7)
        times = max(1, min(1000, round(at_least / first)))

        def several() -> None:
            for _ in range(times):
                work()

        return min(self.seconds(several) for _ in range(repeats)) / times


def host_memory_gib() -> float:
    """Return the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / _GIB


def device_memory_gib(device: torch.device) -> float | None:
    """Return the largest memory taken on a GPU so far; None on the processor."""
    return torch.cuda.max_memory_allocated(device) / _GIB if device.type == "cuda" else None
