"""The small densities that ship with the package, at any box and pixel size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryodl.core.volumes.boxes import resample_volume
from cryodl.errors import ConfigError

FloatVolume = NDArray[np.float32]


@dataclass(frozen=True)
class DensityFacts:
    """What is known of a shipped density.

    Attributes
    ----------
    title
        The molecule, in words.
    pdb_id
        Entry of the Protein Data Bank that it was computed from.
    symmetry
        Point group, its highest axis along z.
    mass_kilodalton
        Mass of the modelled atoms.
    resolution_angstrom
        Resolution it was computed at.
    pixel_size_angstrom, box_size_px
        The stored grid.
    file
        File name in ``cryodl/data``.
    scale
        Factor from the stored integers to electrostatic potential.
    """

    title: str
    pdb_id: str
    symmetry: str
    mass_kilodalton: float
    resolution_angstrom: float
    pixel_size_angstrom: float
    box_size_px: int
    file: str
    scale: float


@lru_cache(maxsize=1)
def _table() -> dict[str, DensityFacts]:
    text = (resources.files("cryodl") / "data" / "densities.json").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = json.loads(text)
    return {name: DensityFacts(**row) for name, row in rows.items()}


def list_structures() -> list[str]:
    """Return the names of the shipped densities.

    Returns
    -------
    list of str
        Names that :func:`load_density` takes.
    """
    return list(_table())


def density_facts(name: str) -> DensityFacts:
    """Return what is known of a shipped density.

    Parameters
    ----------
    name
        One of :func:`list_structures`.

    Returns
    -------
    DensityFacts
        Source, symmetry, resolution and grid.

    Raises
    ------
    ConfigError
        If there is no such density.
    """
    facts = _table().get(name)
    if facts is None:
        raise ConfigError(
            f"structure: found {name!r}, expected one of {', '.join(list_structures())}"
        )
    return facts


def load_density(
    name: str, box_size_px: int = 64, pixel_size_angstrom: float | None = None
) -> tuple[FloatVolume, float]:
    """Return a shipped density on the wanted grid.

    Parameters
    ----------
    name
        One of :func:`list_structures`.
    box_size_px
        Edge n of the cubic box, 4 or more, even or odd.
    pixel_size_angstrom
        Pixel size wanted. None keeps the stored field of view, so that a smaller box is a coarser
        map of the whole molecule. A box shorter than the molecule cuts it.

    Returns
    -------
    density : numpy.ndarray
        Electrostatic potential, float32, ``(n, n, n)`` (z, y, x), the stored centre on voxel
        ``n//2``.
    pixel_size_angstrom : float
        Pixel size of the result.

    Raises
    ------
    ConfigError
        If the name, the box or the pixel size is not valid.
    """
    facts = density_facts(name)
    if box_size_px < 4:
        raise ConfigError(f"box size: found {box_size_px} px, expected 4 or more")
    if pixel_size_angstrom is None:
        pixel_size_angstrom = facts.box_size_px * facts.pixel_size_angstrom / box_size_px
    file = resources.files("cryodl") / "data" / facts.file
    with resources.as_file(file) as path, mrcfile.open(path) as mrc:
        stored = np.asarray(mrc.data, dtype=np.float64) * facts.scale
    density = resample_volume(stored, facts.pixel_size_angstrom, box_size_px, pixel_size_angstrom)
    return density, float(pixel_size_angstrom)
