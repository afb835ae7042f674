"""Filters of real volumes that act in Fourier space."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.grids import check_box_size, half_shell_index, shell_index
from cryodl.core.fourier.transform import (
    centred_to_half,
    cubic_box_size,
    forward_half,
    inverse_half,
)
from cryodl.errors import ConfigError, InputError


def radius_of_resolution_px(
    resolution_angstrom: float, box_size_px: int, pixel_size_angstrom: float
) -> float:
    """Fourier radius ``n * a / d`` in px of a resolution in Angstrom.

    Raises
    ------
    ConfigError
        If the resolution or the pixel size is not a positive number.
    """
    for name, value in (("resolution", resolution_angstrom), ("pixel size", pixel_size_angstrom)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}: {value} Angstrom is not positive; give a positive number")
    return check_box_size(box_size_px) * pixel_size_angstrom / resolution_angstrom


def sphere_profile(n_shells: int, radius_px: float, soft_px: float = 5) -> NDArray[np.float32]:
    """Low-pass weight of shells 0 to ``n_shells - 1``.

    1 for r < R - soft, (R - r) / (soft + 1) for R - soft <= r < R, 0 for r >= R. The step from 1
    to soft / (soft + 1) at the inner edge is part of the definition that published settings
    were tuned with.

    Parameters
    ----------
    n_shells : int
        Length of the result.
    radius_px : float
        R, where the weight reaches 0.
    soft_px : float
        Width of the edge, not negative.

    Returns
    -------
    ndarray, (n_shells,) float32
    """
    if not (soft_px >= 0 and math.isfinite(radius_px)):
        raise ConfigError(
            f"sphere: radius {radius_px} px and soft edge {soft_px} px; give finite numbers, the "
            "edge not negative"
        )
    shell = np.arange(n_shells, dtype=np.float64)
    ramp = np.where(shell < radius_px - soft_px, 1.0, (radius_px - shell) / (soft_px + 1))
    return np.where(shell < radius_px, ramp, 0.0).astype(np.float32)


def sphere(n: int, radius_px: float, soft_px: float = 5) -> NDArray[np.float32]:
    """Soft sphere about the centre voxel, constant on rounded shells (see `sphere_profile`).

    Parameters
    ----------
    n : int
        Box size.
    radius_px, soft_px : float
        Outer radius and width of the edge. A radius beyond ``n / 2`` reaches into the corners.

    Returns
    -------
    ndarray, (n, n, n) float32
    """
    index = shell_index(n)
    return sphere_profile(int(index.max()) + 1, radius_px, soft_px)[index]


def apply_shell_profile(
    volume: ArrayLike,
    profile: ArrayLike,
    *,
    beyond: float = 0.0,
    truncate: bool = False,
    workers: int | None = None,
) -> NDArray[np.float32]:
    """Multiply a volume's transform by one number per shell.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values.
    profile : (k,) array
        Factor of shells 0 to k - 1.
    beyond : float
        Factor of all further shells.
    truncate : bool
        Shells by truncated instead of rounded radii.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32
    """
    real = np.asarray(volume, dtype=np.float32)
    n = cubic_box_size(real)
    given = np.asarray(profile, dtype=np.float32)
    index = half_shell_index(n, truncate=truncate)
    factors = np.full(max(int(index.max()) + 1, given.size), beyond, dtype=np.float32)
    factors[: given.size] = given
    transform = forward_half(real, workers=workers)
    transform *= factors[index]
    return inverse_half(transform, n, workers=workers)


def low_pass(
    volume: ArrayLike,
    resolution_angstrom: float,
    pixel_size_angstrom: float,
    soft_px: float = 3,
    *,
    workers: int | None = None,
) -> NDArray[np.float32]:
    """Remove all frequencies beyond a resolution, with the soft edge of `sphere`.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values.
    resolution_angstrom, pixel_size_angstrom : float
        Positive. Beyond the corner of the transform nothing is removed.
    soft_px : float
        Width of the edge in Fourier px, inside the limit.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32
    """
    n = cubic_box_size(np.asarray(volume))
    radius_px = radius_of_resolution_px(resolution_angstrom, n, pixel_size_angstrom)
    corner_shells = math.ceil(math.sqrt(3) * n / 2) + 2
    profile = sphere_profile(corner_shells, radius_px, soft_px)
    return apply_shell_profile(volume, profile, workers=workers)


def apply_transfer(
    volume: ArrayLike, centred_weight: NDArray, *, workers: int | None = None
) -> NDArray[np.float32]:
    """Multiply a volume's transform by a real weight per frequency.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values.
    centred_weight : (n, n, n) ndarray
        Real weights, zero frequency at voxel ``n // 2``. As the result is real, the mean of the
        weights of opposite frequencies is what acts.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32

    Raises
    ------
    InputError
        If the two boxes differ.
    """
    real = np.asarray(volume, dtype=np.float32)
    n = cubic_box_size(real)
    if centred_weight.shape != real.shape:
        raise InputError(
            f"transfer: shape {centred_weight.shape}, but the volume has {real.shape}; give the "
            "same box"
        )
    transform = forward_half(real, workers=workers)
    transform *= centred_to_half(centred_weight.astype(np.float32, copy=False))
    return inverse_half(transform, n, workers=workers)
