"""Random poses, and what a file may tell of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import ConfigError

FloatArray = NDArray[np.float64]
PoseKnowledge = Literal["true", "perturbed", "none"]


def rotations_near_identity(
    number: int, spread_degrees: float, rng: np.random.Generator
) -> FloatArray:
    """Draw rotations by normal angles about random axes.

    Parameters
    ----------
    number
        How many.
    spread_degrees
        Standard deviation of the angle, 0 or more.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        (number, 3, 3).
    """
    axes = rng.standard_normal((number, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angle = np.radians(spread_degrees) * rng.standard_normal(number)
    cross = np.zeros((number, 3, 3))
    x, y, z = axes.T
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -z, y, -x
    cross -= np.swapaxes(cross, 1, 2)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    # Rodrigues' formula
    turned: FloatArray = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    return turned


def known_poses(
    rotations: FloatArray,
    shifts_px: FloatArray,
    knowledge: PoseKnowledge,
    rotation_error_degrees: float,
    shift_error_px: float,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Return the poses that a data file tells: the truth, the truth with errors, or nothing.

    Parameters
    ----------
    rotations, shifts_px
        The truth, (N, 3, 3) and (N, 3).
    knowledge
        ``true``, ``perturbed`` or ``none`` (identity and 0).
    rotation_error_degrees, shift_error_px
        Standard deviations of the errors of ``perturbed``.
    rng
        Source of randomness.

    Raises
    ------
    ConfigError
        Another word for `knowledge`.
    """
    number = len(rotations)
    if knowledge == "true":
        return rotations.copy(), shifts_px.copy()
    if knowledge == "none":
        return np.tile(np.eye(3), (number, 1, 1)), np.zeros((number, 3))
    if knowledge != "perturbed":
        raise ConfigError(f"poses: found {knowledge!r}, expected true, perturbed or none")
    turned = rotations_near_identity(number, rotation_error_degrees, rng) @ rotations
    return turned, shifts_px + shift_error_px * rng.standard_normal((number, 3))


def draw_classes(
    number: int, proportions: tuple[float, ...] | None, classes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw class numbers from 1, in the asked proportions to the particle, in random order.

    Raises
    ------
    ConfigError
        Proportions that are negative, all zero, or not one for each class.
    """
    shares = np.ones(classes) if proportions is None else np.asarray(proportions, dtype=float)
    if len(shares) != classes or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
        raise ConfigError(
            f"proportions: found {list(shares)} for {classes} structures, expected one number "
            "each, 0 or more, not all 0"
        )
    edges = np.round(np.cumsum(shares) / shares.sum() * number).astype(int)
    counts = np.diff(np.concatenate([[0], edges]))
    drawn = np.repeat(np.arange(1, classes + 1), counts)
    return rng.permutation(drawn).astype(np.int64)
