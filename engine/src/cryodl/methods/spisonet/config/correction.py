"""Parameters of `spisonet correct`; defaults that differ from the published say so."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.methods.spisonet.config.words import HALF, MASK, PIXEL


class CorrectConfig(CommandConfig):
    """Correct the anisotropy of half maps by self-supervised learning.

    A network learns from the well-measured directions what the badly measured ones should hold.
    What was measured well is denoised and else kept. Give the two half maps and the 3DFSC; without
    a 3DFSC it is computed.
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
    aniso_estimator: Literal["mean-cosine", "correlation"] = parameter(
        "mean-cosine",
        help="What --aniso-file holds: mean cosines (fsc3d by default, and the published program) "
        "or correlations (fsc3d --estimator fsc, the 3DFSC program, sampling densities).",
        group="Input",
        expert=True,
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    limit_res: float | None = parameter(
        None,
        help="Resolution limit of the correction; beyond it the input is kept. By default the "
        "resolution of the best directions, 3DFSC 0.143.",
        unit="angstrom",
        group="Correction",
        original="--limit_res",
        gt=0,
    )
    method: Literal["cross-direction", "published", "classical"] = parameter(
        "cross-direction",
        help="cross-direction learns to fill missing directions from data measured in other "
        "directions; published is the equivariance loss of spIsoNet, which restores much less; "
        "classical uses mask and positivity alone, without a network.",
        group="Correction",
    )
    alpha: float = parameter(
        1.0,
        help="Weight of the rotational equivariance loss (--method published); larger is smoother.",
        group="Correction",
        original="--alpha",
        ge=0,
    )
    beta: float = parameter(
        0.5,
        help="Weight of the terms across half maps (--method published); larger denoises more.",
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
    restore_power: float = parameter(
        0.5,
        help="Power to which filled directions are raised, as a share of that of measured ones; a "
        "cautious prediction is weak. Directions that cannot be predicted stay weak. 0 is off.",
        group="Correction",
        expert=True,
        ge=0,
        le=1,
    )
    fill_iterations: int = parameter(
        20,
        help="Rounds of the classical filling by mask and positivity that the network starts "
        "from; more fill more and amplify noise.",
        group="Correction",
        expert=True,
        ge=1,
        le=500,
    )
    emphasis: float = parameter(
        0.8,
        help="How much less measured directions count in the training than missing ones; 0 "
        "denoises as much as it fills.",
        group="Correction",
        expert=True,
        ge=0,
        lt=1,
    )
    match: Literal["sampled", "shell"] = parameter(
        "sampled",
        help="How amplitudes are matched when maps are joined (--method published, --reference): "
        "sampled weighs voxels by the 3DFSC, shell is the published rule.",
        group="Correction",
        expert=True,
    )
    rescale: bool = parameter(
        False,
        help="Stretch the directional weight of the training cubes to 0 to 1, as published "
        "(--method published).",
        group="Correction",
        expert=True,
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
        help="Edge of the prediction tiles, a multiple of 8, at least cube-size + 14. Boxes up to "
        "128 are predicted in one piece (but for --method published).",
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
    learning_rate: float | None = parameter(
        None,
        help="Learning rate of AdamW. By default 3e-4 for --method published (as there), else "
        "from 4e-3 for short trainings of narrow networks down to 3e-4.",
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
    norm: Literal["batch", "instance"] = parameter(
        "batch",
        help="Normalisation of the network: batch as published, instance for results that do not "
        "depend on the batch.",
        group="Training",
        expert=True,
    )
    schedule: Literal["auto", "constant", "cosine"] = parameter(
        "auto",
        help="Course of the learning rate; auto is constant for --method published, else cosine.",
        group="Training",
        expert=True,
    )
    patience: int | None = parameter(
        None,
        help="Stop after so many epochs without a smaller loss.",
        group="Training",
        expert=True,
        ge=1,
    )
    tta: bool = parameter(
        False,
        help="Average predictions over the 24 rotations of a cube (--method published); 24 times "
        "slower.",
        group="Training",
        expert=True,
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
        if self.method == "classical":
            return self
        if self.epochs == 0 and self.pretrained_model is None:
            raise ValueError(
                "--epochs: found 0 without --pretrained-model, expected a network to predict with; "
                "give one or train"
            )
        return self
