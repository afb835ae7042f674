"""Fourier shell correlation and the resolution read from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.filters import radius_of_resolution_px
from cryodl.core.fourier.grids import half_multiplicity, half_shell_index
from cryodl.core.fourier.shells import shell_sum
from cryodl.core.fourier.transform import cubic_box_size, forward_half
from cryodl.errors import InputError


def correlate_half_transforms(
    first: NDArray[np.complexfloating], second: NDArray[np.complexfloating], n: int
) -> NDArray[np.float64]:
    """FSC of two transforms in the half layout (n, n, n // 2 + 1); see the function below."""
    index, weight, n_shells = half_shell_index(n), half_multiplicity(n), n // 2 + 1
    cross = shell_sum(first.real * second.real + first.imag * second.imag, index, n_shells, weight)
    power_first, power_second = (
        shell_sum(f.real**2 + f.imag**2, index, n_shells, weight) for f in (first, second)
    )
    norm = np.sqrt(power_first * power_second)
    return np.divide(cross, norm, out=np.zeros(n_shells), where=norm > 0)


def fourier_shell_correlation(
    a: ArrayLike, b: ArrayLike, *, workers: int | None = None
) -> NDArray[np.float64]:
    """Correlate two volumes shell by shell.

    Parameters
    ----------
    a, b : (n, n, n) arrays
        Real volumes of the same box, masked already if they are to be.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n // 2 + 1,) float64
        ``Re sum(A conj B) / sqrt(sum|A|^2 sum|B|^2)`` over rounded shells, from zero frequency to
        Nyquist; 0 where a shell is empty of signal.

    Raises
    ------
    InputError
        If the boxes differ or are not cubic.

    References
    ----------
    Harauz and van Heel (1986), Optik 73, 146.
    """
    first, second = np.asarray(a, dtype=np.float32), np.asarray(b, dtype=np.float32)
    if first.shape != second.shape:
        raise InputError(
            f"second volume: shape {second.shape}, but the first has {first.shape}; give the same "
            "box"
        )
    n = cubic_box_size(first)
    return correlate_half_transforms(
        forward_half(first, workers=workers), forward_half(second, workers=workers), n
    )


def crossing_shell(curve: ArrayLike, threshold: float) -> float | None:
    """Fractional shell at which a curve first falls below a threshold.

    Parameters
    ----------
    curve : (k,) array
        Values of shells 0 to k - 1. Shell 0 is ignored: it says nothing about resolution.
    threshold : float
        For example 0.143.

    Returns
    -------
    float or None
        Linear interpolation between the last shell at or above and the first below; 1.0 if shell
        1 is below already; None if the curve never falls below.
    """
    values = np.asarray(curve, dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise InputError(
            f"FSC curve: shape {values.shape}, expected at least 2 finite values in one row"
        )
    below = np.flatnonzero(values[1:] < threshold) + 1
    if below.size == 0:
        return None
    first = int(below[0])
    if first == 1:
        return 1.0
    high, low = values[first - 1], values[first]
    return float(first - 1 + (high - threshold) / (high - low))


def resolution_at(
    fsc: ArrayLike, threshold: float, box_size_px: int, pixel_size_angstrom: float
) -> float:
    """Resolution at which an FSC curve first falls below a threshold.

    Parameters
    ----------
    fsc : (k,) array
        Curve over shells 0 to k - 1.
    threshold : float
        For example 0.143 for half maps.
    box_size_px : int
        Box of the volumes.
    pixel_size_angstrom : float
        Positive.

    Returns
    -------
    float
        Angstrom, interpolated linearly in frequency. A curve that never falls below gives the
        resolution of its last shell; one that is below from shell 1 on gives the box edge.
    """
    shell = crossing_shell(fsc, threshold)
    if shell is None:
        shell = float(np.asarray(fsc).size - 1)
    box_edge_angstrom = radius_of_resolution_px(1.0, box_size_px, pixel_size_angstrom)
    return box_edge_angstrom / shell
