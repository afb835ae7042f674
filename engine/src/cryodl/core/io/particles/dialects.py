"""Which program wrote a particle file, and which of its blocks holds what."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from cryodl.core.io.particles.model import Dialect
from cryodl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from cryodl.core.io.star import StarBlocks

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
AXES = ("X", "Y", "Z")
COORDINATES = tuple(f"rlnCoordinate{axis}" for axis in AXES)
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in AXES)
ORIGINS_PX = tuple(f"rlnOrigin{axis}" for axis in AXES)
ORIGINS_ANGSTROM = tuple(f"rlnOrigin{axis}Angst" for axis in AXES)
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
BOX_ANGLES = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
VISIBLE = "rlnTomoVisibleFrames"
STACKS = "rlnTomoSubTomosAre2DStacks"
# Keeps the optics table of a file in dialects that have none; RELION passes over it.
KEPT_OPTICS = "cryodl_optics"
# Identity of a particle where the columns of its program do not give one.
PARTICLE_NAME = "cdlParticleName"

_PARTICLE_BLOCKS = ("particles", "images", "")
_RELION5 = 50000


@dataclass(frozen=True)
class Layout:
    """Where a file holds what.

    Attributes
    ----------
    dialect : str
        Which program wrote it.
    particle_block : str
        Name of the block with a row per particle.
    optics_block : str or None
        Name of the block with a row per optics group.
    stacks_2d : bool
        The images of a particle are its tilts.
    from_warp : bool
        Warp or WarpTools wrote it: coordinates count in pixels of the images.
    """

    dialect: Dialect
    particle_block: str
    optics_block: str | None
    stacks_2d: bool
    from_warp: bool


def recognise(blocks: StarBlocks, path: str | os.PathLike[str]) -> Layout:
    """Tell the dialect of a particle file.

    Raises
    ------
    InputError
        No block with a row per particle.
    """
    name = particle_block(blocks, path)
    table = blocks[name]
    optics = "optics" if is_table(blocks.get("optics")) and name not in ("", "optics") else None
    stacks = _flag(blocks.get("general"), STACKS) or VISIBLE in table
    # RELION and we write a comment with the version, Warp does not.
    tomostar = blocks.version is None and any(
        str(value).endswith(".tomostar")
        for label in ("rlnTomoName", "rlnMicrographName")
        if label in table
        for value in table[label].unique()
    )
    if optics is None:
        pixel_column = "rlnPixelSize" in table and "rlnCoordinateZ" in table
        dialect: Dialect = "warp" if pixel_column or tomostar else "relion30"
        return Layout(dialect, name, None, stacks, dialect == "warp")
    if "rlnTomoName" in table:
        if blocks.version is not None:
            newest = blocks.version >= _RELION5
        else:
            newest = stacks
        newest = newest or all(label in table for label in CENTRED)
        return Layout("relion5" if newest else "relion4", name, optics, stacks, tomostar)
    return Layout("warp" if tomostar else "relion31", name, optics, stacks, tomostar)


def particle_block(blocks: StarBlocks, path: str | os.PathLike[str]) -> str:
    """Find the block with a row per particle.

    Raises
    ------
    InputError
        There is none.
    """
    for name in _PARTICLE_BLOCKS:
        if is_table(blocks.get(name)) and describes_particles(blocks[name]):
            return name
    others = [name for name, block in blocks.items() if is_table(block) and name != KEPT_OPTICS]
    for name in others:
        if describes_particles(blocks[name]):
            return name
    if any(str(label).startswith("wrp") for name in others for label in blocks[name]):
        raise InputError(
            f"{path}: is a table of M's own (wrpCoordinateX1...), expected columns that begin with "
            "rln; export the particles with WarpTools ts_export_particles"
        )
    found = ", ".join(f"data_{name}" for name in blocks) or "no block"
    raise InputError(
        f"{path}: found {found}, expected a table of particles with rlnImageName or "
        "rlnCoordinateX, rlnCoordinateY and rlnCoordinateZ; give the particles of a RELION or Warp "
        "job, or its optimisation set"
    )


def describes_particles(table: pd.DataFrame) -> bool:
    """Return whether rows of a table can be particles: they have images or places."""
    if "rlnTomoTiltSeriesStarFile" in table or "rlnMicrographMovieName" in table:
        return False
    places = (COORDINATES, CENTRED)
    return "rlnImageName" in table or any(all(c in table for c in labels) for labels in places)


def is_table(block: Any) -> bool:
    """Return whether a block is a table rather than a list, or nothing."""
    return block is not None and not isinstance(block, dict)


def single_values(block: Any) -> dict[str, Any]:
    """Return a list, or a table of one row, as a dict; anything else is empty."""
    if isinstance(block, Mapping):
        return dict(block)
    if block is not None and len(block) == 1:
        return {str(label): block[label].iloc[0] for label in block}
    return {}


def _flag(block: Any, label: str) -> bool:
    value = single_values(block).get(label, 0)
    try:
        return bool(float(value))
    except (TypeError, ValueError):
        return str(value).strip().lower() == "true"
