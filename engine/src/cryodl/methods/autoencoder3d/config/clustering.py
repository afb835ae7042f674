"""Parameters of `autoencoder3d cluster`, `figures` and `select`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from cryodl.core.config.parameters import CommandConfig, parameter

TRAINED = "Folder of autoencoder3d train."
CLUSTERED = "Folder of autoencoder3d cluster."


class ClusterConfig(CommandConfig):
    """Group the particles of a training, and average each group.

    Groups are numbered by size, the largest first. Codes are only one way to tell particles apart:
    with `--features auto` the codes, invariants of rotation and the volumes themselves are tried,
    and the grouping that repeats best is taken. Particles are then sorted by likelihood, each in
    every orientation and never mirrored.
    """

    run: Path = parameter(help=TRAINED, group="Input", positional=True)
    clusters: int | None = parameter(
        None,
        help="Number of groups; by default the sweep chooses it.",
        group="Clusters",
        original="n_clusters",
        ge=1,
    )
    sweep: str = parameter(
        "2:12",
        help="Numbers of groups to compare when none is given, as FIRST:LAST.",
        group="Clusters",
    )
    method: Literal["kmeans"] = parameter(
        "kmeans", help="How points are grouped.", group="Clusters"
    )
    features: Literal["auto", "code", "invariant", "voxels", "joint"] = parameter(
        "auto",
        help="What is compared: the codes of the network, spherical-harmonic invariants of "
        "rotation, principal components of the volumes in their normalised poses, all three "
        "(joint), or whichever repeats best (auto).",
        group="Clusters",
    )
    align_rounds: int = parameter(
        8,
        help="Rounds in which particles are sorted by likelihood, in every orientation: groups "
        "become averages and particles join those they fit. 0 leaves the groups as they are. Only "
        "for up to 12 groups.",
        group="Clusters",
        ge=0,
        le=20,
    )
    rotations: int = parameter(
        2304,
        help="Orientations tried in the last rounds; 2304 are 19 degrees apart, 4608 are 15.",
        group="Clusters",
        expert=True,
        ge=24,
    )
    starts: int = parameter(
        20,
        help="Starts of k-means; the published program made 100.",
        group="Clusters",
        original="n_init",
        expert=True,
        ge=1,
    )
    stability_seeds: int = parameter(
        5, help="Seeds whose groups are compared.", group="Clusters", expert=True, ge=2, le=50
    )

    @field_validator("sweep")
    @classmethod
    def _is_range(cls, value: str) -> str:
        found = re.fullmatch(r"(\d+):(\d+)", value)
        if found is None or not 1 < int(found[1]) <= int(found[2]):
            raise ValueError(
                f"found {value!r}, expected FIRST:LAST with 2 or more first, such as 2:20; give so"
            )
        return value


class FiguresConfig(CommandConfig):
    """Draw the groups again: one picture a group, named as the published program named them."""

    run: Path = parameter(help=CLUSTERED, group="Input", positional=True)
    show: Literal["averages", "centers"] = parameter(
        "averages",
        help="What is shown: averages of the members (what was measured), or decoded centres (what "
        "the network imagines).",
        group="Figures",
    )
    stretch: Literal["common", "each"] = parameter(
        "common", help="One grey scale for all, or one for each.", group="Figures"
    )


class SelectConfig(CommandConfig):
    """Keep the particles of chosen groups, under the class numbers given to them."""

    run: Path = parameter(help=CLUSTERED, group="Input", positional=True)
    classes: Path = parameter(
        help='JSON file such as {"1": [3, 5], "2": [1]}: class 1 is groups 3 and 5. Class 0 is '
        "background and cannot be given.",
        group="Input",
        original="sel_clus",
    )
