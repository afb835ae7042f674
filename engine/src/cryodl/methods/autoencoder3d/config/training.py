"""Parameters of `autoencoder3d train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cryodl.core.config.parameters import CommandConfig, parameter


class TrainConfig(CommandConfig):
    """Learn codes of subvolumes without any label.

    Takes particles of a STAR file, tomograms with coordinates, tomograms alone (blobs are then
    proposed), or the data file of the published program. Every subvolume is brought to mean 0 and
    deviation 1, so that neither gain nor offset decides what it is taken for.
    """

    inputs: list[Path] = parameter(
        help="One STAR file of subtomograms, one pickle of the published program (read without "
        "running anything in it), or tomograms.",
        group="Input",
        original="subvolumes.pickle",
        positional=True,
        min_length=1,
    )
    coordinates: list[Path] | None = parameter(
        None,
        help="Points, one file for each tomogram in the same order, or one STAR file with names of "
        "tomograms. Without any, blobs are proposed by difference of Gaussians.",
        group="Input",
    )
    tomograms: list[Path] | None = parameter(
        None,
        help="For the pickle: its tomogram, from which boxes are cut again, also those that the "
        "pickle has no voxels of.",
        group="Input",
        original="tomogram.rec",
    )
    contrast: Literal["auto", "dark", "bright"] = parameter(
        "auto",
        help="What matter is in the data: auto is bright for STAR files (as RELION wants it) and "
        "dark for tomograms and pickles.",
        group="Input",
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size, in place of the headers'; 10 for a pickle without one.",
        unit="angstrom",
        group="Input",
        gt=0,
    )
    box_size_px: int = parameter(
        32,
        help="Edge of the boxes that are cut from tomograms.",
        unit="px",
        group="Input",
        ge=8,
        le=256,
    )
    diameter: float | None = parameter(
        None,
        help="Size of the blobs to propose; by default two fifths of the box.",
        unit="px",
        group="Input",
        gt=2,
    )
    proposals: int = parameter(
        500, help="Most blobs proposed in a tomogram.", group="Input", expert=True, ge=1
    )
    proposals_by: Literal["blobs", "detail"] = parameter(
        "blobs",
        help="What is proposed in tomograms alone: dense blobs of the diameter (difference of "
        "Gaussians), or places with more detail than elsewhere, such as rings, shells, membranes.",
        group="Input",
        expert=True,
    )
    border: Literal["drop", "fill"] = parameter(
        "drop",
        help="Boxes that leave the tomogram are dropped, or filled with the mean of the rest.",
        group="Input",
        expert=True,
    )
    tilt_min: float | None = parameter(
        None,
        help="Lowest tilt; by default what the STAR file knows.",
        unit="degrees",
        group="Wedge",
        gt=-90,
        lt=90,
    )
    tilt_max: float | None = parameter(
        None, help="Highest tilt.", unit="degrees", group="Wedge", gt=-90, lt=90
    )
    tilt_axis: Literal["x", "y"] = parameter("y", help="Axis of the tilts.", group="Wedge")
    wedge_loss: bool = parameter(
        True,
        help="Compare in Fourier space only what was measured, where the tilts are known. The "
        "decoded volumes are then filled in by guess.",
        group="Wedge",
    )
    pose: Literal["none", "center", "axis", "full"] = parameter(
        "full",
        help="Move each particle to its centre of mass (center), turn its main axis up (axis), or "
        "turn all its axes to the same directions (full). Never mirrored. Matters most for "
        "particles in any orientation.",
        group="Pose",
        original="True|False (pose normalisation)",
    )
    threshold: str = parameter(
        "1.0",
        help="Where matter begins, for the pose: deviations above the mean, otsu, or level-set.",
        group="Pose",
        expert=True,
    )
    pose_smooth: float = parameter(
        2.0,
        help="Gaussian smoothing before the threshold, in voxels of a box of 32.",
        unit="px",
        group="Pose",
        expert=True,
        ge=0,
        le=8,
    )
    keep_all: bool = parameter(
        False,
        help="All matter in the box counts for the pose, not only its largest piece.",
        group="Pose",
        expert=True,
    )
    membrane: bool = parameter(
        False,
        help="With pose axis: turn the axis of the least extent up, the normal of a membrane.",
        group="Pose",
        expert=True,
    )
    preset: Literal["paper", "base", "tiny"] = parameter(
        "base",
        help="Network: paper is the published one (1,149,793 parameters at a box of 32; slow "
        "without a GPU), base learns as well in a tenth of the time, tiny is for tests.",
        group="Training",
    )
    network_box_px: int | None = parameter(
        None,
        help="Box of the network, a multiple of 4; larger boxes are Fourier-cropped to it. By "
        "default 32 for paper, 24 for base, 16 for tiny, and never more than the box.",
        unit="px",
        group="Training",
        ge=8,
        le=64,
        multiple_of=4,
    )
    low_pass: float | None = parameter(
        None,
        help="Finest detail kept; by default that of the network's box.",
        unit="angstrom",
        group="Training",
        gt=0,
    )
    epochs: int | None = parameter(
        None,
        help="Most epochs; by default the preset's (100, 40, 20). Training stops when validation "
        "no longer improves.",
        group="Training",
        original="nb_epoch",
        ge=1,
    )
    batch_size: int | None = parameter(
        None, help="Subvolumes per step; by default 128, 32, 32.", group="Training", ge=1
    )
    learning_rate: float = parameter(1e-3, help="Peak learning rate.", group="Training", gt=0)
    sparsity: float = parameter(
        1e-4,
        help="Weight of the sum of the sizes of the codes.",
        group="Training",
        original="activity_regularizer l1",
        expert=True,
        ge=0,
    )
    denoise: float = parameter(
        0.0,
        help="Noise added to what the encoder sees, in deviations; 0.5 makes codes of clean data "
        "more robust.",
        group="Training",
        expert=True,
        ge=0,
        le=4,
    )
    rotinv: float = parameter(
        0.0,
        help="Weight of the difference of the codes of a particle and of a turned copy; for data "
        "whose poses cannot be normalised.",
        group="Training",
        expert=True,
        ge=0,
    )
    patience: int = parameter(
        20, help="Epochs without improvement before it stops.", group="Training", expert=True, ge=1
    )
    val_fraction: float = parameter(
        0.1,
        help="Share held out for validation, chosen by the seed.",
        group="Training",
        expert=True,
        gt=0,
        le=0.5,
    )

    @model_validator(mode="after")
    def _both_tilts(self) -> TrainConfig:
        if (self.tilt_min is None) != (self.tilt_max is None):
            raise ValueError(
                "--tilt-min and --tilt-max: found one, expected both or none; give both"
            )
        given = self.tilt_min is not None and self.tilt_max is not None
        if given and self.tilt_min >= self.tilt_max:  # type: ignore[operator]
            raise ValueError("--tilt-min: expected less than --tilt-max; give a range")
        if self.threshold not in ("otsu", "level-set"):
            try:
                float(self.threshold)
            except ValueError:
                raise ValueError(
                    f"--threshold: found {self.threshold!r}, expected a number of deviations, otsu "
                    "or level-set; give one"
                ) from None
        return self
