"""The commands of cet_pick."""

from __future__ import annotations

from cryodl.core.config.registry import Command
from cryodl.methods.cet_pick import config

_HERE = "cryodl.methods.cet_pick"

COMMANDS = [
    Command(
        "cet-pick",
        "prepare",
        "Check tomograms and labelled points, bin them, write the lists for training.",
        config.PrepareConfig,
        f"{_HERE}.prepare:run_prepare",
    ),
    Command(
        "cet-pick",
        "train",
        "Train a picker from a few labelled particles.",
        config.TrainConfig,
        f"{_HERE}.train:run_train",
    ),
    Command(
        "cet-pick",
        "predict",
        "Pick particles in tomograms with a trained model.",
        config.PredictConfig,
        f"{_HERE}.pick:run_predict",
    ),
    Command(
        "cet-pick",
        "evaluate",
        "Compare picks with true positions.",
        config.EvaluateConfig,
        f"{_HERE}.evaluate:run_evaluate",
    ),
    Command(
        "cet-pick",
        "explore",
        "Map what is in tomograms without any label.",
        config.ExploreConfig,
        f"{_HERE}.explore:run_explore",
    ),
]
