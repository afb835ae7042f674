"""Parameters of the commands of opus_tomo, each declared once."""

from __future__ import annotations

from cryodl.methods.opus_tomo.config.input import ParticleInput, PrepareConfig
from cryodl.methods.opus_tomo.config.results import AnalyzeConfig, SelectConfig, VolumesConfig
from cryodl.methods.opus_tomo.config.training import TrainConfig

__all__ = [
    "AnalyzeConfig",
    "ParticleInput",
    "PrepareConfig",
    "SelectConfig",
    "TrainConfig",
    "VolumesConfig",
]
