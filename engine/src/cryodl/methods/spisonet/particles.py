"""Views of a particle set, read from a RELION STAR file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryodl.core.io.star import read_star
from cryodl.errors import InputError


@dataclass(frozen=True)
class Views:
    """Viewing angles of particles.

    Attributes
    ----------
    rot_degrees, tilt_degrees : np.ndarray
        ``(n,)`` RELION Euler angles of the particles in use.
    pixel_size_angstrom : float or None
        Of the first optics group, None when the file does not tell.
    read : int
        How many particles the file holds.
    """

    rot_degrees: np.ndarray
    tilt_degrees: np.ndarray
    pixel_size_angstrom: float | None
    read: int


def read_views(path: Path, at_most: int, seed: int) -> Views:
    """Read the views of at most `at_most` particles, drawn at random without replacement.

    Raises
    ------
    InputError
        No readable STAR file, no table with angles, or angles that are not numbers.
    """
    blocks = read_star(path)
    table = _table_with_angles(path, blocks)
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
        _pixel_size(blocks),
        len(table),
    )


def _table_with_angles(path: Path, blocks: dict[str, Any]) -> Any:
    for block in blocks.values():
        if "rlnAngleRot" in block and "rlnAngleTilt" in block and hasattr(block, "columns"):
            return block
    raise InputError(
        f"{path}: found no table with rlnAngleRot and rlnAngleTilt, expected the particles of a "
        "refinement; give its data.star"
    )


def _pixel_size(blocks: dict[str, Any]) -> float | None:
    for block in blocks.values():
        if "rlnImagePixelSize" in block:
            value = np.atleast_1d(np.asarray(block["rlnImagePixelSize"], dtype=np.float64))[0]
            return float(value) if np.isfinite(value) and value > 0 else None
    return None
