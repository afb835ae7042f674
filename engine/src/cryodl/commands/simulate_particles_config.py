"""Parameters of ``cryodl simulate particles``."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from cryodl.commands.simulate_axes import axis_xyz
from cryodl.commands.simulate_recorded_config import MoleculesConfig
from cryodl.core.config.parameters import parameter


class SimulateParticlesConfig(MoleculesConfig):
    """Simulate single-particle images with known poses, classes and states.

    Particles are turned, projected, and get contrast transfer function and noise. Views can prefer
    an axis of the particle. Writes a stack and a STAR file of RELION 3.1, and under truth/ what is
    true of them.
    """

    number: int = parameter(1000, help="Images.", group="Particles", ge=1, le=10000000)
    box_size_px: int = parameter(
        64, help="Edge of the images.", unit="px", group="Particles", ge=12, le=1024
    )
    pixel_size: float = parameter(
        5.0, help="Pixel size of the data.", unit="angstrom", group="Molecules", gt=0
    )
    max_shift_px: float = parameter(
        2.0,
        help="Particles lie off the centre by up to this along x and y.",
        unit="px",
        group="Particles",
        ge=0,
    )
    poses: Literal["true", "perturbed", "none"] = parameter(
        "true",
        help="What the STAR file tells of angles and origins; the truth is under truth/.",
        group="Particles",
    )
    pose_error: float = parameter(
        3.0,
        help="Standard deviation of the angle by which poses are wrong (--poses perturbed).",
        unit="degrees",
        group="Particles",
        ge=0,
        le=180,
    )
    shift_error_px: float = parameter(
        1.0,
        help="Standard deviation of the error of each origin (--poses perturbed).",
        unit="px",
        group="Particles",
        ge=0,
    )
    views: Literal["uniform", "top", "side"] = parameter(
        "uniform",
        help="Directions of view: any, along the axis (top) or across it (side).",
        group="Views",
    )
    axis: str = parameter(
        "z",
        help="Axis of the particle that top and side refer to: x, y, z, or three numbers such as "
        "1,1,0 (x,y,z).",
        group="Views",
    )
    view_spread: float = parameter(
        15.0,
        help="Standard deviation of the views about what is preferred.",
        unit="degrees",
        group="Views",
        gt=0,
    )
    uniform_fraction: float = parameter(
        0.05, help="Share of views without preference.", group="Views", ge=0, le=1
    )
    defocus: float = parameter(
        15000.0, help="Mean underfocus.", unit="angstrom", group="Optics", ge=0, le=200000
    )
    defocus_spread: float = parameter(
        5000.0,
        help="Micrographs differ in defocus by up to this, up or down.",
        unit="angstrom",
        group="Optics",
        ge=0,
    )
    per_micrograph: int = parameter(
        50, help="Particles of a micrograph, which share one defocus.", group="Optics", ge=1
    )
    noise: Literal["detector", "none"] = parameter(
        "detector", help="Noise of the detector, or none.", group="Noise"
    )
    snr: float = parameter(
        0.05,
        help="Variance of the noise-free image, with contrast transfer function, where the "
        "particle is, over the variance of the noise. Measured and told in the result.",
        group="Noise",
        gt=0,
        le=1e6,
    )

    @field_validator("axis")
    @classmethod
    def _axis_can_be_read(cls, text: str) -> str:
        axis_xyz(text)
        return text
