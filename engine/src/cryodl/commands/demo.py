"""``cryodl demo``: simulated data through our commands, with the truth beside every result."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.core.config.registry import Command


class DemoConfig(CommandConfig):
    """Take simulated data through all methods, in some minutes on a CPU, and say how good it is.

    Tomograms of a crowded scene go from picking, extraction, sorting, averaging and states to a
    corrected map of one state; the report compares every stage with the truth. The case half-maps
    is the last part alone, with preferred orientation. Each stage is a folder inside the output
    folder, with a report of its own.
    """

    case: Literal["tomogram-to-map", "half-maps"] = parameter(
        "tomogram-to-map", help="The whole chain, or the correction of half maps.", group="Demo"
    )
    tomograms: int = parameter(
        3, help="Tomograms of the chain; the first is labelled.", group="Demo", ge=1, le=99
    )
    number: int = parameter(110, help="Particles of a tomogram.", group="Demo", ge=40)
    snr: float = parameter(0.5, help="Signal-to-noise ratio of the tomograms.", group="Demo", gt=0)
    structure: str = parameter(
        "groel_groes",
        help="For half-maps: a density that comes with cryodl; see simulate half-maps.",
        group="Demo",
    )
    mode: Literal["cone", "preferred"] = parameter(
        "preferred", help="For half-maps: a missing cone, or preferred views.", group="Demo"
    )
    epochs: int = parameter(6, help="Passes of the training of the correction.", group="Demo", ge=1)
    folders: Path | None = parameter(
        None,
        help="JSON file with the folders of a chain that has run elsewhere, in a Scipion project: "
        "nothing is run, and only the report is made.",
        group="Demo",
        expert=True,
    )


COMMANDS = [
    Command(
        "demo",
        "",
        "Simulated tomograms to a map, compared with the truth.",
        DemoConfig,
        "cryodl.commands.demo_run:run_demo",
    )
]
