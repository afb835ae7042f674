"""Rotations to try: an even grid over all of SO(3), and small lattices about one pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError

# Constants of the spiral: the square root of 2, and the real root above 1 of x^4 = x + 4.
_PHI = math.sqrt(2)
_PSI = 1.533751168755204288118041
_SAME = 1e-9


def even_rotations(count: int, symmetry: str = "C1") -> NDArray[np.float64]:
    """Spread rotations evenly: a super-Fibonacci spiral on the sphere of quaternions.

    Parameters
    ----------
    count : int
        Over all of SO(3); 2304 lie about 19 degrees apart, 4608 about 15, 36864 about 7.5.
    symmetry : str
        Of the reference: only one of each set of equivalent poses ``A g`` is returned.

    Returns
    -------
    ndarray, (m, 3, 3) float64
        About `count` divided by the order of the group.

    Raises
    ------
    ConfigError
        Fewer than one rotation, or an unknown group.

    References
    ----------
    Alexa (2022), CVPR, "Super-Fibonacci spirals".
    """
    if count < 1:
        raise ConfigError(f"rotations: {count} to try, expected 1 or more; give 4608")
    s = np.arange(count) + 0.5
    t = s / count
    alpha, beta = 2 * math.pi * s / _PHI, 2 * math.pi * s / _PSI
    near, far = np.sqrt(t), np.sqrt(1 - t)
    quaternions = np.stack(
        [near * np.sin(alpha), near * np.cos(alpha), far * np.sin(beta), far * np.cos(beta)], -1
    )
    matrices = quaternion_matrices(quaternions)
    group = symmetry_matrices(symmetry)
    if len(group) == 1:
        return matrices
    # Of all equivalent poses the one that turns least.
    traces = np.einsum("nij,gji->ng", matrices, group)
    return matrices[traces[:, 0] >= traces.max(axis=1) - _SAME]


def spacing_degrees(count: int) -> float:
    """Return about how far apart so many even rotations lie."""
    return 15.0 * (4608 / count) ** (1 / 3)


def quaternion_matrices(quaternions: ArrayLike) -> NDArray[np.float64]:
    """Turn unit quaternions (..., 4), scalar first, into rotations (..., 3, 3)."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_vectors_to_matrices(vectors: ArrayLike) -> NDArray[np.float64]:
    """Turn rotation vectors (..., 3), radians about x, y, z, into rotations (..., 3, 3)."""
    given = np.asarray(vectors, dtype=np.float64)
    half = np.linalg.norm(given, axis=-1, keepdims=True) / 2
    axis = given * np.sinc(half / math.pi) / 2
    return quaternion_matrices(np.concatenate([np.cos(half), axis], axis=-1))


def lattice(reach: int = 1) -> NDArray[np.float64]:
    """Return the points of a cube of ``2 reach + 1`` points an edge, (m, 3), the centre first."""
    axis = np.arange(-reach, reach + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    order = np.argsort((points**2).sum(axis=1), kind="stable")
    return points[order].astype(np.float64)


def composite() -> NDArray[np.float64]:
    """Return the 15 points of a central composite design: centre, faces, corners of a cube."""
    points = lattice()
    return points[(points**2).sum(axis=1) != 2]


def ball(radius: float, step: float) -> NDArray[np.float64]:
    """Return the points of a cubic lattice within a radius, (m, 3), the centre first.

    Raises
    ------
    ConfigError
        A negative radius, or a step that is not positive.
    """
    if not (math.isfinite(radius) and radius >= 0 and step > 0):
        raise ConfigError(
            f"largest shift: {radius} in steps of {step}, expected 0 or more in positive steps; "
            "give another"
        )
    points = lattice(math.ceil(radius / step)) * step
    return points[(points**2).sum(axis=1) <= (radius + 0.5 * step) ** 2]


def smallest_trace_gap(
    first: NDArray[np.float64], second: NDArray[np.float64], group: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the angle in degrees between poses (..., 3, 3) up to the symmetry ``second g``."""
    traces = np.einsum("...ij,gkj,...ik->...g", first, group, second)
    cosine = np.clip((traces.max(axis=-1) - 1) / 2, -1, 1)
    return np.asarray(np.rad2deg(np.arccos(cosine)))
