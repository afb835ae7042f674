"""Parameters of the commands of autoencoder3d, each declared once."""

from __future__ import annotations

from cryodl.methods.autoencoder3d.config.clustering import (
    ClusterConfig,
    FiguresConfig,
    SelectConfig,
)
from cryodl.methods.autoencoder3d.config.segmentation import SegmentConfig, SegmentTrainConfig
from cryodl.methods.autoencoder3d.config.training import TrainConfig

__all__ = [
    "ClusterConfig",
    "FiguresConfig",
    "SegmentConfig",
    "SegmentTrainConfig",
    "SelectConfig",
    "TrainConfig",
]
