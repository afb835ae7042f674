"""Frequency grids of a cubic box, in Fourier pixels.

Two layouts are used throughout:

* *centred*: shape (n, n, n), zero frequency at index ``n // 2`` on every axis, axes (z, y, x);
* *half*: the layout of ``scipy.fft.rfftn``, shape (n, n, n // 2 + 1), zero frequency at index 0,
  z and y in FFT order, x not negative.

Frequency ``k`` px of an ``n`` px box with pixel size ``a`` Angstrom has the resolution
``n * a / k`` Angstrom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import ConfigError


def check_box_size(n: int) -> int:
    """Return `n` as an int; a box needs at least 2 voxels along an edge.

    Raises
    ------
    ConfigError
        If `n` is smaller than 2.
    """
    if n < 2:
        raise ConfigError(f"box size: {n} px is too small; give a box of at least 2 px")
    return int(n)


def centred_axis_px(n: int) -> NDArray[np.int32]:
    """Frequencies along one axis of a centred volume: (n,), from ``-(n // 2)``."""
    n = check_box_size(n)
    return np.arange(n, dtype=np.int32) - np.int32(n // 2)


def fft_axis_px(n: int) -> NDArray[np.int32]:
    """Frequencies along a full axis in FFT order: (n,); the Nyquist of an even box is negative."""
    return np.fft.ifftshift(centred_axis_px(n))


def half_axis_px(n: int) -> NDArray[np.int32]:
    """Frequencies along the x axis of the half layout: (n // 2 + 1,), from 0."""
    return np.arange(check_box_size(n) // 2 + 1, dtype=np.int32)


def squared_radius_px(n: int) -> NDArray[np.int32]:
    """Squared radii of the centred layout, (n, n, n), exact integers."""
    axis = centred_axis_px(n) ** 2
    return axis[:, None, None] + axis[None, :, None] + axis[None, None, :]


def half_squared_radius_px(n: int) -> NDArray[np.int32]:
    """Squared radii of the half layout, (n, n, n // 2 + 1), exact integers."""
    full, half = fft_axis_px(n) ** 2, half_axis_px(n) ** 2
    return full[:, None, None] + full[None, :, None] + half[None, None, :]


def radius_grid_px(n: int) -> NDArray[np.float32]:
    """Radii of the centred layout.

    Parameters
    ----------
    n : int
        Box size in voxels, odd or even.

    Returns
    -------
    ndarray, (n, n, n) float32
        Distance from the voxel ``(n // 2, n // 2, n // 2)`` in px.
    """
    return np.sqrt(squared_radius_px(n), dtype=np.float32)


def half_radius_grid_px(n: int) -> NDArray[np.float32]:
    """Radii of the half layout, (n, n, n // 2 + 1) float32, in px."""
    return np.sqrt(half_squared_radius_px(n), dtype=np.float32)


def _integer_roots(n: int, truncate: bool) -> NDArray[np.int32]:
    # The root of an integer is never half-way between two integers, so rounding is unambiguous;
    # the table keeps it exact in boxes of any size.
    roots = np.sqrt(np.arange(3 * (check_box_size(n) // 2) ** 2 + 1, dtype=np.float64))
    return (np.floor(roots) if truncate else np.rint(roots)).astype(np.int32)


def shell_index(n: int, *, truncate: bool = False) -> NDArray[np.int32]:
    """Shell of every voxel of the centred layout: the radius rounded to the nearest integer.

    Parameters
    ----------
    n : int
        Box size in voxels, odd or even.
    truncate : bool
        Cut the radius down to an integer instead of rounding it (some published filters do).

    Returns
    -------
    ndarray, (n, n, n) int32
        0 at the centre. Shells above ``n // 2`` are the corners and are not complete.
    """
    return _integer_roots(n, truncate)[squared_radius_px(n)]


def half_shell_index(n: int, *, truncate: bool = False) -> NDArray[np.int32]:
    """Shell (rounded radius) of every voxel of the half layout, (n, n, n // 2 + 1) int32."""
    return _integer_roots(n, truncate)[half_squared_radius_px(n)]


def half_multiplicity(n: int) -> NDArray[np.float32]:
    """How many voxels of the full transform each x column of the half layout stands for.

    Returns
    -------
    ndarray, (n // 2 + 1,) float32
        1 for x = 0 and for the Nyquist column of an even box, 2 elsewhere.
    """
    weight = np.full(check_box_size(n) // 2 + 1, 2, dtype=np.float32)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    return weight


def frequency_grid_xyz_px(n: int) -> NDArray[np.float32]:
    """Frequency vectors of the centred layout.

    Returns
    -------
    ndarray, (n, n, n, 3) float32
        Component 0 is x (which varies along the last array axis), then y, then z, in px.
    """
    axis = centred_axis_px(n).astype(np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack((x, y, z), axis=-1)


def half_frequency_grid_xyz_px(n: int) -> NDArray[np.float32]:
    """Frequency vectors of the half layout, (n, n, n // 2 + 1, 3) float32, order x, y, z, in px."""
    full = fft_axis_px(n).astype(np.float32)
    half = half_axis_px(n).astype(np.float32)
    z, y, x = np.meshgrid(full, full, half, indexing="ij")
    return np.stack((x, y, z), axis=-1)
