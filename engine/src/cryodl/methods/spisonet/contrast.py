"""Whether matter is bright or dark in a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SOLVENT = 0.01
_CLEAR_STEP = 0.2
_CLEAR_SKEWNESS = 0.5
_SMOOTH_PX = 2.0


def contrast_sign(volume: NDArray[np.floating], mask: NDArray[np.floating] | None = None) -> int:
    """Return 1 where matter is bright, as everywhere in this package, -1 where it is clearly dark.

    Parameters
    ----------
    volume : np.ndarray
        (n, n, n).
    mask : np.ndarray, optional
        (n, n, n), solvent mask in [0, 1]. With it matter is dark where the map is darker inside
        than outside by a good part of its own spread; without it (or without any solvent) the
        sign of the skewness decides, for the few voxels that stand out are matter.
    """
    values = np.asarray(volume, dtype=np.float64)
    skewness = _skewness(ndimage.gaussian_filter(values, _SMOOTH_PX, mode="nearest"))
    if mask is None or not ((mask < _SOLVENT).any() and (mask > 0.5).any()):
        return -1 if skewness < -_CLEAR_SKEWNESS else 1
    inside, solvent = values[mask > 0.5], values[mask < _SOLVENT]
    step = inside.mean() - solvent.mean()
    return -1 if step < -_CLEAR_STEP * inside.std() and skewness < 0 else 1


def contrast_signs(
    halves: Sequence[NDArray[np.floating]],
    masks: Sequence[NDArray[np.floating] | None],
    *,
    independent: bool,
) -> list[int]:
    """Return the sign of each half map; halves that may see each other share one."""
    if independent:
        return [contrast_sign(half, mask) for half, mask in zip(halves, masks)]
    return [contrast_sign(np.mean(halves, axis=0), masks[0])] * len(halves)


def _skewness(values: NDArray[np.float64]) -> float:
    centred = values - values.mean()
    deviation = float(centred.std())
    return float((centred**3).mean()) / deviation**3 if deviation > 0 else 0.0
