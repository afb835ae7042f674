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


def resample_volume(
    volume: NDArray[np.floating[Any]],
    pixel_size_angstrom: float,
    new_box_size_px: int,
    new_pixel_size_angstrom: float,
) -> FloatVolume:
    """Resample a cubic volume by cutting or extending its Fourier series.

    The series is evaluated at the new voxel centres, one axis after the other. Where the ratio of
    the pixel sizes is a ratio of boxes this equals a Fourier crop or pad; any other ratio is as
    exact. Frequencies beyond the new Nyquist limit are left out, and everything outside the old box
    is 0.

    Parameters
    ----------
    volume
        ``(n, n, n)`` (z, y, x).
    pixel_size_angstrom
        Pixel size of ``volume``, above 0.
    new_box_size_px
        Edge m of the result.
    new_pixel_size_angstrom
        Pixel size of the result, above 0.

    Returns
    -------
    numpy.ndarray
        float32, ``(m, m, m)``; voxel ``m//2`` is the old voxel ``n//2``; densities keep their
        scale.

    Raises
    ------
    ConfigError
        If the volume is not a cube, or a size is not above 0.
    """
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise ConfigError(f"volume: found shape {volume.shape}, expected a cube; pad it first")
    for pixel in (pixel_size_angstrom, new_pixel_size_angstrom):
        if not (np.isfinite(pixel) and pixel > 0):
            raise ConfigError(f"pixel size: found {pixel} A, expected above 0")
    if new_box_size_px < 1:
        raise ConfigError(f"box size: found {new_box_size_px} px, expected 1 or more")
    weights = _interpolation_weights(
        volume.shape[0], new_box_size_px, new_pixel_size_angstrom / pixel_size_angstrom
    )
    result = np.asarray(volume, dtype=np.float64)
    for _ in range(3):
        # contracts the first axis and puts the new one last: after three turns the order is back
        result = np.tensordot(result, weights, axes=(0, 1))
    return np.ascontiguousarray(result, dtype=np.float32)


def _interpolation_weights(n: int, m: int, ratio: float) -> NDArray[np.float64]:
    """Return the ``(m, n)`` real matrix that evaluates a period-n Fourier series at m points.

    ``ratio`` is new pixel over old pixel. A term exactly at a Nyquist frequency, where k and -k
    share one place, counts once, which keeps real input real.
    """
    positions = (np.arange(m) - m // 2) * ratio  # old pixels from the centre
    distance = positions[:, None] - (np.arange(n) - n // 2)[None, :]
    # |k| / n cycles per old pixel must not pass 1 / (2 ratio); the slack absorbs rounding
    highest = min(n / 2, n / (2 * ratio))
    weights = np.full(distance.shape, 1.0 / n)
    for k in range(1, int(highest + 1e-9) + 1):
        amplitude = 1.0 if abs(k - highest) < 1e-9 else 2.0
        weights += (amplitude / n) * np.cos(2 * np.pi * k * distance / n)
    inside = (positions >= -(n // 2) - 0.5) & (positions < n - n // 2 - 0.5)
    return weights * inside[:, None]
