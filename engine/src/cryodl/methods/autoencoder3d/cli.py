"""The commands of autoencoder3d."""

from __future__ import annotations

from cryodl.core.config.registry import Command
from cryodl.methods.autoencoder3d import config

_HERE = "cryodl.methods.autoencoder3d"

COMMANDS = [
    Command(
        "autoencoder3d",
        "train",
        "Learn codes of subvolumes without any label.",
        config.TrainConfig,
        f"{_HERE}.train:run_train",
    ),
    Command(
        "autoencoder3d",
        "cluster",
        "Group the particles of a training, and average each group.",
        config.ClusterConfig,
        f"{_HERE}.cluster:run_cluster",
    ),
    Command(
        "autoencoder3d",
        "figures",
        "Draw the groups, one picture each.",
        config.FiguresConfig,
        f"{_HERE}.figures:run_figures",
    ),
    Command(
        "autoencoder3d",
        "select",
        "Keep the particles of chosen groups.",
        config.SelectConfig,
        f"{_HERE}.select:run_select",
    ),
    Command(
        "autoencoder3d",
        "segment-train",
        "Train a segmentation network from a selection.",
        config.SegmentTrainConfig,
        f"{_HERE}.segment_train:run_segment_train",
    ),
    Command(
        "autoencoder3d",
        "segment",
        "Segment whole tomograms, and list what is found.",
        config.SegmentConfig,
        f"{_HERE}.segment:run_segment",
    ),
]
