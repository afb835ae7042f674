"""The commands of SelfAlign."""

from __future__ import annotations

from cryodl.core.config.registry import Command
from cryodl.methods.selfalign import config

_HERE = "cryodl.methods.selfalign"

COMMANDS = [
    Command(
        "selfalign",
        "prepare",
        "Write the particle file of a folder of subtomograms.",
        config.PrepareConfig,
        f"{_HERE}.prepare:run_prepare",
    ),
    Command(
        "selfalign",
        "train",
        "Train a network that proposes poses.",
        config.TrainConfig,
        f"{_HERE}.train:run_train",
    ),
    Command(
        "selfalign",
        "align",
        "Find the poses of particles against a reference, or of pairs.",
        config.AlignConfig,
        f"{_HERE}.align:run_align",
    ),
    Command(
        "selfalign",
        "refine",
        "Average particles: align, average, measure, until nothing changes.",
        config.RefineConfig,
        f"{_HERE}.refine:run_refine",
    ),
    Command(
        "selfalign",
        "evaluate",
        "Compare poses with true ones.",
        config.EvaluateConfig,
        f"{_HERE}.evaluate:run_evaluate",
    ),
]
