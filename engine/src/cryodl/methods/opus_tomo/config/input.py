"""How particles are read: shared by `opus-tomo prepare` and `opus-tomo train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cryodl.core.config.parameters import CommandConfig, parameter


class ParticleInput(CommandConfig):
    """What both commands that read particles take."""

    star: Path = parameter(
        help="Aligned subtomograms, C1 (symmetry may be expanded, not applied): STAR file of "
        "RELION 3.0 to 5, Warp or Scipion.",
        group="Input",
        positional=True,
        original="STAR",
    )
    folder: Path | None = parameter(
        None,
        help="Where to look for the images first.",
        group="Input",
        original="--datadir",
    )
    tomograms: Path | None = parameter(
        None, help="tomograms.star with the tilt series, if the file names none.", group="Input"
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size of the subtomograms, in place of what the file says.",
        unit="angstrom",
        group="Input",
        original="--angpix",
        gt=0,
    )
    box_size: int | None = parameter(
        None,
        help="Box that the subtomograms must have; only a check.",
        unit="px",
        group="Input",
        original="-D",
        expert=True,
        ge=8,
    )
    transfer: Literal["ctf", "wedge", "none"] = parameter(
        "ctf",
        help="What the subtomograms were seen through: CTF and tilts; tilts alone, for "
        "subtomograms whose CTF was corrected; or nothing. What is not known is left out.",
        group="Input",
    )
    tilt_min: float | None = parameter(
        None,
        help="Lowest tilt, where the files hold no tilts.",
        unit="degrees",
        group="Input",
        ge=-90,
        le=90,
    )
    tilt_max: float | None = parameter(
        None,
        help="Highest tilt, where the files hold no tilts.",
        unit="degrees",
        group="Input",
        ge=-90,
        le=90,
    )
    tilt_axis: float = parameter(
        90.0,
        help="Direction of the tilt axis from x, for a range of tilts; 90 is along y.",
        unit="degrees",
        group="Input",
        expert=True,
        ge=-180,
        le=180,
    )
    contrast: Literal["auto", "bright", "dark"] = parameter(
        "auto",
        help="Whether matter is bright or dark in the subtomograms; auto looks at their average.",
        group="Input",
        original="--uninvert-data",
    )

    @model_validator(mode="after")
    def _a_range(self) -> ParticleInput:
        if (self.tilt_min is None) != (self.tilt_max is None):
            raise ValueError("--tilt-min and --tilt-max: found one, expected both; give the other")
        low, high = self.tilt_min, self.tilt_max
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"--tilt-min: found {low:g}, expected less than --tilt-max ({high:g}); exchange "
                "them"
            )
        return self


class PrepareConfig(ParticleInput):
    """Check subtomograms and their poses, and make a consensus and a mask.

    Every image, pose and tilt is checked before a training of hours begins. The consensus is the
    average of all particles in their poses, weighted by CTF and wedge; the mask is found from it.
    """

    low_pass: float | None = parameter(
        None,
        help="Resolution at which the mask is found.",
        unit="angstrom",
        group="Mask",
        expert=True,
        gt=0,
    )
    extend: float = parameter(
        3.0, help="How far the mask is extended.", unit="px", group="Mask", ge=0
    )
    soft_edge: float = parameter(4.0, help="Width of its soft edge.", unit="px", group="Mask", ge=0)
