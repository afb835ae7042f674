"""Bringing the values of a volume to a common scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError


def standardise(volume: NDArray, mask: NDArray | None = None) -> NDArray[np.float32]:
    """Shift and scale to mean 0 and standard deviation 1 (of the population).

    Parameters
    ----------
    volume : ndarray
        Any shape, real.
    mask : ndarray, optional
        Mean and deviation are taken where it is above 0.5; all values are then transformed.

    Returns
    -------
    ndarray, same shape, float32

    Raises
    ------
    InputError
        The mask has another shape or holds nothing, or the values are constant or not finite.
    """
    if mask is not None and mask.shape != volume.shape:
        raise InputError(
            f"mask: shape {mask.shape} but the volume has {volume.shape}; give a mask of that box"
        )
    values = volume if mask is None else volume[mask > 0.5]
    if values.size == 0:
        raise InputError("mask: no voxel above 0.5, expected some; give another mask")
    with np.errstate(all="ignore"):
        mean = float(values.mean(dtype=np.float64))
        # Of the differences: the deviation of values far from zero would drown in rounding.
        deviation = float(np.sqrt(np.square(values.astype(np.float64) - mean).mean()))
    if not math.isfinite(deviation) or deviation <= 1e-7 * abs(mean) or deviation == 0:
        raise InputError(
            f"volume: mean {mean:.4g} and standard deviation {deviation:.4g}, expected finite "
            "values that vary; the map is blank or damaged, make it again"
        )
    return ((volume.astype(np.float64) - mean) / deviation).astype(np.float32)


def standardise_background(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring what lies outside the largest sphere of a cubic box to mean 0 and deviation 1.

    So that particles of recordings with other gains and offsets can be compared. Where that
    background was set to a constant, the whole box is what is scaled by.
    """
    n = volume.shape[0]
    axis = np.arange(n, dtype=np.float32) - n // 2
    outside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 > (n / 2) ** 2
    background = volume[outside].astype(np.float64)
    deviation = float(background.std())
    if deviation < 1e-3 * float(volume.std()):
        deviation = float(volume.std()) or 1.0
    return ((volume - background.mean()) / deviation).astype(np.float32)
