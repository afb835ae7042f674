"""The parameters of ``cryodl particles extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationInfo, field_validator

from cryodl.core.config.parameters import CommandConfig, parameter


class ParticlesExtractConfig(CommandConfig):
    """Cut boxes out of tomograms around points, at any fraction of a voxel and any binning.

    Writes one MRC file for each particle, a folder for each tomogram, and a RELION 3.1 STAR file.
    Tomograms are read from the disk as needed, however large. Poses, classes, half sets and further
    columns of a STAR file of points are kept.
    """

    tomograms: list[Path] = parameter(
        help="Tomograms, MRC files of any type of voxel.", group="Input", min_length=1
    )
    coordinates: list[Path] = parameter(
        help="Points: text, CSV, or IMOD points, one file for each tomogram in the same order; "
        "or STAR files with names of tomograms, which are matched by name.",
        group="Input",
        min_length=1,
    )
    order: Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"] = parameter(
        "xyz", help="Order of the columns in text files that do not name them.", group="Input"
    )
    first_voxel: int = parameter(
        0,
        help="What text files call the first voxel of a tomogram, 0 or 1.",
        group="Input",
        expert=True,
        ge=0,
        le=1,
    )
    coordinate_pixel_size: float | None = parameter(
        None,
        help="Pixel size in which the points count. By default that of their file, or of the "
        "tomogram.",
        unit="angstrom",
        group="Input",
        gt=0,
    )
    tomogram_pixel_size: float | None = parameter(
        None,
        help="Pixel size of the tomograms, in place of what their headers say.",
        unit="angstrom",
        group="Input",
        gt=0,
    )
    contrast: Literal["bright", "dark"] = parameter(
        "bright",
        help="What matter is in the tomograms. With dark the sign is changed: matter is bright in "
        "the boxes, as RELION and every method here want it.",
        group="Input",
    )
    box_size_px: int = parameter(
        help="Edge of the boxes in their own voxels, after binning.",
        unit="px",
        group="Boxes",
        ge=4,
        le=1024,
    )
    binning: float = parameter(
        1.0,
        help="Edge of a voxel of the boxes in voxels of the tomogram; any number from 1. What is "
        "finer than the coarser voxels can hold is removed, not aliased.",
        group="Boxes",
        ge=1,
        le=64,
    )
    border: Literal["drop", "fill", "noise"] = parameter(
        "drop",
        help="Boxes that reach beyond the tomogram: drop leaves them out, fill puts the mean of "
        "the rest of the box there, noise puts Gaussian noise of its mean and deviation.",
        group="Boxes",
    )
    normalise: Literal["tomogram", "box", "none"] = parameter(
        "tomogram",
        help="Mean 0 and standard deviation 1: of the voxels of each tomogram (gold beads left "
        "out), of each box, or not at all.",
        group="Boxes",
    )
    recentre: bool = parameter(
        False,
        help="Move each point by the origin shift of its pose, which is then 0.",
        group="Boxes",
    )
    tilt_min: float | None = parameter(
        None,
        help="Lowest tilt; with --tilt-max it makes the missing wedge of the boxes.",
        unit="degrees",
        group="Missing wedge",
        ge=-90,
        le=90,
    )
    tilt_max: float | None = parameter(
        None, help="Highest tilt.", unit="degrees", group="Missing wedge", ge=-90, le=90
    )
    tilt_axis: float = parameter(
        90.0,
        help="Tilt axis from the x axis in the xy plane: 90 is along y, 0 along x.",
        unit="degrees",
        group="Missing wedge",
        ge=-180,
        le=180,
    )
    wedge_volumes: bool = parameter(
        True,
        help="Write the missing wedge of each tomogram as a Fourier volume and name it in the STAR "
        "file (rlnCtfImage), where tilts are known.",
        group="Missing wedge",
    )
    ncpus: int = parameter(
        0,
        help="Tomograms worked on at the same time; 0 takes all cores this process may use.",
        group="Run",
        ge=0,
        changeable=True,
    )

    @field_validator("tilt_max")
    @classmethod
    def _range_is_one(cls, high: float | None, info: ValidationInfo) -> float | None:
        low = info.data.get("tilt_min")
        if (low is None) != (high is None) or (
            low is not None and high is not None and low >= high
        ):
            raise ValueError(
                f"--tilt-min and --tilt-max: found {low} and {high}, expected both, the smaller "
                "first; give for example -60 and 60"
            )
        return high
