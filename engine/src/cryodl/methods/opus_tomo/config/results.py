"""Parameters of `opus-tomo analyze`, `volumes` and `select`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator, model_validator

from cryodl.core.config.parameters import CommandConfig, parameter

_TRAINED = "Output folder of opus-tomo train."
_ANALYZED = "Output folder of opus-tomo analyze."


class AnalyzeConfig(CommandConfig):
    """Find clusters and main directions among the latents of a training.

    Latents are first scaled by what the decoder makes of them, so that distances are differences
    of densities and dimensions that mean nothing count for nothing.
    """

    run: Path = parameter(help=_TRAINED, group="Input", positional=True)
    epoch: int | None = parameter(
        None,
        help="Networks after this epoch in place of the last, if the training kept them (train "
        "--keep-every). Particles are encoded anew, in their final poses.",
        group="Input",
        original="$2",
        expert=True,
        ge=1,
    )
    clusters: int = parameter(
        8, help="Clusters of k-means.", group="Analysis", original="$4", ge=2, le=200
    )
    pcs: int = parameter(
        4, help="Principal components to follow.", group="Analysis", original="$3", ge=1, le=64
    )
    umap: bool = parameter(
        False,
        help="Also lay the latents out with UMAP, if umap-learn is installed.",
        group="Analysis",
        original="--skip-umap",
    )
    space: Literal["decoded", "raw"] = parameter(
        "decoded",
        help="Latents scaled by what the decoder makes of them, or as they are.",
        group="Analysis",
        expert=True,
    )
    zd: bool = parameter(
        False,
        help="Analyse the latents of the pose correction instead.",
        group="Analysis",
        expert=True,
    )


class VolumesConfig(CommandConfig):
    """Decode densities at cluster centres or along principal components.

    They come in the box of the particles and overlay the consensus.
    """

    run: Path = parameter(help=_ANALYZED, group="Input", positional=True)
    kind: Literal["kmeans", "pc"] = parameter(
        "kmeans",
        help="Densities at the centres of clusters, or along one principal component.",
        group="Volumes",
        original="$3",
    )
    number: int = parameter(
        1,
        help="Which principal component, from 1.",
        group="Volumes",
        original="$4",
        ge=1,
    )
    steps: int = parameter(
        10, help="Densities along a component.", group="Volumes", expert=True, ge=2, le=100
    )
    pixel_size: float | None = parameter(
        None,
        help="Of the densities; by default that of the particles.",
        unit="angstrom",
        group="Volumes",
        original="$5",
        gt=0,
    )
    box: Literal["full", "crop"] = parameter(
        "full",
        help="The box of the particles, or only what was worked with.",
        group="Volumes",
        expert=True,
    )
    low_pass: float | None = parameter(
        None, help="Filter to this resolution.", unit="angstrom", group="Volumes", gt=0
    )
    apply_mask: bool = parameter(True, help="Set the solvent to zero.", group="Volumes")
    flip: bool = parameter(False, help="Mirror the densities along z.", group="Volumes")


class SelectConfig(CommandConfig):
    """Take particles by cluster, or by a region drawn around their latents."""

    run: Path = parameter(help=_ANALYZED, group="Input", positional=True)
    clusters: str | None = parameter(
        None, help="Numbers of clusters, such as 1,3.", group="Selection"
    )
    lasso: Path | None = parameter(
        None,
        help="JSON file with the corners of a polygon: x and y, names of two columns of "
        "latents.csv (pc1, pc2, umap1 ...), and points, a list of [x, y].",
        group="Selection",
    )
    invert: bool = parameter(False, help="Take all the others.", group="Selection")

    @field_validator("clusters")
    @classmethod
    def _numbers(cls, value: str | None) -> str | None:
        parts = [] if value is None else [p for p in value.replace(" ", "").split(",") if p]
        if value is not None and (not parts or not all(p.isdigit() for p in parts)):
            raise ValueError(
                f"found {value!r}, expected numbers from 1 with commas, such as 1,3; give them"
            )
        return value

    @model_validator(mode="after")
    def _something(self) -> SelectConfig:
        if (self.clusters is None) == (self.lasso is None):
            raise ValueError(
                "--clusters and --lasso: found both or none, expected one of them; give one"
            )
        return self
