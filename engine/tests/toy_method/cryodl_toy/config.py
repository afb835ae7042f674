"""Parameters of the toy."""

from __future__ import annotations

from pathlib import Path

from cryodl.core.config.parameters import CommandConfig, parameter


class TrainConfig(CommandConfig):
    """Learn a filter that predicts one half map from the other."""

    half1: Path = parameter(help="Half map 1.", group="Input", positional=True)
    half2: Path = parameter(help="Half map 2.", group="Input", positional=True)
    steps: int = parameter(60, help="Optimiser steps.", group="Training", ge=1)
    batch_size: int = parameter(4, help="Crops of a step.", group="Training", ge=1)
    crop_px: int = parameter(16, help="Edge of the crops.", unit="px", group="Training", ge=8)
