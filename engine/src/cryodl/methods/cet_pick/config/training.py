"""Parameters of `cet-pick prepare` and `cet-pick train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.methods.cet_pick.config.words import (
    CONTRAST,
    COORDINATES,
    ORDER,
    PIXEL,
    POINT_PIXEL,
    TOMOGRAMS,
    Contrast,
    Order,
)


class PrepareConfig(CommandConfig):
    """Check tomograms and labelled points, bin them, and write the lists that train reads.

    Axis orders, positions outside the tomogram and coordinates at another binning are found here.
    """

    tomograms: list[Path] = parameter(help=TOMOGRAMS, group="Input", original="-d/--dir")
    points: list[Path] | None = parameter(
        None,
        help="Points, one file for each tomogram; without them only the list of tomograms is made.",
        group="Input",
        original="-d/--dir",
    )
    order: Order = parameter("auto", help=ORDER, group="Input", original="-r/--ord")
    point_order: Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"] = parameter(
        "xyz",
        help="Axes of the file that the three columns of the points stand for.",
        group="Input",
        original="-r/--ord",
    )
    binning: int = parameter(
        1, help="Bin the tomograms by this factor and scale the points.", group="Input", ge=1, le=16
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    coordinate_pixel_size: float | None = parameter(
        None, help=POINT_PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )


class TrainConfig(CommandConfig):
    """Train a picker from a few labelled particles.

    Labels may be sparse: what is not labelled counts as unknown, not as empty. A part of the labels
    is held out to choose the threshold and to say how good the picks are.
    """

    tomograms: list[Path] = parameter(help=TOMOGRAMS, group="Input", original="--train_img_txt")
    coordinates: list[Path] = parameter(
        help=COORDINATES, group="Input", original="--train_coord_txt"
    )
    bbox: float = parameter(
        help="Diameter of the particle in voxels of the tomogram.",
        unit="px",
        group="Input",
        original="--bbox",
        ge=6,
        le=128,
    )
    order: Order = parameter("auto", help=ORDER, group="Input", original="--order")
    contrast: Contrast = parameter("auto", help=CONTRAST, group="Input")
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    coordinate_pixel_size: float | None = parameter(
        None, help=POINT_PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    fully_labelled: bool = parameter(
        False,
        help="Every particle is labelled: the rest counts as empty.",
        group="Input",
        original="--pn",
    )
    preset: Literal["cpu", "unet_4", "unet_5", "ressmall_18"] = parameter(
        "cpu",
        help="Network and length of the training: cpu takes minutes without a GPU; unet_4, unet_5 "
        "and ressmall_18 are the published networks.",
        group="Training",
        original="--arch",
    )
    num_epochs: int | None = parameter(
        None,
        help="Length of the training, in epochs of one crop around every label; without it the "
        "preset decides.",
        group="Training",
        original="--num_epochs",
        ge=1,
    )
    steps: int | None = parameter(
        None,
        help="Length of the training in steps; without it the preset decides.",
        group="Training",
        ge=1,
    )
    batch_size: int = parameter(
        4, help="Crops per step.", group="Training", original="--batch_size", ge=1
    )
    learning_rate: float = parameter(
        2e-3, help="Peak learning rate.", group="Training", original="--lr", gt=0, le=1
    )
    crop_px: int = parameter(
        48,
        help="Edge of crops; even. The published program used 64.",
        unit="px",
        group="Training",
        expert=True,
        ge=32,
        le=256,
        multiple_of=16,
    )
    crop_slices: int = parameter(
        6, help="Working slices of crops.", group="Training", expert=True, ge=3, le=64
    )
    val_fraction: float = parameter(
        0.2,
        help="Share of the labels, from one end of each tomogram, that is held out to choose the "
        "threshold. 0 holds out nothing and the threshold is then a guess.",
        group="Training",
        original="--val_coord_txt",
        ge=0,
        le=0.5,
    )
    patience: int | None = parameter(
        None,
        help="Stop after so many validations without improvement and keep the best.",
        group="Training",
        expert=True,
        ge=1,
    )
    tau: float = parameter(
        0.01,
        help="Share of the voxels that are at the centre of a particle; 0.1 and more for densely "
        "packed particles. The published default is 0.1.",
        group="Losses",
        original="--tau",
        gt=0,
        lt=1,
    )
    emphasis: float | None = parameter(
        0.02,
        help="Share that labelled centres are given in the loss, more than their share of the "
        "voxels; none is as published and needs a longer training.",
        group="Losses",
        expert=True,
        gt=0,
        lt=1,
    )
    cr_weight: float = parameter(
        0.1,
        help="Weight of the contrastive loss; 0.5 to 1 with fewer than fifty labels, 0 for none.",
        group="Losses",
        original="--cr_weight",
        ge=0,
    )
    temp: float = parameter(
        0.07,
        help="Temperature of the contrastive loss; 0.02 for very noisy tomograms.",
        group="Losses",
        original="--temp",
        gt=0,
        le=1,
    )
    thresh: float = parameter(
        0.5,
        help="Voxels with a label above it are positives of the contrastive loss.",
        group="Losses",
        original="--thresh",
        gt=0,
        le=1,
    )
    anchors: int = parameter(
        256,
        help="Unlabelled voxels compared per step; 0 takes all, as published, and is slow.",
        group="Losses",
        expert=True,
        ge=0,
    )
    consistency: float = parameter(
        1.0, help="Weight of the agreement of two views.", group="Losses", expert=True, ge=0
    )
    label_sigma: float | None = parameter(
        None,
        help="Sigma of the label around each centre; by default an eighth of the diameter.",
        unit="angstrom",
        group="Losses",
        expert=True,
        gt=0,
    )
    compress: Literal["mean", "max", "off"] = parameter(
        "mean",
        help="Merge slices in pairs by mean or maximum (published), or not.",
        group="Preparation",
        original="--compress",
    )
    gauss: float = parameter(
        0.8,
        help="Sigma of a Gaussian filter in voxels of the merged tomogram; 0 for none.",
        unit="px",
        group="Preparation",
        original="--gauss",
        ge=0,
        le=5,
    )
    quantise: bool = parameter(
        False,
        help="Round values to 256 levels, as published.",
        group="Preparation",
        expert=True,
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if self.num_epochs is not None and self.steps is not None:
            raise ValueError(
                "--num-epochs and --steps: found both, expected one of them; leave one out"
            )
        return self
