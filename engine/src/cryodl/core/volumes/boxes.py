"""Changing the box of a volume while its centre voxel ``n // 2`` stays the centre."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import centre_voxel
from cryodl.errors import InputError


def border_mean(volume: NDArray) -> float:
    """Return the mean of the outermost voxels of a `(z, y, x)` volume."""
    _check_volume(volume)
    border = np.ones(volume.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    return float(volume[border].mean(dtype=np.float64))


def pad_to_cube(
    volume: NDArray, size: int | None = None, fill: float | None = None
) -> NDArray[np.float32]:
    """Put a volume in a cube of its longest edge, centre voxel on centre voxel.

    Parameters
    ----------
    volume : (z, y, x) array
        Any box.
    size : int, optional
        Edge of the cube, not smaller than the longest edge, which is the default.
    fill : float, optional
        Value of what is added; the mean of the border by default, so that no step appears.

    Returns
    -------
    ndarray, (size, size, size) float32

    Raises
    ------
    InputError
        Not three-dimensional, or `size` too small.
    """
    _check_volume(volume)
    longest = max(volume.shape)
    edge = longest if size is None else size
    if edge < longest:
        raise InputError(
            f"box to pad to: {edge} px, expected at least {longest} px for a volume of "
            f"{'x'.join(map(str, volume.shape[::-1]))}; give a larger box"
        )
    value = border_mean(volume) if fill is None else fill
    cube = np.full((edge, edge, edge), value, dtype=np.float32)
    cube[_window(cube.shape, volume.shape)] = volume
    return cube


def crop_back(cube: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Undo `pad_to_cube`: take the box of `shape` around the centre voxel.

    Parameters
    ----------
    cube : (z, y, x) array
        What `pad_to_cube` gave, or something computed from it.
    shape : tuple of int
        The box before padding.

    Returns
    -------
    ndarray of `shape`
        A copy.

    Raises
    ------
    InputError
        `shape` is larger than `cube` along some axis, or is not three positive numbers.
    """
    _check_volume(cube)
    fits = len(shape) == 3 and all(0 < n <= m for n, m in zip(shape, cube.shape))
    if not fits:
        raise InputError(
            f"box to crop to: {shape}, expected three edges from 1 to those of {cube.shape}; "
            "give a smaller box"
        )
    return cube[_window(cube.shape, shape)].copy()


def fourier_resample(volume: NDArray, new_size: int) -> NDArray[np.float32]:
    """Change the number of voxels of a cube by cropping or padding its Fourier transform.

    The centre voxel stays the centre voxel and the mean is kept, for any parity of both boxes. A
    wave at the Nyquist frequency of an even box is shared between both signs, so that enlarging
    and shrinking gives the volume back. The pixel size becomes ``n / new_size`` times the old.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values.
    new_size : int
        Edge of the result in voxels.

    Returns
    -------
    ndarray, (new_size, new_size, new_size) float32

    Raises
    ------
    InputError
        Not a cube, or `new_size` is less than 1.
    """
    from scipy.fft import fftshift, ifftshift
    from scipy.signal import resample

    _check_volume(volume)
    if len(set(volume.shape)) != 1 or new_size < 1:
        raise InputError(
            f"resampling: from shape {volume.shape} to {new_size} px, expected a cube and a "
            "positive number; pad the volume to a cube first"
        )
    result = np.asarray(volume, dtype=np.float32)
    if new_size == volume.shape[0]:
        return result.copy()
    # `resample` keeps voxel 0 in place; the shifts make that the centre voxel.
    result = ifftshift(result)
    for axis in range(3):
        result = resample(result, new_size, axis=axis)
    return fftshift(result).astype(np.float32, copy=False)


def _window(outer: tuple[int, ...], inner: tuple[int, ...]) -> tuple[slice, ...]:
    starts = [centre_voxel(m) - centre_voxel(n) for m, n in zip(outer, inner)]
    return tuple(slice(start, start + n) for start, n in zip(starts, inner))


def _check_volume(volume: NDArray) -> None:
    if volume.ndim != 3 or math.prod(volume.shape) == 0:
        raise InputError(
            f"volume: shape {volume.shape}, expected three axes with voxels; give one volume"
        )
