"""The learning rate as a function of the step alone, so that a checkpoint needs no state of it."""

from __future__ import annotations

import math

from cryodl.core.training.settings import TrainingSettings

# The one-cycle policy: start at 1/25 of the peak, rise over 30 % of the steps, end at 1/250000.
_CYCLE_START_FRACTION = 1 / 25
_CYCLE_END_FRACTION = 1 / 250_000
_CYCLE_RISE_FRACTION = 0.3


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate of an optimiser step.

    Parameters
    ----------
    step
        From 0 to ``settings.total_steps - 1``.
    settings
        Uses `learning_rate` (the peak), `schedule`, `warmup_steps` and the number of steps.

    Returns
    -------
    float
        More than 0.

    References
    ----------
    One-cycle: Smith and Topin 2017, with the fractions of torch.optim.lr_scheduler.OneCycleLR.
    """
    if settings.schedule == "one-cycle":
        return settings.learning_rate * _one_cycle(step, settings)
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    remaining = max(1, settings.total_steps - settings.warmup_steps)
    done = (step - settings.warmup_steps) / remaining
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _one_cycle(step: int, settings: TrainingSettings) -> float:
    last = max(1, settings.total_steps - 1)
    peak = settings.warmup_steps or _CYCLE_RISE_FRACTION * last
    if step <= peak:
        return _cosine_between(_CYCLE_START_FRACTION, 1.0, step / peak if peak else 1.0)
    return _cosine_between(1.0, _CYCLE_END_FRACTION, (step - peak) / max(1e-12, last - peak))


def _cosine_between(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
