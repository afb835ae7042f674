"""The ``cryodl simulate`` commands: test data with known truth.

Only parameters live here; the work is imported when a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from cryodl.commands.simulate_axes import axis_xyz
from cryodl.commands.simulate_particles_config import SimulateParticlesConfig
from cryodl.commands.simulate_recorded_config import (
    SimulateSubtomogramsConfig,
    SimulateTomogramConfig,
)
from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.core.config.registry import Command


class SimulateHalfMapsConfig(CommandConfig):
    """Simulate half maps with uneven sampling of Fourier space.

    Writes two noisy half maps and a mask, and beside them, under truth/, the density they are of,
    the sampling, and the cone in which to look for the damage.
    """

    structure: str = parameter(
        "groel_groes",
        help="A shipped density (groel_groes, proteasome_20s, rubisco, p97, haemoglobin, "
        "groel_ring_cis, groel_ring_trans) or a cubic MRC file, matter bright.",
        group="Structure",
        min_length=1,
    )
    box_size_px: int = parameter(
        64, help="Edge of the half maps.", unit="px", group="Structure", ge=16, le=512
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size of the half maps. By default the box keeps the field of view of the "
        "density, so that a smaller box is coarser.",
        unit="angstrom",
        group="Structure",
        gt=0,
    )
    mode: Literal["cone", "preferred"] = parameter(
        "cone",
        help="cone samples a double cone about the axis less; preferred draws views about the "
        "axis, which leaves a wide cone about it nearly unmeasured.",
        group="Sampling",
    )
    cone_angle: float = parameter(
        30.0,
        help="Half-angle of the double cone. With --mode preferred only the region of the scores.",
        unit="degrees",
        group="Sampling",
        gt=0,
        le=90,
    )
    axis: str = parameter(
        "z",
        help="Axis of the cone and of the preferred views: x, y, z, or three numbers such as "
        "1,1,0 (x,y,z). The highest symmetry axis of the shipped densities is z.",
        group="Sampling",
    )
    attenuation: float = parameter(
        0.1,
        help="Sampling left inside the cone, 0 (nothing) to 1 (--mode cone).",
        group="Sampling",
        ge=0,
        le=1,
    )
    views: Literal["top", "side", "uniform"] = parameter(
        "top",
        help="Preferred views: along the axis, across it, or none (--mode preferred).",
        group="Sampling",
    )
    number: int = parameter(
        500,
        help="Views drawn (--mode preferred); few make the sampling grainy. The noise is set by "
        "--snr alone.",
        group="Sampling",
        ge=1,
        le=100000,
    )
    view_spread: float = parameter(
        15.0,
        help="Standard deviation of the views about what is preferred (--mode preferred).",
        unit="degrees",
        group="Sampling",
        gt=0,
    )
    uniform_fraction: float = parameter(
        0.02,
        help="Share of views without preference (--mode preferred).",
        group="Sampling",
        ge=0,
        le=1,
    )
    snr: float = parameter(
        1.0,
        help="Variance of the density inside the mask over the variance of the noise that evenly "
        "sampled data would leave in a half map.",
        group="Noise",
        gt=0,
    )
    noise_exponent: float = parameter(
        0.0,
        help="Noise power falls with the frequency to this power: 0 white, 1 pink.",
        group="Noise",
        expert=True,
        ge=-4,
        le=4,
    )
    reconstruction: Literal["auto", "unweighted", "weighted", "wiener"] = parameter(
        "auto",
        help="unweighted leaves badly sampled directions weak; weighted divides by the sampling, "
        "which makes them noisy; wiener balances both; auto is unweighted for --mode cone and "
        "weighted for --mode preferred, as unfiltered half maps of a refinement are.",
        group="Noise",
        expert=True,
    )

    @field_validator("axis")
    @classmethod
    def _axis_can_be_read(cls, text: str) -> str:
        axis_xyz(text)
        return text


COMMANDS = [
    Command(
        "simulate",
        "half-maps",
        "Half maps with a missing cone or preferred views.",
        SimulateHalfMapsConfig,
        "cryodl.commands.simulate_half_maps:run_half_maps",
    ),
    Command(
        "simulate",
        "tomogram",
        "A crowded tomogram, with places, poses and classes.",
        SimulateTomogramConfig,
        "cryodl.commands.simulate_tomogram:run_tomogram",
    ),
    Command(
        "simulate",
        "subtomograms",
        "Subtomograms recorded tilt by tilt, with poses, classes and states.",
        SimulateSubtomogramsConfig,
        "cryodl.commands.simulate_subtomograms:run_subtomograms",
    ),
    Command(
        "simulate",
        "particles",
        "Single-particle images, with poses, classes and preferred views.",
        SimulateParticlesConfig,
        "cryodl.commands.simulate_particles:run_particles",
    ),
]
