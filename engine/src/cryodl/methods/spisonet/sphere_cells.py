"""Cells of nearly equal area on the half sphere of directions, for averages over cones.

Opposite directions share a cell, as opposite Fourier voxels share their amplitude. The cells lie
in rings about z; the cell of a vector follows from its two angles, without a search.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

_RING_DEGREES = 1.5
_RINGS = round(90 / _RING_DEGREES)


def _ring_sizes() -> NDArray[np.int64]:
    middles = np.radians((np.arange(_RINGS) + 0.5) * _RING_DEGREES)
    sizes = np.rint(360 / _RING_DEGREES * np.sin(middles)).astype(np.int64)
    return np.asarray(np.maximum(3, sizes))


RING_SIZES = _ring_sizes()
RING_STARTS = np.concatenate(([0], np.cumsum(RING_SIZES)))
CELL_COUNT = int(RING_STARTS[-1])


def cell_of(
    x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Cell of each vector or its opposite; the arrays broadcast and need no unit length.

    The zero vector belongs to a cell too, but to no particular one.
    """
    # Of a direction and its opposite one is chosen, on the equator too.
    negative = (z < 0) | ((z == 0) & ((y < 0) | ((y == 0) & (x < 0))))
    # Double precision and a hair, because lattice directions fall on the borders of cells and must
    # not be put on either side by rounding.
    sign = np.where(negative, -1.0, 1.0)
    tilt = np.degrees(np.arctan2(np.hypot(sign * x, sign * y), np.abs(sign * z)))
    ring = np.minimum((tilt / _RING_DEGREES + 1e-7).astype(np.int64), _RINGS - 1)
    # Adding 0 turns -0 into 0; the two give different angles.
    turn = (np.arctan2(sign * y + 0.0, sign * x + 0.0) / (2 * math.pi)) % 1.0
    sizes = RING_SIZES[ring]
    return np.asarray(RING_STARTS[ring] + (turn * sizes + 1e-7).astype(np.int64) % sizes)


def cell_directions_xyz() -> NDArray[np.float64]:
    """Return a unit vector in the middle of each cell, (cells, 3), order x, y, z, z positive."""
    ring = np.repeat(np.arange(_RINGS), RING_SIZES)
    within = np.arange(CELL_COUNT) - RING_STARTS[ring]
    tilt = np.radians((ring + 0.5) * _RING_DEGREES)
    azimuth = 2 * math.pi * (within + 0.5) / RING_SIZES[ring]
    sine = np.sin(tilt)
    return np.stack((sine * np.cos(azimuth), sine * np.sin(azimuth), np.cos(tilt)), axis=1)


def cone_matrix(half_angle_degrees: float) -> csr_matrix:
    """Sparse 0/1 matrix of cells whose middles, or their opposites, lie within an angle."""
    middles = cell_directions_xyz()
    both = cKDTree(np.concatenate((middles, -middles)))
    chord = 2 * math.sin(math.radians(half_angle_degrees) / 2) * (1 + 1e-9)
    pairs = cKDTree(middles).sparse_distance_matrix(both, chord, output_type="coo_matrix")
    shape = (CELL_COUNT, CELL_COUNT)
    matrix = csr_matrix((np.ones(pairs.nnz), (pairs.row, pairs.col % CELL_COUNT)), shape=shape)
    # A wide cone may hold a direction and its opposite: still one cell.
    matrix.data[:] = 1
    return matrix
