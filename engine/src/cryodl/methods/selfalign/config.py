"""Parameters of the commands of SelfAlign."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cryodl.core.config.parameters import CommandConfig, parameter

Transfer = Literal["auto", "ctf", "wedge", "none"]
Axis = Literal["x", "y"]
Preset = Literal["proposer", "refcnn", "base", "small", "tiny", "gumnet"]

_PIXEL = "Pixel size of the particles, in place of what the file says."
_TILT_MIN = "Lowest tilt, for particles whose tilts are not in the file."
_TILT_MAX = "Highest tilt, for particles whose tilts are not in the file."
_AXIS = "Tilt axis in the tomogram, for particles whose tilts are not in the file."
_REFERENCE = "Map at the pixel size of the particles, matter bright, in a box of their size."


class ParticleConfig(CommandConfig):
    """What all commands ask about particles."""

    pixel_size: float | None = parameter(
        None, help=_PIXEL, unit="angstrom", group="Input", gt=0, le=10000
    )
    tilt_min: float | None = parameter(
        None, help=_TILT_MIN, unit="degrees", group="Input", ge=-90, le=90
    )
    tilt_max: float | None = parameter(
        None, help=_TILT_MAX, unit="degrees", group="Input", ge=-90, le=90
    )

    @model_validator(mode="after")
    def _whole_range(self) -> ParticleConfig:
        low, high = self.tilt_min, self.tilt_max
        known = low is not None and high is not None
        if (low is None) != (high is None) or (known and low >= high):  # type: ignore[operator]
            raise ValueError(
                f"--tilt-min and --tilt-max: found {low} and {high}, expected both, the smaller "
                "first; give -60 and 60 for instance"
            )
        return self


class PrepareConfig(ParticleConfig):
    """Write the particle file of a folder of subtomograms.

    All MRC files of the folder are looked at; what cannot be read, or has another box than most,
    is left out and told.
    """

    folder: Path = parameter(
        help="Folder with one MRC file a particle.",
        group="Input",
        positional=True,
        original="prepare_subtomo_star FOLDER",
    )
    output_star: str = parameter(
        "subtomo.star", help="Name of the file.", group="Output", original="--output_star"
    )
    absolute: bool = parameter(
        False, help="Write absolute paths instead of paths from the file.", group="Output"
    )


class SearchConfig(ParticleConfig):
    """How poses are searched."""

    tilt_axis: Axis = parameter("y", help=_AXIS, group="Input")
    transfer: Transfer = parameter(
        "auto",
        help="What the particles were seen through: ctf, wedge, none; auto takes the wedge for "
        "subtomograms, and the CTF for stacks of tilt images and where there are CTF volumes.",
        group="Input",
    )
    contrast: Literal["bright", "dark"] = parameter(
        "bright", help="Whether matter is bright or dark in the particles.", group="Input"
    )
    mask: Path | None = parameter(
        None,
        help="Soft mask of the reference; what lies outside is not aligned.",
        group="Input",
    )
    symmetry: str = parameter(
        "C1", help="Point group of the reference: C2, D7, T, O, I and so on.", group="Search"
    )
    max_shift_px: float | None = parameter(
        None,
        help="Largest shift from the centre of the box; an eighth of the box by default.",
        unit="px",
        group="Search",
        ge=0,
    )
    rotations: int = parameter(
        4608,
        help="Rotations of the exhaustive search: 4608 lie about 15 degrees apart.",
        group="Search",
        expert=True,
        ge=1,
        le=300000,
    )
    coarse_shell: int = parameter(
        8,
        help="Band of the coarse search, in Fourier pixels of the box: 8 is what a box of 16 px "
        "holds. Large boxes with small particles want more.",
        unit="px",
        group="Search",
        expert=True,
        ge=3,
        le=32,
    )
    batch_size: int = parameter(
        8, help="Particles of one pass.", group="Search", expert=True, ge=1, changeable=True
    )


class AlignConfig(SearchConfig):
    """Find the pose of every particle against a reference, or of every pair.

    The score compares only what a particle has measured, in units of its noise; for pairs it knows
    the wedges of both. Each pose comes with its score, the distance to the next best, the
    probability of being the right one of those compared, and the angle it may be off by.
    """

    star: Path | None = parameter(
        None, help="Particles.", group="Input", positional=True, original="subtomo_star"
    )
    pairs: Path | None = parameter(
        None,
        help="Instead of particles: a table of pairs with rlnImageName and cdlTemplateName.",
        group="Input",
    )
    reference: Path | None = parameter(None, help=_REFERENCE, group="Input")
    model: Path | None = parameter(
        None, help="Network of selfalign train, or the folder of that run.", group="Input"
    )
    mode: Literal["auto", "net", "refine", "exhaustive"] = parameter(
        "auto",
        help="exhaustive tries all rotations; auto goes from coarse to fine, or from what the "
        "network proposes, and is several times as fast; refine stays about the poses of the "
        "file, or of the network; net takes the network's answer as it is.",
        group="Search",
    )
    resolution: float | None = parameter(
        None,
        help="Finest detail of the reference to compare; all that the box holds by default.",
        unit="angstrom",
        group="Search",
        gt=0,
    )
    local_degrees: float = parameter(
        6.0,
        help="Reach of the first step of mode refine.",
        unit="degrees",
        group="Search",
        expert=True,
        gt=0,
        le=30,
    )

    @model_validator(mode="after")
    def _one_input(self) -> AlignConfig:
        if (self.star is None) == (self.pairs is None):
            raise ValueError(
                "STAR and --pairs: found both or neither, expected one; give particles or pairs"
            )
        if self.star is not None and self.reference is None:
            raise ValueError(
                "--reference: found none, expected a map to align to; give one, or --pairs"
            )
        if self.mode == "net" and self.model is None:
            raise ValueError("--model: found none, expected one for --mode net; train one")
        if self.pairs is not None and (self.model is not None or self.mode in ("net", "refine")):
            raise ValueError(
                "--pairs: found with a network or --mode refine, expected auto or exhaustive"
            )
        return self


class RefineConfig(SearchConfig):
    """Average particles: align, average and measure again until nothing changes.

    The two half sets never meet: each is aligned to its own average, and only their Fourier shell
    correlation is shared. Without a reference the start is made from the particles themselves.
    """

    star: Path = parameter(
        help="Particles.", group="Input", positional=True, original="subtomo_star"
    )
    reference: Path | None = parameter(
        None, help=_REFERENCE + " Without one the particles make their own.", group="Input"
    )
    other_references: list[Path] | None = parameter(
        None,
        help="Further maps to begin with, one for each further class; all are low-passed alike.",
        group="Input",
    )
    classes: int = parameter(
        1,
        help="Averages that particles are sorted into. With one reference, or none, the first "
        "round sorts by how well they fit it; a reference for each class does better.",
        group="Search",
        ge=1,
        le=20,
    )
    initial_lowpass: float = parameter(
        60.0,
        help="Low-pass of the references for the first round.",
        unit="angstrom",
        group="Search",
        gt=0,
    )
    iterations: int = parameter(
        8, help="Rounds at most.", group="Search", original="iter", ge=1, le=100
    )
    mode: Literal["auto", "exhaustive", "refine", "net"] = parameter(
        "auto",
        help="Search of the first rounds; refine stays about the poses of the file from the "
        "start; net trains a network on each half's average for its proposals.",
        group="Search",
    )
    global_iterations: int = parameter(
        3,
        help="Rounds that search all rotations; those after them search about the last pose.",
        group="Search",
        ge=0,
    )
    keep: float = parameter(
        1.0,
        help="Share of the particles, those of the best scores in each half, that is averaged.",
        group="Search",
        expert=True,
        gt=0,
        le=1,
    )
    train_steps: int = parameter(
        100, help="Training of each network with --mode net.", group="Search", expert=True, ge=1
    )
    start_templates: int = parameter(
        4,
        help="Particles that are tried as the first reference when none is given.",
        group="Search",
        expert=True,
        ge=1,
        le=50,
    )
    start_particles: int = parameter(
        40,
        help="Particles of each half that are aligned to the best of them.",
        group="Search",
        expert=True,
        ge=4,
    )

    @model_validator(mode="after")
    def _a_reference_a_class(self) -> RefineConfig:
        if self.other_references and self.reference is None:
            raise ValueError(
                "--other-references: found without --reference, expected both; give the first "
                "map as --reference"
            )
        return self

    @property
    def class_count(self) -> int:
        """Number of averages."""
        return max(self.classes, 1 + len(self.other_references or []))


class TrainConfig(ParticleConfig):
    """Train a network that proposes poses.

    Pairs are made on the fly: uniform rotations or a cone, shifts, noise of each member's own, and
    its own wedge.
    """

    star: Path | None = parameter(
        None,
        help="Particles; they give noise and wedge, and with source particles the densities.",
        group="Input",
        positional=True,
        original="src_file",
    )
    reference: Path | None = parameter(None, help=_REFERENCE, group="Input")
    tilt_axis: Axis = parameter("y", help=_AXIS, group="Input")
    contrast: Literal["bright", "dark"] = parameter(
        "bright", help="Whether matter is bright or dark in the particles.", group="Input"
    )
    symmetry: str = parameter("C1", help="Point group of the reference.", group="Training")
    preset: Preset = parameter(
        "proposer",
        help="Network: proposer (default) tells which of some thousand rotations are likely, for a "
        "fixed reference; refcnn regresses one pose against a fixed reference; base, small and "
        "tiny regress pairs; gumnet is the published network of 110 million weights.",
        group="Training",
    )
    source: Literal["reference", "particles", "mixed"] = parameter(
        "reference",
        help="Where densities come from: the reference, the particles themselves, or both.",
        group="Training",
    )
    steps: int = parameter(300, help="Optimiser steps.", group="Training", ge=1)
    batch_size: int = parameter(32, help="Pairs a step.", group="Training", ge=2)
    learning_rate: float | None = parameter(
        None,
        help="Peak learning rate; by default that of the preset.",
        group="Training",
        gt=0,
        le=1,
    )
    cone: float = parameter(
        180.0,
        help="Largest rotation between the two; 180 is all rotations.",
        unit="degrees",
        group="Training",
        gt=0,
        le=180,
    )
    snr_min: float = parameter(
        0.05, help="Lowest signal-to-noise ratio of a pair.", group="Training", gt=0
    )
    snr_max: float = parameter(
        0.5, help="Highest signal-to-noise ratio of a pair.", group="Training", gt=0
    )
    max_shift_px: float | None = parameter(
        None,
        help="Largest shift along each axis; an eighth of the box by default.",
        unit="px",
        group="Training",
        original="the 4 of the pair generator",
        ge=0,
    )

    @model_validator(mode="after")
    def _enough(self) -> TrainConfig:
        if self.snr_min > self.snr_max:
            raise ValueError(
                f"--snr-min: found {self.snr_min} above --snr-max {self.snr_max}, expected below"
            )
        if self.source != "particles" and self.reference is None:
            raise ValueError(
                "--reference: found none, expected a map; give one, or --source particles"
            )
        if self.source != "reference" and self.star is None:
            raise ValueError("STAR: found none, expected particles; give them as first argument")
        fixed = self.preset in ("proposer", "refcnn")
        if fixed and self.source != "reference":
            raise ValueError(
                f"--source: found {self.source} with preset {self.preset}, expected reference; "
                "take base, small, tiny or gumnet for pairs of particles"
            )
        return self


class EvaluateConfig(CommandConfig):
    """Compare poses with true ones: two particle files, or two lists of the published program."""

    predicted: Path = parameter(
        help="Poses found.", group="Input", positional=True, original="y_pred"
    )
    truth: Path = parameter(help="True poses.", group="Input", positional=True, original="y_true")
    symmetry: str = parameter(
        "C1", help="Point group up to which poses are the same.", group="Evaluation"
    )
    legacy: bool = parameter(
        False,
        help="The files are lists of three Euler angles in radians (extrinsic zyz) and three "
        "shifts a line, and shifts are rounded first, as published.",
        group="Evaluation",
    )
    any_frame: bool = parameter(
        False,
        help="Turn all poses together onto the truth first, for averages without a reference.",
        group="Evaluation",
    )
    pixel_size: float | None = parameter(
        None, help=_PIXEL, unit="angstrom", group="Input", gt=0, le=10000
    )
