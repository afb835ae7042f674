"""How much of the boxes the particles fill, from the particles themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.grids import radius_grid_px

_LOOKED_AT = 400
_LEAST_SHARE = 0.5  # of the box
_REST = 0.05  # of the largest power: there the particle ends
_SURE = 10.0  # deviations of the power of noise
_OF_BOX = 0.45  # how far maps reach from the centre of their box
_ROOM_PX = 1.0


def particle_edge_px(boxes: NDArray) -> int:
    """Return the edge of the box about the centre that holds the particles.

    What is finer than a share of the box is not compared, so that a wide box would hide detail.
    Noise is as strong everywhere: what is above its power, farther out less and less, is the
    particle; what rises again beyond it are neighbours.

    Parameters
    ----------
    boxes : (N, n, n, n) array
        Of mean 0 and deviation 1.

    Returns
    -------
    int
        At most n, which it is when nothing stands out from the noise.
    """
    n = boxes.shape[-1]
    chosen = np.unique(np.linspace(0, len(boxes) - 1, min(len(boxes), _LOOKED_AT)).astype(int))
    power = np.zeros((n, n, n))
    for index in chosen:
        power += np.asarray(boxes[index], dtype=np.float64) ** 2
    shells = np.rint(radius_grid_px(n)).astype(np.int64).ravel()
    last = n // 2
    voxels = np.bincount(shells)[:last]
    profile = np.bincount(shells, power.ravel())[:last] / voxels / len(chosen)
    profile[1:-1] = (profile[:-2] + profile[1:-1] + profile[2:]) / 3
    floor = profile[last // 3 :].min()
    excess = profile - floor
    # Two thirds of the way out at most, for beyond lie neighbours.
    top = int(excess[: 2 * last // 3].argmax())
    noise = floor * np.sqrt(2 / (voxels[top] * len(chosen)))
    if excess[top] < _SURE * noise:
        return n
    inside = excess[top:] > _REST * excess[top]
    radius = top + (int(np.flatnonzero(~inside)[0]) if not inside.all() else last)
    edge = int(np.ceil((radius + _ROOM_PX) / _OF_BOX / 2)) * 2
    return int(np.clip(edge, int(np.ceil(_LEAST_SHARE * n / 2)) * 2, n))
