"""Rotations of the point groups, in RELION's orientations."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryodl.errors import ConfigError

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


def symmetry_rotations(group: str) -> NDArray[np.float64]:
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


def _rotation(fold: int, axis: tuple[float, float, float]) -> NDArray[np.float64]:
    direction = np.array(axis) / np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(direction * 2 * math.pi / fold).as_matrix())
