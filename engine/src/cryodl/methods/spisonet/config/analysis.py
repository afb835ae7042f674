"""Parameters of the spIsoNet commands that measure and filter maps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.methods.spisonet.config.words import HALF, MASK, PIXEL


class Fsc3dConfig(CommandConfig):
    """Fourier shell correlation of two half maps by direction (3DFSC).

    Writes the 3DFSC as a volume, centred in Fourier space, for `spisonet correct`, with a table by
    shell and a report.
    """

    half1: Path = parameter(help=f"Half map 1. {HALF}", group="Input", positional=True)
    half2: Path = parameter(help=f"Half map 2. {HALF}", group="Input", positional=True)
    mask: Path | None = parameter(
        None, help=f"{MASK} Without it the whole box counts.", group="Input", original="--mask"
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    limit_res: float | None = parameter(
        None,
        help="Highest resolution of the 3DFSC; beyond it the volume is 0. By default the overall "
        "resolution at FSC 0.143.",
        unit="angstrom",
        group="3DFSC",
        original="--limit_res",
        gt=0,
    )
    cone_angle: float = parameter(
        10.0,
        help="Half-angle of the cone over which correlations are averaged (20 in the 3DFSC "
        "program). Larger is smoother and less directional.",
        unit="degrees",
        group="3DFSC",
        original="--cone_sampling_angle",
        gt=0,
        le=90,
    )
    mode: Literal["fast", "exact"] = parameter(
        "fast",
        help="fast sums in single precision (error below 1e-5), exact in double; both follow the "
        "published definition voxel by voxel.",
        group="3DFSC",
        expert=True,
    )
    estimator: Literal["mean-cosine", "fsc"] = parameter(
        "mean-cosine",
        help="mean-cosine averages phase agreement, as published; fsc is the ratio of cone sums "
        "(Tan et al. 2017), which is higher and less noisy.",
        group="3DFSC",
    )
    keep_highres: bool = parameter(
        False,
        help="Set everything beyond the limit to 1 rather than 0.",
        group="3DFSC",
        expert=True,
        original="--keep_highres",
    )
    ncpus: int = parameter(
        0,
        help="CPU threads; 0 takes all this process may use.",
        group="Run",
        original="--ncpus",
        changeable=True,
        ge=0,
    )


class WhitenConfig(CommandConfig):
    """Flatten the amplitude spectrum of a map in a band of resolution."""

    map: Path = parameter(help=f"Map. {HALF}", group="Input", positional=True)
    mask: Path | None = parameter(
        None,
        help=f"{MASK} The spectrum is measured inside it.",
        group="Input",
        original="--mask",
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    low_res: float = parameter(
        10.0,
        help="Where whitening starts.",
        unit="angstrom",
        group="Band",
        original="--low_res",
        gt=0,
    )
    high_res: float = parameter(
        3.0,
        help="Where whitening ends.",
        unit="angstrom",
        group="Band",
        original="--high_res",
        gt=0,
    )


class AngularWhitenConfig(CommandConfig):
    """Give all directions of a resolution band the same mean amplitude."""

    map: Path = parameter(help=f"Map. {HALF}", group="Input", positional=True)
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    low_res: float = parameter(
        10.0, help="Start of the band.", unit="angstrom", group="Band", original="low_res", gt=0
    )
    high_res: float = parameter(
        4.0, help="End of the band.", unit="angstrom", group="Band", original="high_res", gt=0
    )


class CombineConfig(CommandConfig):
    """Join the low resolution of one map to the high resolution of another."""

    low: Path = parameter(help="Map that gives the low resolution.", group="Input", positional=True)
    high: Path = parameter(
        help="Map that gives the high resolution.", group="Input", positional=True
    )
    mask: Path | None = parameter(None, help=MASK, group="Input", original="--mask_file")
    aniso_file: Path | None = parameter(
        None,
        help="3DFSC of the maps; amplitudes are compared only where it says that both hold signal.",
        group="Input",
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    threshold_res: float = parameter(
        10.0,
        help="Resolution at which the maps are joined.",
        unit="angstrom",
        group="Join",
        original="threshold_res",
        gt=0,
    )
    match: Literal["sampled", "shell"] = parameter(
        "sampled",
        help="How amplitudes are matched: sampled weighs voxels by the 3DFSC; shell is the "
        "published rule, which lowers a map with empty directions.",
        group="Join",
        expert=True,
    )


class SamplingConfig(CommandConfig):
    """Sampling of Fourier space by the views of a particle set (3DFSD)."""

    star: Path = parameter(
        help="RELION particles with rlnAngleRot, rlnAngleTilt.", group="Input", positional=True
    )
    box_size_px: int = parameter(
        help="Box of the volume to write.",
        unit="px",
        group="Input",
        original="map_dim",
        ge=16,
        le=1024,
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size of the volume; by default that of the particles.",
        unit="angstrom",
        group="Input",
        original="--apix",
        gt=0,
    )
    low_res: float = parameter(
        100.0,
        help="Below this resolution the volume is 1.",
        unit="angstrom",
        group="Sampling",
        original="--low_res",
        gt=0,
    )
    high_res: float = parameter(
        1.0,
        help="Beyond this resolution the volume is 0.",
        unit="angstrom",
        group="Sampling",
        original="--high_res",
        gt=0,
    )
    number_subset: int = parameter(
        10000,
        help="At most this many particles, drawn at random.",
        group="Sampling",
        original="--number_subset",
        ge=1,
    )
    symmetry: str = parameter(
        "C1", help="Point group of the particle.", group="Sampling", original="--sym"
    )
