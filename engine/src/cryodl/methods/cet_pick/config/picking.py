"""Parameters of `cet-pick predict`, `evaluate` and `explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.methods.cet_pick.config.words import CONTRAST, ORDER, PIXEL, TOMOGRAMS, Contrast, Order


class PredictConfig(CommandConfig):
    """Pick particles in tomograms with a trained model.

    How tomograms are prepared is stored in the model. The threshold is the one that the held-out
    labels chose, unless another is given.
    """

    tomograms: list[Path] = parameter(help=TOMOGRAMS, group="Input", original="--test_img_txt")
    model: Path = parameter(
        help="model.safetensors of cet-pick train.", group="Input", original="--load_model"
    )
    order: Order = parameter("auto", help=ORDER, group="Input", original="--order")
    contrast: Contrast = parameter(
        "auto",
        help="Whether matter is dark or bright; auto takes what the model was trained with.",
        group="Input",
    )
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    out_thresh: str = parameter(
        "auto",
        help="Least score of a pick, 0 to 1; auto is the model's own.",
        group="Picks",
        original="--out_thresh",
    )
    nms_px: float | None = parameter(
        None,
        help="Picks nearer than this to a better one go; by default 0.6 of the diameter.",
        unit="px",
        group="Picks",
        original="--nms",
        gt=0,
    )
    K: int = parameter(
        0, help="Most picks per tomogram; 0 for all.", group="Picks", original="--K", ge=0
    )
    with_score: bool = parameter(
        True, help="Write the score as a fourth column.", group="Picks", original="--with_score"
    )
    border: float = parameter(
        0.0,
        help="Picks nearer than this to a border in the plane go.",
        unit="px",
        group="Picks",
        expert=True,
        ge=0,
    )
    cutoff_z: float = parameter(
        0.0,
        help="Picks in so many slices at each end go.",
        unit="px",
        group="Picks",
        original="--cutoff_z",
        expert=True,
        ge=0,
    )
    imod_order: bool = parameter(
        False,
        help="Write the columns as x, z, y, as the published program did.",
        group="Picks",
        expert=True,
    )
    flips: bool = parameter(
        False,
        help="Average over mirror images: four times slower, a little better.",
        group="Picks",
        expert=True,
    )

    @field_validator("out_thresh")
    @classmethod
    def _is_score(cls, value: str) -> str:
        if value == "auto":
            return value
        try:
            good = 0 <= float(value) < 1
        except ValueError:
            good = False
        if not good:
            raise ValueError(
                f"found {value!r}, expected auto or a number from 0 to below 1; give one"
            )
        return value


class EvaluateConfig(CommandConfig):
    """Compare picks with true positions."""

    predicted: list[Path] = parameter(
        help="Picks, one file for each tomogram; a fourth column is a score.", group="Input"
    )
    truth: list[Path] = parameter(
        help="True positions, one file for each tomogram in the same order.", group="Input"
    )
    radius: float = parameter(
        help="Largest distance of a pick from the true position; half the diameter is usual.",
        unit="px",
        group="Input",
        gt=0,
    )


class ExploreConfig(CommandConfig):
    """Map what is in tomograms without any label.

    Blobs are found by difference of Gaussians, a network learns to recognise each from two views
    of it, and a map lays similar ones side by side, from which a first set of labels is chosen.
    """

    tomograms: list[Path] = parameter(help=TOMOGRAMS, group="Input")
    bbox: float = parameter(
        help="Diameter of what is looked for, in voxels.", unit="px", group="Input", ge=6, le=128
    )
    order: Order = parameter("auto", help=ORDER, group="Input", original="--order")
    contrast: Literal["dark", "bright"] = parameter("dark", help=CONTRAST, group="Input")
    pixel_size: float | None = parameter(
        None, help=PIXEL, unit="angstrom", group="Input", expert=True, gt=0
    )
    proposals: int = parameter(
        400, help="Most blobs per tomogram.", group="Exploration", original="--dog", ge=10
    )
    clusters: int = parameter(
        12, help="Groups the map is cut into.", group="Exploration", original="--nclusters", ge=2
    )
    steps: int = parameter(150, help="Training steps.", group="Exploration", ge=1)
    batch_size: int = parameter(32, help="Blobs per step.", group="Exploration", ge=4)
    embedding: int = parameter(
        32, help="Length of the codes.", group="Exploration", expert=True, ge=2
    )
