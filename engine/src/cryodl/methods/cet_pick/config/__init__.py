"""Parameters of the commands of cet_pick, each declared once."""

from __future__ import annotations

from cryodl.methods.cet_pick.config.picking import EvaluateConfig, ExploreConfig, PredictConfig
from cryodl.methods.cet_pick.config.training import PrepareConfig, TrainConfig

__all__ = ["EvaluateConfig", "ExploreConfig", "PredictConfig", "PrepareConfig", "TrainConfig"]
