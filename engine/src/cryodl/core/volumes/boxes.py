"""Changing the box or the voxels of a volume while its centre voxel ``n // 2`` stays the centre."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import centre_voxel
from cryodl.errors import ConfigError, InputError


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


def resample_volume(
    volume: NDArray[np.floating],
    pixel_size_angstrom: float,
    new_box_size_px: int,
    new_pixel_size_angstrom: float,
) -> NDArray[np.float32]:
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


def _window(outer: tuple[int, ...], inner: tuple[int, ...]) -> tuple[slice, ...]:
    starts = [centre_voxel(m) - centre_voxel(n) for m, n in zip(outer, inner)]
    return tuple(slice(start, start + n) for start, n in zip(starts, inner))


def _check_volume(volume: NDArray) -> None:
    if volume.ndim != 3 or math.prod(volume.shape) == 0:
        raise InputError(
            f"volume: shape {volume.shape}, expected three axes with voxels; give one volume"
        )


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
