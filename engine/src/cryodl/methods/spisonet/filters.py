"""Filters of one map: whitening by shell, whitening by direction, weighting by the 3DFSC."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.filters import apply_shell_profile, radius_of_resolution_px
from cryodl.core.fourier.grids import fft_axis_px, half_axis_px, half_multiplicity, shell_index
from cryodl.core.fourier.shells import amplitude_spectrum, shell_mean
from cryodl.core.fourier.transform import cubic_box_size, forward_half, inverse_half
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet.sphere_cells import CELL_COUNT, cell_of, cone_matrix

# Published constant for a map with a standard deviation near 1; taken relative here.
_RELATIVE_EPSILON = 1e-4
_DIRECTION_CONE_DEGREES = 5.0


def whiten(
    volume: ArrayLike,
    pixel_size_angstrom: float,
    *,
    low_resolution_angstrom: float = 10.0,
    high_resolution_angstrom: float = 3.0,
    mask: ArrayLike | None = None,
    workers: int | None = None,
) -> NDArray[np.float32]:
    """Raise the amplitudes of a band to those at its low-resolution end.

    Parameters
    ----------
    volume : (n, n, n) array
        Map, any grey scale.
    pixel_size_angstrom : float
        Positive.
    low_resolution_angstrom, high_resolution_angstrom : float
        Ends of the band; shells strictly between their (truncated) radii are scaled by
        ``A(low) / (A(r) + eps)``, A being the mean amplitude of the masked map and eps 1e-4 of
        A(low). All else, corners included, is left as it was.
    mask : (n, n, n) array, optional
        Used to measure A alone; the whole map is filtered.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32

    Raises
    ------
    ConfigError
        If no shell lies in the band, or it reaches beyond Nyquist.
    InputError
        If the mask has another box or the map has no amplitude at the low-resolution end.
    """
    real = np.asarray(volume, dtype=np.float32)
    n = cubic_box_size(real, "map")
    if mask is not None and np.shape(mask) != real.shape:
        raise InputError(f"mask: box {np.shape(mask)}, but the map has {real.shape}; give the same")
    low, high = _band_px(low_resolution_angstrom, high_resolution_angstrom, n, pixel_size_angstrom)
    first, last = int(low) + 1, int(high) - 1
    if first > last:
        raise ConfigError(
            f"whitening band: {low_resolution_angstrom:g} to {high_resolution_angstrom:g} Angstrom "
            f"holds no shell of this map ({n} px); widen the band"
        )
    masked = real if mask is None else real * np.asarray(mask, dtype=np.float32)
    spectrum = amplitude_spectrum(masked)
    level = spectrum[int(low)]
    if not (math.isfinite(level) and level > 0):
        raise InputError(
            f"map: mean amplitude {level:g} at {low_resolution_angstrom:g} Angstrom, expected "
            "signal there; give another map or low-resolution end"
        )
    profile = np.ones(n // 2 + 1)
    band = slice(first, last + 1)
    profile[band] = level / (spectrum[band] + _RELATIVE_EPSILON * level)
    return apply_shell_profile(real, profile, beyond=1.0, workers=workers)


def fsc_weight_profile(fsc3d: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weight of each shell by a 3DFSC: its mean over truncated shells, not below 0.

    Parameters
    ----------
    fsc3d : (n, n, n) ndarray
        Centred 3DFSC or other weight.

    Returns
    -------
    ndarray, (ceil(n / 2),) float64
        c(i) of shells i below ``n / 2``. (The form sqrt(2 c / (1 + c)) is not taken: the
        published settings were tuned with c itself.)
    """
    n = cubic_box_size(fsc3d, "3DFSC")
    index = shell_index(n, truncate=True)
    return np.maximum(shell_mean(fsc3d, index, (n + 1) // 2), 0)


def fsc_weighting(
    volume: ArrayLike, fsc3d: NDArray[np.float32], *, workers: int | None = None
) -> NDArray[np.float32]:
    """Multiply a map's transform by the shell means of a 3DFSC.

    As a 3DFSC is 0 beyond its limit, and the weight is 0 beyond Nyquist, this is a low-pass too.

    Parameters
    ----------
    volume : (n, n, n) array
        Map.
    fsc3d : (n, n, n) ndarray
        Centred, same box.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32

    Raises
    ------
    InputError
        If the boxes differ.
    """
    if np.shape(volume) != fsc3d.shape:
        raise InputError(
            f"3DFSC: box {fsc3d.shape}, but the map has {np.shape(volume)}; give the same box"
        )
    profile = fsc_weight_profile(fsc3d)
    return apply_shell_profile(volume, profile, truncate=True, workers=workers)


def angular_whiten(
    volume: ArrayLike,
    pixel_size_angstrom: float,
    *,
    low_resolution_angstrom: float,
    high_resolution_angstrom: float,
    workers: int | None = None,
) -> NDArray[np.float32]:
    """Give all directions of a band about the same mean amplitude.

    The gain of a direction is one over the mean amplitude of the band's voxels within 5 degrees of
    it, or of its opposite, as in the published filter; it is scaled so that the power of the band
    stays what it was. All else, corners included, is left as it was. Directions are binned in cells
    of 1.5 degrees, which needs little memory for any band.

    Parameters
    ----------
    volume : (n, n, n) array
        Map, any grey scale.
    pixel_size_angstrom : float
        Positive.
    low_resolution_angstrom, high_resolution_angstrom : float
        Ends of the band.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32
        Its mean and standard deviation are those of the input.

    Raises
    ------
    ConfigError
        If the band is empty or reaches beyond Nyquist.
    InputError
        If the map has no signal in the band.
    """
    real = np.asarray(volume, dtype=np.float32)
    n = cubic_box_size(real, "map")
    low, high = _band_px(low_resolution_angstrom, high_resolution_angstrom, n, pixel_size_angstrom)
    transform = forward_half(real, workers=workers)
    cells = [_band_cells(n, plane, low, high) for plane in range(n)]
    gain = _gain_by_cell(transform, cells)
    if gain is None:
        raise ConfigError(
            f"band: no voxel of a {n} px box lies from {low_resolution_angstrom:g} to "
            f"{high_resolution_angstrom:g} Angstrom; widen the band"
        )
    if not gain.any():
        raise InputError("map: has no signal in the band; give another map or band")
    for plane, (inside, cell) in zip(transform, cells):
        plane[inside] *= gain[cell]
    return inverse_half(transform, n, workers=workers)


def _band_cells(
    n: int, plane: int, low_px: float, high_px: float
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Band voxels of one z plane of the half layout, and their cells of direction."""
    z, y, x = np.float32(fft_axis_px(n)[plane]), fft_axis_px(n)[:, None], half_axis_px(n)[None, :]
    square = x**2 + y**2 + z**2
    inside = (square > low_px**2) & (square < high_px**2)
    y_in, x_in = (np.broadcast_to(axis, inside.shape)[inside].astype(np.float32) for axis in (y, x))
    return inside, cell_of(x_in, y_in, np.full_like(x_in, z)).astype(np.int32)


def _gain_by_cell(
    transform: NDArray[np.complex64], cells: list[tuple[NDArray[np.bool_], NDArray[np.int32]]]
) -> NDArray[np.float32] | None:
    """Gain of each cell of direction; None for an empty band, zeros for one without signal."""
    total, power, count = (np.zeros(CELL_COUNT) for _ in range(3))
    for plane, (inside, cell) in zip(transform, cells):
        amplitude = np.abs(plane[inside])
        # How often each x column of the half layout occurs in the whole transform.
        weight = np.broadcast_to(half_multiplicity(transform.shape[0]), inside.shape)[inside]
        total += np.bincount(cell, weights=weight * amplitude, minlength=CELL_COUNT)
        power += np.bincount(cell, weights=weight * amplitude**2, minlength=CELL_COUNT)
        count += np.bincount(cell, weights=weight, minlength=CELL_COUNT)
    if not count.any():
        return None
    if not total.any():
        return np.zeros(CELL_COUNT, dtype=np.float32)
    cones = cone_matrix(_DIRECTION_CONE_DEGREES)
    mean = (cones @ total) / np.maximum(cones @ count, 1)
    gain = 1 / (mean + _RELATIVE_EPSILON * total.sum() / count.sum())
    gain *= math.sqrt(power.sum() / (power @ gain**2))
    return np.asarray(gain, dtype=np.float32)


def _band_px(
    low_resolution_angstrom: float,
    high_resolution_angstrom: float,
    n: int,
    pixel_size_angstrom: float,
) -> tuple[float, float]:
    """Radii of both ends of a band in Fourier px, checked."""
    low, high = (
        radius_of_resolution_px(resolution, n, pixel_size_angstrom)
        for resolution in (low_resolution_angstrom, high_resolution_angstrom)
    )
    if not low < high:
        raise ConfigError(
            f"band: from {low_resolution_angstrom:g} to {high_resolution_angstrom:g} Angstrom is "
            "empty; give the larger number as the low resolution"
        )
    if high > n / 2 * (1 + 1e-6):
        raise ConfigError(
            f"high resolution: {high_resolution_angstrom:g} Angstrom is beyond Nyquist; give "
            f"{2 * pixel_size_angstrom:g} or more"
        )
    return low, high
