"""The ``cryodl particles`` commands: look at particle files, turn one dialect into another.

Only parameters live here; the work is imported when a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryodl.commands.particles_extract_config import ParticlesExtractConfig
from cryodl.commands.particles_legacy_config import ParticlesLegacyConfig
from cryodl.core.config.parameters import BareConfig, CommandConfig, parameter
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


class ParticlesConvertConfig(CommandConfig):
    """Write particles for another program, with every column and block that is not understood.

    The result is particles.star, with an optimisation_set.star beside it when the tilt series are
    known, or, with --to coordinates, one text file (x y z score) for each tomogram.
    """

    star: Path = parameter(
        help="Particle STAR file, optimisation set, or coordinates (text, CSV).",
        group="Input",
        positional=True,
    )
    to: Literal["relion30", "relion31", "relion4", "relion5", "warp", "coordinates"] = parameter(
        "relion31",
        help="Which program is to read the result. relion4 and relion5 differ in how coordinates "
        "are written; warp and relion30 have one table; coordinates is plain text.",
        group="Output",
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size of the images, in place of what the file says; that of the tomogram for "
        "coordinates, which need it.",
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
        True, help="Leave out particles whose image is missing or damaged.", group="Input"
    )
    order: Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"] = parameter(
        "xyz", help="Which axes the columns of coordinates in plain text are.", group="Input"
    )
    first_voxel: Literal["0", "1"] = parameter(
        "0", help="What coordinates in text call the first voxel.", group="Input"
    )
    tomogram: str = parameter(
        "",
        help="Name of the tomogram of coordinates in text; by default the name of the file.",
        group="Input",
    )


COMMANDS = [
    Command(
        "particles",
        "info",
        "What a particle file holds, and what of it can be used.",
        ParticlesInfoConfig,
        "cryodl.commands.particles_info:run_info",
    ),
    Command(
        "particles",
        "convert",
        "Particles for another program, without loss.",
        ParticlesConvertConfig,
        "cryodl.commands.particles_convert:run_convert",
    ),
    Command(
        "particles",
        "extract",
        "Boxes around points of tomograms, at any fraction of a voxel and any binning.",
        ParticlesExtractConfig,
        "cryodl.commands.particles_extract:run_extract",
    ),
    Command(
        "particles",
        "legacy",
        "Data files of the published programs: subvolumes, poses, latents.",
        ParticlesLegacyConfig,
        "cryodl.commands.particles_legacy:run_legacy",
    ),
]
