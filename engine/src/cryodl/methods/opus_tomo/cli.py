"""The commands of opus_tomo."""

from __future__ import annotations

from cryodl.core.config.registry import Command
from cryodl.methods.opus_tomo import config

_HERE = "cryodl.methods.opus_tomo"

COMMANDS = [
    Command(
        "opus-tomo",
        "prepare",
        "Check aligned subtomograms; make a consensus and a mask.",
        config.PrepareConfig,
        f"{_HERE}.prepare:run_prepare",
    ),
    Command(
        "opus-tomo",
        "train",
        "Learn what differs between aligned subtomograms.",
        config.TrainConfig,
        f"{_HERE}.train:run_train",
    ),
    Command(
        "opus-tomo",
        "analyze",
        "Find clusters and main directions among the latents.",
        config.AnalyzeConfig,
        f"{_HERE}.analyze:run_analyze",
    ),
    Command(
        "opus-tomo",
        "volumes",
        "Decode densities at cluster centres or along a principal component.",
        config.VolumesConfig,
        f"{_HERE}.volumes:run_volumes",
    ),
    Command(
        "opus-tomo",
        "select",
        "Take particles by cluster or by a drawn region.",
        config.SelectConfig,
        f"{_HERE}.select:run_select",
    ),
]
