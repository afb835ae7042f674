"""Mean and standard deviation of a tomogram, in little memory and not misled by gold beads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

_MOST_VOXELS = 1 << 24
_CLIP = 4.0  # deviations; of a Gaussian 6 in 100,000 are beyond, and leave it 0.05 % too small
_ROUNDS = 8


@dataclass(frozen=True)
class TomogramStatistics:
    """Mean and standard deviation, and from how many voxels."""

    mean: float
    deviation: float
    n_voxels: int


def tomogram_statistics(
    tomogram: NDArray, *, robust: bool = True, most_voxels: int = _MOST_VOXELS
) -> TomogramStatistics:
    """Measure mean and standard deviation, section by section.

    Of a tomogram with more than `most_voxels`, evenly spaced rows of evenly spaced sections are
    read: millions of voxels fix both numbers far better than any use of them needs. Values that are
    not finite are left out.

    Parameters
    ----------
    tomogram : (z, y, x) array
        Of any real type, a memory map too.
    robust : bool
        Leave out, in rounds, what is further from the mean than 4 deviations: gold beads, and the
        bright rims around them.
    most_voxels : int
        How many to read at most, about.

    Returns
    -------
    TomogramStatistics

    Raises
    ------
    InputError
        All voxels have one value, or none is finite.
    """
    low, high = -math.inf, math.inf
    mean, deviation, count = _moments(tomogram, most_voxels, low, high)
    if count == 0 or not deviation > 1e-7 * abs(mean):
        raise InputError(
            f"tomogram: mean {mean:.4g} and standard deviation {deviation:.4g} of {count} voxels, "
            "expected finite values that vary; it is blank, make it again"
        )
    everything = TomogramStatistics(mean, deviation, count)
    for _ in range(_ROUNDS if robust else 0):
        low, high = mean - _CLIP * deviation, mean + _CLIP * deviation
        before = count
        mean, deviation, count = _moments(tomogram, most_voxels, low, high)
        if count < 0.5 * everything.n_voxels or not deviation > 1e-3 * everything.deviation:
            return everything  # most of it is one value: what varies is not the exception
        if before - count < 1e-4 * before:
            break
    return TomogramStatistics(mean, deviation, count)


def _moments(
    tomogram: NDArray, most_voxels: int, low: float, high: float
) -> tuple[float, float, int]:
    """Return mean, deviation and number of the values in between."""
    count, mean, squares = 0, 0.0, 0.0
    for part in _parts(tomogram, most_voxels):
        values = part[(part >= low) & (part <= high) & np.isfinite(part)]
        n = values.size
        if n == 0:
            continue
        part_mean = float(values.mean(dtype=np.float64))
        part_squares = float(np.square(values - part_mean, dtype=np.float64).sum())
        # Chan, Golub, LeVeque: moments of two parts joined without cancellation.
        difference = part_mean - mean
        joined = count + n
        squares += part_squares + difference**2 * count * n / joined
        mean += difference * n / joined
        count = joined
    return mean, math.sqrt(squares / count) if count else 0.0, count


def _parts(tomogram: NDArray, most_voxels: int) -> Iterator[NDArray]:
    """Give the sections in the order in which they lie in the file, or some rows of some."""
    order = sorted(range(3), key=lambda axis: -abs(tomogram.strides[axis]))
    stored = tomogram.transpose(order)
    step = max(1, math.ceil(math.sqrt(tomogram.size / most_voxels)))
    for z in range(min(step // 2, stored.shape[0] - 1), stored.shape[0], step):
        section = stored[z, min(step // 2, stored.shape[1] - 1) :: step]
        rows = max(1, (1 << 22) // section.shape[1])
        for start in range(0, section.shape[0], rows):
            with np.errstate(all="ignore"):
                part = np.asarray(section[start : start + rows])
                yield part if part.dtype == np.float64 else part.astype(np.float32)
