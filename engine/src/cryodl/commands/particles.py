"""The ``cryodl particles`` commands: look at particle files, turn one dialect into another.

Only parameters live here; the work is imported when a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryodl.core.config.parameters import BareConfig, parameter
from cryodl.core.config.registry import Command


class ParticlesInfoConfig(BareConfig):
    """Say what a particle file holds, what of it can be used, and why the rest cannot.

    Reads STAR files of RELION 3.0 to 5 and of Warp, optimisation sets, and coordinate files.
    """

    star: Path = parameter(
        help="Particle STAR file, optimisation set, or coordinates.", group="Input", positional=True
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size of the images, in place of what the file says.",
        unit="angstrom",
        group="Input",
        gt=0,
    )
    image_folder: Path | None = parameter(
        None,
        help="Where to look for the images first; then next to the file and in the folders above.",
        group="Input",
    )
    tomograms: Path | None = parameter(
        None, help="tomograms.star, when the file is not an optimisation set.", group="Input"
    )
    check_images: bool = parameter(
        True, help="Look whether the images are there and whole.", group="Input"
    )
    output_format: Literal["text", "json"] = parameter(
        "text", help="Lines for people, or JSON for programs.", group="Output"
    )


COMMANDS = [
    Command(
        "particles",
        "info",
        "What a particle file holds, and what of it can be used.",
        ParticlesInfoConfig,
        "cryodl.commands.particles_info:run_info",
    ),
]
