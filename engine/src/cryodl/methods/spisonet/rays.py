"""Neighbours along a ray through zero frequency, over which sampling by views hardly changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_LOG_SPAN = 0.5
_LOG_WIDTH = 0.35
_SAMPLES = 9


def along_rays(
    volume: NDArray[np.float64],
) -> Iterator[tuple[float, float, NDArray[np.float64]]]:
    """Read a centred volume at 0.6 to 1.65 times the radius of each voxel.

    Parameters
    ----------
    volume : np.ndarray
        (n, n, n), centred.

    Yields
    ------
    scale : float
        Factor of the radius.
    share : float
        Weight of this factor, 1 at the voxel itself.
    values : np.ndarray
        (n, n, n): the volume at ``scale * k``, 0 beyond the box.
    """
    n = volume.shape[0]
    for log in np.linspace(-_LOG_SPAN, _LOG_SPAN, _SAMPLES):
        scale = float(np.exp(log))
        # Scaling about the centre moves each voxel along its own ray.
        moved = ndimage.affine_transform(
            volume,
            np.diag(np.full(3, scale)),
            offset=(1 - scale) * (n // 2),
            order=1,
            mode="constant",
        )
        yield scale, float(np.exp(-0.5 * (log / _LOG_WIDTH) ** 2)), moved
