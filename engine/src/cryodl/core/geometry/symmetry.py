"""Point groups in RELION's orientations: their rotations, and volumes made symmetric."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryodl.conventions import centre_voxel
from cryodl.errors import ConfigError, InputError

_GOLDEN = (1 + math.sqrt(5)) / 2
# Fold and axis (x, y, z) of rotations that generate each group, as RELION orients it; equal to
# `relion_refine --sym GROUP --print_symmetry_ops` of RELION 3.1.
_GENERATORS: dict[str, list[tuple[int, tuple[float, float, float]]]] = {
    "T": [(3, (0, 0, 1)), (2, (0, math.sqrt(2 / 3), math.sqrt(1 / 3)))],
    "O": [(3, (1, 1, 1)), (4, (0, 0, 1))],
    "I": [(2, (0, 0, 1)), (5, (1, 0, _GOLDEN))],
    "I1": [(2, (1, 0, 0)), (5, (_GOLDEN, 0, -1))],
    "I2": [(2, (0, 0, 1)), (5, (1, 0, _GOLDEN))],
    "I3": [(5, (0, 0, 1)), (2, (-1, 0, _GOLDEN))],
    "I4": [(5, (0, 0, 1)), (2, (1, 0, _GOLDEN))],
}


def symmetry_matrices(group: str) -> NDArray[np.float64]:
    """Return all rotations of a point group.

    Parameters
    ----------
    group : str
        C1, C2, ..., D1, D2, ..., T, O, I (that is I2), I1, I2, I3 or I4; case does not matter.

    Returns
    -------
    ndarray, (order, 3, 3) float64
        Acting on column vectors (x, y, z), the identity first.

    Raises
    ------
    ConfigError
        If the group is unknown.
    """
    name = group.strip().upper()
    generators = _GENERATORS.get(name)
    match = re.fullmatch(r"([CD])([1-9]\d{0,2})", name)
    if match:
        generators = [(int(match[2]), (0, 0, 1))]
        if match[1] == "D":
            generators.append((2, (1, 0, 0)))
    if generators is None:
        raise ConfigError(
            f"symmetry: {group!r} is unknown; give C1, C2, ..., D2, ..., T, O, I, I1, I2, I3 or I4"
        )
    steps = [_rotation(fold, axis) for fold, axis in generators]
    found = [np.eye(3)]
    # Each member times each generator, until nothing new appears.
    for member in found:
        for step in steps:
            product = step @ member
            if not any(np.allclose(product, known, atol=1e-6) for known in found):
                found.append(product)
    return np.array(found)


def symmetrise(volume: NDArray, group: str, *, order: int = 3) -> NDArray[np.float32]:
    """Average a volume over the rotations of a point group about its centre voxel ``n // 2``.

    Parameters
    ----------
    volume : (z, y, x) array
        Any box; what is turned out of a corner is averaged over fewer copies.
    group : str
        See `symmetry_matrices`.
    order : int
        Of the spline: 1 is linear, 3 is cubic.

    Returns
    -------
    ndarray, (z, y, x) float32

    Raises
    ------
    ConfigError
        If the group is unknown.
    InputError
        `volume` is not three-dimensional.
    """
    from scipy.ndimage import affine_transform, spline_filter

    matrices = symmetry_matrices(group)
    values = np.asarray(volume, dtype=np.float32)
    if values.ndim != 3:
        raise InputError(
            f"volume to make symmetric: shape {values.shape}, expected three axes; give one volume"
        )
    if len(matrices) == 1:
        return values.copy()
    centre = np.array([centre_voxel(n) for n in values.shape])
    edges = [np.arange(n) - c for n, c in zip(values.shape, centre)]
    z, y, x = np.meshgrid(*edges, indexing="ij", sparse=True)
    # The splines are filtered once for all copies.
    coefficients = spline_filter(values, order=order) if order > 1 else values
    total = np.zeros(values.shape)
    copies = np.zeros(values.shape, dtype=np.int32)
    for matrix in matrices:
        source = matrix.T[::-1, ::-1]
        offset = centre - source @ centre
        turned = affine_transform(
            coefficients, source, offset, order=order, mode="nearest", prefilter=False
        )
        inside = _inside(source, (z, y, x), edges)
        total += np.where(inside, turned, 0)
        copies += inside
    return (total / np.maximum(copies, 1)).astype(np.float32)


def _inside(
    source: NDArray[np.float64], zyx: tuple[NDArray, ...], edges: list[NDArray]
) -> NDArray[np.bool_]:
    """Tell which voxels take their value from within the box."""
    inside = np.ones(tuple(len(edge) for edge in edges), dtype=bool)
    for row, edge in zip(source, edges):
        position = sum(factor * grid for factor, grid in zip(row, zyx))
        inside &= (position >= edge[0] - 1e-6) & (position <= edge[-1] + 1e-6)
    return inside


def _rotation(fold: int, axis: tuple[float, float, float]) -> NDArray[np.float64]:
    direction = np.array(axis) / np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(direction * 2 * math.pi / fold).as_matrix())
