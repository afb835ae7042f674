"""Sums and means over Fourier shells."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.grids import half_multiplicity, half_shell_index
from cryodl.core.fourier.transform import cubic_box_size, forward_half
from cryodl.errors import InputError


def shell_sum(
    values: NDArray, index: NDArray[np.integer], n_shells: int, weight: NDArray | None = None
) -> NDArray[np.float64]:
    """Sum real values over shells.

    Parameters
    ----------
    values : ndarray
        Real values of any shape.
    index : ndarray of int, same shape
        Shell of each value; values in shells ``>= n_shells`` are left out.
    n_shells : int
        Length of the result.
    weight : ndarray, optional
        Factor that broadcasts along the last axis, for example `half_multiplicity`.

    Returns
    -------
    ndarray, (n_shells,) float64

    Raises
    ------
    InputError
        If the shapes of `values` and `index` differ.
    """
    if values.shape != index.shape:
        raise InputError(f"values: shape {values.shape}, but the shell index has {index.shape}")
    total = np.zeros(n_shells, dtype=np.float64)
    # One plane at a time: bincount works in float64, and a whole volume of it is large.
    for plane, shells in zip(np.atleast_2d(values), np.atleast_2d(index)):
        weighted = plane if weight is None else plane * weight
        counts = np.bincount(shells.ravel(), weights=weighted.ravel(), minlength=n_shells)
        total += counts[:n_shells]
    return total


def shell_count(
    index: NDArray[np.integer], n_shells: int, weight: NDArray | None = None
) -> NDArray[np.float64]:
    """Count the voxels of each shell, (n_shells,) float64; `weight` as in `shell_sum`."""
    if weight is not None:
        return shell_sum(np.broadcast_to(np.float32(1), index.shape), index, n_shells, weight)
    return np.bincount(index.ravel(), minlength=n_shells)[:n_shells].astype(np.float64)


def shell_mean(
    values: NDArray, index: NDArray[np.integer], n_shells: int, weight: NDArray | None = None
) -> NDArray[np.float64]:
    """Mean of real values over shells; empty shells give 0.

    Parameters
    ----------
    values, index, n_shells, weight
        As in `shell_sum`. For the half layout give ``weight=half_multiplicity(n)``, so that each
        voxel counts as often as it occurs in the whole transform.

    Returns
    -------
    ndarray, (n_shells,) float64
    """
    total = shell_sum(values, index, n_shells, weight)
    return total / np.maximum(shell_count(index, n_shells, weight), 1)


def amplitude_spectrum(volume: ArrayLike, *, truncate: bool = False) -> NDArray[np.float64]:
    """Mean amplitude of a volume's transform on each shell.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values.
    truncate : bool
        Shells by truncated instead of rounded radii.

    Returns
    -------
    ndarray, (n // 2 + 1,) float64
        Shells 0 to Nyquist.
    """
    real = np.asarray(volume, dtype=np.float32)
    n = cubic_box_size(real)
    index = half_shell_index(n, truncate=truncate)
    return shell_mean(np.abs(forward_half(real)), index, n // 2 + 1, half_multiplicity(n))
