"""Parameters of the spIsoNet commands.

Defaults are those of the published program (spIsoNet v1.0) unless the help says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cryodl.core.config.parameters import CommandConfig, parameter

HALF = "MRC file (.mrc, .map, also .gz); cubic, same box and pixel size as the other half."
MASK = "Solvent mask, same box, values 0 to 1."
PIXEL = "Pixel size to use instead of the one in the file headers."


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


class CorrectConfig(CommandConfig):
    """Correct the anisotropy of half maps by self-supervised learning.

    A network learns from the well-measured directions what the badly measured ones should hold.
    What was measured is kept. Give the two half maps and the 3DFSC; without a 3DFSC it is computed.
    """

    half1: Path = parameter(help=f"Half map 1. {HALF}", group="Input", positional=True)
    half2: Path | None = parameter(
        None,
        help=f"Half map 2. {HALF} Without it half map 1 is corrected alone.",
        group="Input",
        positional=True,
    )
    mask: Path | None = parameter(
        None,
        help=f"{MASK} Without it a soft mask is estimated.",
        group="Input",
        original="--mask",
    )
    aniso_file: Path | None = parameter(
        None,
        help="3DFSC volume, or another directional weight in [0, 1], centred, same box. Without it "
        "the 3DFSC of the half maps is computed.",
        group="Input",
        original="--aniso_file",
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    limit_res: float | None = parameter(
        None,
        help="Resolution limit of the correction; beyond it the input is kept. By default the "
        "overall resolution at FSC 0.143.",
        unit="angstrom",
        group="Correction",
        original="--limit_res",
        gt=0,
    )
    alpha: float = parameter(
        1.0,
        help="Weight of the rotational equivariance loss; larger is smoother.",
        group="Correction",
        original="--alpha",
        ge=0,
    )
    beta: float = parameter(
        0.5,
        help="Weight of the terms across half maps; larger denoises more.",
        group="Correction",
        original="--beta",
        ge=0,
    )
    independent: bool = parameter(
        False,
        help="Train one network for each half map, which never sees the other half: only such "
        "results may be used for a gold-standard FSC.",
        group="Correction",
        original="--independent",
    )
    reference: Path | None = parameter(
        None,
        help="Trusted map without preferred orientation whose low resolution is kept.",
        group="Reference",
        original="--reference",
    )
    ref_resolution: float = parameter(
        10.0,
        help="Up to this resolution the reference is used; 10 to 20 is usual.",
        unit="angstrom",
        group="Reference",
        original="--ref_resolution",
        gt=0,
    )
    truth: Path | None = parameter(
        None,
        help="Known structure on the grid of the half maps, for simulated data: the report "
        "compares the maps with it. It has no part in the correction.",
        group="Check",
        expert=True,
    )
    truth_region: Path | None = parameter(
        None,
        help="Volume that is 1 in the badly measured part of Fourier space, centred; by default "
        "taken from the 3DFSC.",
        group="Check",
        expert=True,
    )
    pretrained_model: Path | None = parameter(
        None,
        help="Network of an earlier run to start from (.safetensors); with --epochs 0 it only "
        "predicts.",
        group="Training",
        original="--pretrained_model",
    )
    epochs: int = parameter(
        30,
        help="Passes over the subvolumes; 0 predicts with --pretrained-model.",
        group="Training",
        original="--epochs",
        ge=0,
    )
    n_subvolume: int = parameter(
        1000,
        help="Subvolumes seen in an epoch; epochs * n-subvolume / batch-size optimiser steps.",
        group="Training",
        original="--n_subvolume",
        ge=1,
    )
    cube_size: int = parameter(
        64,
        help="Edge of the training cubes, a multiple of 8; made smaller when the box is small.",
        unit="px",
        group="Training",
        original="--cube_size",
        ge=16,
        multiple_of=8,
    )
    predict_crop_size: int = parameter(
        80,
        help="Edge of the prediction tiles, a multiple of 8, at least cube-size + 14.",
        unit="px",
        group="Training",
        expert=True,
        original="--predict_crop_size",
        ge=32,
        multiple_of=8,
    )
    batch_size: int = parameter(
        4, help="Cubes in an optimiser step.", group="Training", original="--batch_size", ge=1
    )
    acc_batches: int = parameter(
        1,
        help="Splits the batch to save memory; must divide --batch-size.",
        group="Training",
        original="--acc_batches",
        ge=1,
    )
    learning_rate: float = parameter(
        3e-4,
        help="Learning rate of AdamW.",
        group="Training",
        expert=True,
        original="--learning_rate",
        gt=0,
    )
    width: Literal["64", "32", "16"] = parameter(
        "64",
        help="Channels of the first level of the U-Net; 64 is the published network, 16 suits a "
        "CPU.",
        group="Training",
    )
    compile: bool = parameter(
        False,
        help="Compile the network (faster on recent GPUs, needs a compiler).",
        group="Training",
        expert=True,
        changeable=True,
    )
    ncpus: int = parameter(
        0,
        help="CPU threads; 0 takes all this process may use.",
        group="Run",
        original="--ncpus",
        changeable=True,
        ge=0,
    )

    @model_validator(mode="after")
    def _fits_together(self) -> CorrectConfig:
        if self.batch_size % self.acc_batches:
            raise ValueError(
                f"--acc-batches: found {self.acc_batches}, expected a divisor of --batch-size "
                f"{self.batch_size}; change one of them"
            )
        if self.predict_crop_size < self.cube_size + 14:
            raise ValueError(
                f"--predict-crop-size: found {self.predict_crop_size}, expected at least "
                f"--cube-size + 14 = {self.cube_size + 14}; enlarge it"
            )
        if self.epochs == 0 and self.pretrained_model is None:
            raise ValueError(
                "--epochs: found 0 without --pretrained-model, expected a network to predict with; "
                "give one or train"
            )
        return self


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
