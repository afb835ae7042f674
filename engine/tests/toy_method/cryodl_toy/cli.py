"""The commands of the toy."""

from __future__ import annotations

from cryodl.core.config.registry import Command
from cryodl_toy.config import TrainConfig

COMMANDS = [
    Command(
        "toy",
        "train",
        "Learn a filter from two half maps.",
        TrainConfig,
        "cryodl_toy.train:run_train",
    )
]
