"""When to look at a running training, how long it will take, and when it has done enough."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cryodl.core.training.settings import TrainingSettings

_LOOK_SECONDS = 5.0  # between looks, each of which makes the host wait for the device
_MOST_STEPS = 10_000


class Pace:
    """Clock of one process's training.

    Parameters
    ----------
    step
        Where this process begins.
    settings
        Number of steps, and the times between log lines and between checkpoints.
    """

    def __init__(self, step: int, settings: TrainingSettings) -> None:
        now = time.monotonic()
        self._settings = settings
        self._first_step, self._started = step, now
        self._looked_step, self._looked = step, now
        self._saved = self._logged = now
        self.next_look = step + 1

    def look(self, step: int) -> tuple[int, bool]:
        """Return after how many steps to look again, and whether to write a checkpoint now."""
        now = time.monotonic()
        pause = min(_LOOK_SECONDS, self._settings.checkpoint_seconds, self._settings.log_seconds)
        each = max(1e-6, (now - self._looked) / max(1, step - self._looked_step))
        self._looked_step, self._looked = step, now
        window = max(1, min(_MOST_STEPS, int(pause / each)))
        return window, now - self._saved >= self._settings.checkpoint_seconds

    def saved(self) -> None:
        """Note that a checkpoint was written."""
        self._saved = time.monotonic()

    def logged(self) -> None:
        """Note that a line was logged."""
        self._logged = time.monotonic()

    def should_log(self) -> bool:
        """Return whether the next line is due, and if so take it as written."""
        due = time.monotonic() - self._logged >= self._settings.log_seconds
        if due:
            self.logged()
        return due

    def fraction(self, step: int) -> float:
        """Return how far the command is."""
        start, end = self._settings.progress_span
        return start + (end - start) * step / self._settings.total_steps

    def seconds_left(self, step: int) -> float:
        """Return the time the remaining steps will take at the pace so far."""
        done = max(1, step - self._first_step)
        each = (time.monotonic() - self._started) / done
        return each * (self._settings.total_steps - step)


def duration(seconds: float) -> str:
    """Return a time in words, for example ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def best_epoch(history: Sequence[dict[str, float]], settings: TrainingSettings) -> int:
    """Return the first epoch, from 1, with the smallest watched metric; 0 without epochs.

    Raises
    ------
    KeyError
        The metric to watch is not among those recorded.
    """
    if not history:
        return 0
    values = [line[settings.monitor] for line in history]
    return 1 + values.index(min(values))


def patience_is_over(history: Sequence[dict[str, float]], settings: TrainingSettings) -> bool:
    """Return whether the watched metric has not become smaller for too many epochs."""
    if settings.patience is None:
        return False
    return len(history) - best_epoch(history, settings) >= settings.patience
