"""Parameters of the spIsoNet commands, each declared once.

Defaults are those of the published program (spIsoNet v1.0) unless the help says otherwise.
"""

from cryodl.methods.spisonet.config.analysis import (
    AngularWhitenConfig,
    CombineConfig,
    Fsc3dConfig,
    SamplingConfig,
    WhitenConfig,
)
from cryodl.methods.spisonet.config.correction import CorrectConfig

__all__ = [
    "AngularWhitenConfig",
    "CombineConfig",
    "CorrectConfig",
    "Fsc3dConfig",
    "SamplingConfig",
    "WhitenConfig",
]
