"""Views of a particle set, read from a RELION STAR file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodl.core.io.particles.columns import image_pixel_size, make_table
from cryodl.core.io.particles.dialects import Layout, is_table
from cryodl.core.io.star import StarBlocks, read_star
from cryodl.errors import InputError


@dataclass(frozen=True)
class Views:
    """Viewing angles of particles.

    Attributes
    ----------
    rot_degrees, tilt_degrees : np.ndarray
        ``(n,)`` RELION Euler angles of the particles in use.
    pixel_size_angstrom : float or None
        Of the images, None when the file does not tell.
    read : int
        How many particles the file holds.
    """

    rot_degrees: np.ndarray
    tilt_degrees: np.ndarray
    pixel_size_angstrom: float | None
    read: int


def read_views(
    path: Path, at_most: int, seed: int, pixel_size_angstrom: float | None = None
) -> Views:
    """Read the views of at most `at_most` particles, drawn at random without replacement.

    Raises
    ------
    InputError
        No readable STAR file, no table with angles, angles that are not numbers, or several pixel
        sizes when `pixel_size_angstrom` does not say which is meant.
    """
    blocks = read_star(path)
    name = _table_with_angles(path, blocks)
    table = blocks[name]
    angles = {}
    for column in ("rlnAngleRot", "rlnAngleTilt"):
        try:
            angles[column] = np.asarray(table[column], dtype=np.float64)
        except ValueError:
            raise InputError(
                f"{path}: found text in {column}, expected angles in degrees; mend the column"
            ) from None
    finite = np.isfinite(angles["rlnAngleRot"]) & np.isfinite(angles["rlnAngleTilt"])
    if not finite.any():
        raise InputError(f"{path}: found no finite angles, expected at least one particle")
    chosen = np.flatnonzero(finite)
    if len(chosen) > at_most:
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(chosen, at_most, replace=False))
    return Views(
        angles["rlnAngleRot"][chosen],
        angles["rlnAngleTilt"][chosen],
        pixel_size_angstrom or _pixel_size(path, blocks, name),
        len(table),
    )


def _table_with_angles(path: Path, blocks: StarBlocks) -> str:
    for name, block in blocks.items():
        if "rlnAngleRot" in block and "rlnAngleTilt" in block and hasattr(block, "columns"):
            return name
    raise InputError(
        f"{path}: found no table with rlnAngleRot and rlnAngleTilt, expected the particles of a "
        "refinement; give its data.star"
    )


def _pixel_size(path: Path, blocks: StarBlocks, name: str) -> float | None:
    optics = "optics" if is_table(blocks.get("optics")) and name != "optics" else None
    table = make_table(blocks, Layout("relion31", name, optics, False, False))
    sizes = image_pixel_size(table)
    sizes = sizes[np.isfinite(sizes)]
    if not len(sizes):
        return None
    if sizes.max() > 1.01 * sizes.min():
        raise InputError(
            f"{path}: found pixel sizes from {sizes.min():g} to {sizes.max():g} A, expected one; "
            "give --pixel-size for that of the volume"
        )
    return float(sizes[0])
