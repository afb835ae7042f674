"""Features of a volume that do not change when it is turned: power of spherical harmonics.

Kazhdan, Funkhouser, Rusinkiewicz (2003), Symposium on Geometry Processing. The mean of each shell
keeps its sign too, for particles differ in it at any noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import lpmv

from cryodl.conventions import centre_voxel
from cryodl.errors import InputError

_HIGHEST = 8
_BLOCK = 256
_MEAN_WEIGHT = np.float32(2)  # best over signal-to-noise ratios from 1 to 0.03


@dataclass(frozen=True)
class _Basis:
    """Rows of one degree: (shells, 2 l + 1, voxels)."""

    degree: int
    rows: NDArray[np.float32]


def invariant_features(
    volumes: NDArray[np.floating], *, highest_degree: int = _HIGHEST, signed_mean: bool = True
) -> NDArray[np.float32]:
    """Return features (N, d) of volumes (N, n, n, n) about their centre voxels.

    Parameters
    ----------
    volumes : (N, n, n, n) array
        Of mean about 0; may be a memory map.
    highest_degree : int
        Of the harmonics.
    signed_mean : bool
        Means of shells beside their squares.

    Raises
    ------
    InputError
        Not cubes of 4 voxels or more.
    """
    if volumes.ndim != 4 or len(set(volumes.shape[1:])) != 1 or volumes.shape[1] < 4:
        raise InputError(
            f"invariants: found shape {volumes.shape}, expected a stack of cubes of 4 voxels or "
            "more; give such"
        )
    bases = _harmonics(volumes.shape[1], highest_degree)
    blocks = []
    for start in range(0, len(volumes), _BLOCK):
        flat = np.asarray(volumes[start : start + _BLOCK], dtype=np.float32)
        flat = flat.reshape(len(flat), -1)
        blocks.append(np.concatenate([_of_degree(flat, b, signed_mean) for b in bases], axis=1))
    return np.concatenate(blocks)


def _of_degree(flat: NDArray[np.float32], basis: _Basis, signed_mean: bool) -> NDArray[np.float32]:
    shells, orders, voxels = basis.rows.shape
    values = (flat @ basis.rows.reshape(-1, voxels).T).reshape(-1, shells, orders)
    power: NDArray[np.float32] = np.square(values).sum(axis=2)
    if basis.degree == 0 and signed_mean:
        return np.concatenate([_MEAN_WEIGHT * values[:, :, 0], power], axis=1)
    return power


@lru_cache(maxsize=4)
def _harmonics(n: int, highest_degree: int) -> tuple[_Basis, ...]:
    axis = (np.arange(n) - centre_voxel(n)).astype(np.float64)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2).ravel()
    cosine = np.clip(z.ravel() / np.maximum(radius, 1e-9), -1, 1)
    azimuth = np.arctan2(y, x).ravel()
    shells = np.arange(1, n // 2)
    hats = np.maximum(0, 1 - np.abs(radius[None, :] - shells[:, None]))
    bases = []
    for degree in range(highest_degree + 1):
        # A shell of radius r voxels holds no more than about 2 r degrees.
        own = hats[shells >= degree / 2]
        if not len(own):
            break
        values = np.stack(
            [_harmonic(degree, m, cosine, azimuth) for m in range(-degree, degree + 1)]
        )
        rows = own[:, None, :] * values[None]
        # One factor for all orders: each its own would no longer turn into one another.
        rows /= np.sqrt(np.square(rows).sum(axis=(1, 2), keepdims=True) / rows.shape[1])
        bases.append(_Basis(degree, rows.astype(np.float32)))
    return tuple(bases)


def _harmonic(
    degree: int, order: int, cosine: NDArray[np.float64], azimuth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a real spherical harmonic."""
    m = abs(order)
    size = math.sqrt(
        (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)
    )
    values = size * lpmv(m, degree, cosine)
    if m == 0:
        return np.asarray(values)
    wave = np.cos(m * azimuth) if order > 0 else np.sin(m * azimuth)
    return np.asarray(math.sqrt(2) * values * wave)
