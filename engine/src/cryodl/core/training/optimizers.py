"""Making the optimiser, and setting its learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cryodl.core.training.schedule import learning_rate_at
from cryodl.core.training.settings import TrainingSettings

_FACTOR = "learning_rate_factor"


def make_optimizer(step_module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimiser of a training step.

    A step with a method ``parameter_groups()`` chooses its own groups: a list of dictionaries
    with ``params`` and, if wanted, ``learning_rate_factor`` and ``weight_decay``.
    """
    groups: list[dict[str, Any]]
    choose = getattr(step_module, "parameter_groups", None)
    if callable(choose):
        groups = [dict(group) for group in choose()]
    else:
        groups = [{"params": [p for p in step_module.parameters() if p.requires_grad]}]
    for group in groups:
        group.setdefault(_FACTOR, 1.0)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(
        groups,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        # One pass over all weights. In half precision the optimiser would take the scale of the
        # loss off by itself, too late for gradients to be clipped.
        fused=settings.precision != "16",
    )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, settings: TrainingSettings
) -> None:
    """Set the learning rate of an optimiser step in every group."""
    rate = learning_rate_at(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_FACTOR]
