"""The commands of spIsoNet."""

from __future__ import annotations

from cryodl.core.config.registry import Command
from cryodl.methods.spisonet import config

_HERE = "cryodl.methods.spisonet"

COMMANDS = [
    Command(
        "spisonet",
        "fsc3d",
        "Directional Fourier shell correlation of two half maps.",
        config.Fsc3dConfig,
        f"{_HERE}.analyse:run_fsc3d",
    ),
    Command(
        "spisonet",
        "correct",
        "Correct the anisotropy of half maps.",
        config.CorrectConfig,
        f"{_HERE}.correct:run_correct",
    ),
    Command(
        "spisonet",
        "whiten",
        "Flatten the amplitude spectrum of a map.",
        config.WhitenConfig,
        f"{_HERE}.analyse:run_whiten",
    ),
    Command(
        "spisonet",
        "combine",
        "Join the low resolution of one map to the high resolution of another.",
        config.CombineConfig,
        f"{_HERE}.analyse:run_combine",
    ),
    Command(
        "spisonet",
        "sampling",
        "Sampling of Fourier space by the views of a particle set.",
        config.SamplingConfig,
        f"{_HERE}.analyse:run_sampling",
    ),
    Command(
        "spisonet",
        "angular-whiten",
        "Give all directions the same mean amplitude.",
        config.AngularWhitenConfig,
        f"{_HERE}.analyse:run_angular_whiten",
    ),
]
