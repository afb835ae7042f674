"""Parameters of `autoencoder3d segment-train` and `segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from cryodl.core.config.parameters import CommandConfig, parameter


class SegmentTrainConfig(CommandConfig):
    """Train a segmentation network (EDSS3D) from a selection.

    The voxels of a class are taken from the decoded particle, or the average of its group, above a
    threshold, turned back into the frame in which the particle was recorded.
    """

    run: Path = parameter(help="Folder of autoencoder3d select.", group="Input", positional=True)
    preset: Literal["paper", "base", "tiny"] = parameter(
        "base",
        help="Network: paper is the published one (111,715 parameters for three classes), base "
        "joins coarse and fine features, tiny is for tests.",
        group="Training",
    )
    label_from: Literal["average", "decoded", "center"] = parameter(
        "average",
        help="What the labels are cut from: the average of the group in the pose of the particle, "
        "the decoded particle (published), or the decoded centre of its group.",
        group="Labels",
    )
    threshold: str = parameter(
        "otsu",
        help="Where matter begins: otsu (half way from background to matter), envelope (a fifth of "
        "the way), or deviations above the mean.",
        group="Labels",
        original="iso",
    )
    grow_px: float = parameter(
        2.7,
        help="By how much labels are grown, in voxels of a box of 32: averages at low resolution "
        "are cut too tightly.",
        unit="px",
        group="Labels",
        expert=True,
        ge=0,
        le=8,
    )
    synthesis: bool = parameter(
        True,
        help="Half of what is learned from are averages in any direction, seen through wedges of "
        "different widths and laid into empty places of the tomograms. Needs tomograms.",
        group="Labels",
    )
    background: float = parameter(
        1.0,
        help="Background boxes for each selected one: particles of other groups, and places in the "
        "tomograms away from all particles.",
        group="Labels",
        expert=True,
        ge=0,
        le=10,
    )

    @field_validator("threshold")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value not in ("envelope", "otsu", "level-set"):
            try:
                float(value)
            except ValueError:
                raise ValueError(
                    f"found {value!r}, expected envelope, otsu or a number of deviations; give one"
                ) from None
        return value

    epochs: int | None = parameter(
        None,
        help="Most epochs; by default 200, 60, 60.",
        group="Training",
        original="nb_epoch",
        ge=1,
    )
    batch_size: int | None = parameter(
        None, help="Boxes per step; by default 128, 16, 16.", group="Training", ge=1
    )
    learning_rate: float = parameter(2e-3, help="Peak learning rate.", group="Training", gt=0)
    patience: int = parameter(
        20, help="Epochs without improvement before it stops.", group="Training", expert=True, ge=1
    )


class SegmentConfig(CommandConfig):
    """Segment whole tomograms with a trained network, and list the centres of what is found."""

    tomograms: list[Path] = parameter(
        help="Tomograms (MRC).", group="Input", positional=True, min_length=1
    )
    model: Path = parameter(
        help="Folder of autoencoder3d segment-train, or its model.", group="Input"
    )
    contrast: Literal["dark", "bright"] = parameter(
        "dark", help="What matter is in the tomograms.", group="Input"
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size of the tomograms, in place of the headers'.",
        unit="angstrom",
        group="Input",
        expert=True,
        gt=0,
    )
    threshold: float | None = parameter(
        None,
        help="Probability of being anything from which a thing is found; by default what fitted "
        "the labels best that were held out of the training.",
        group="Components",
        gt=0,
        lt=1,
    )
    views: int = parameter(
        1,
        help="Directions in which the network looks at the tomogram, turned by 180 degrees about "
        "the axes; 4 makes outlines a little better and takes four times as long.",
        group="Components",
        expert=True,
        ge=1,
        le=4,
    )
    outlines: Literal["auto", "volume", "threshold"] = parameter(
        "auto",
        help="Where outlines are drawn: where things of a class have the volume that they had in "
        "training (volume), or at the threshold; auto is volume unless a threshold is given.",
        group="Components",
        expert=True,
    )
    min_volume: float = parameter(
        0.25,
        help="Smallest component that counts, as a share of the volume that particles of its class "
        "had in training.",
        group="Components",
        ge=0,
    )
    probabilities: bool = parameter(
        True, help="Write a map of probability for each class.", group="Components"
    )
