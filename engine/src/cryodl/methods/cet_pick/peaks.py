"""From a heat map to points: local maxima, sub-voxel places, greedy suppression by distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMOOTHING = 1.0  # voxels of the heat map


def find_peaks(
    scores: NDArray[np.float32],
    spacing_zyx: tuple[float, float, float],
    *,
    distance_px: float,
    threshold: float = 0.0,
    limit: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places and scores of the maxima of a heat map, best first.

    Parameters
    ----------
    scores : numpy.ndarray
        Heat map ``[z, y, x]``.
    spacing_zyx : tuple
        Voxels of the tomogram per voxel of the heat map. Heat-map index i lies at tomogram voxel
        ``(i + 0.5) * spacing - 0.5``.
    distance_px : float
        Of two peaks nearer than this, in voxels of the tomogram, the lower goes.
    threshold : float
        Least score.
    limit : int
        Most peaks, 0 for all.

    Returns
    -------
    points : numpy.ndarray
        (n, 3) as x, y, z in voxels of the tomogram.
    values : numpy.ndarray
        (n,) scores.
    """
    from scipy import ndimage
    from scipy.spatial import cKDTree

    spacing = np.asarray(spacing_zyx)
    highest = ndimage.maximum_filter(scores, size=3, mode="nearest")
    index = np.argwhere((scores == highest) & (scores > threshold))
    values = scores[tuple(index.T)].astype(np.float64)
    # A plateau gives several maxima of one value; the order must not depend on anything else.
    order = np.lexsort((*index.T[::-1], -values))
    index, values = index[order], values[order]
    places = (_refined(scores, index) + 0.5) * spacing - 0.5
    neighbours = cKDTree(places).query_ball_point(places, distance_px) if len(places) else []
    kept = np.ones(len(places), dtype=bool)
    for rank, near in enumerate(neighbours):
        if kept[rank]:
            kept[[other for other in near if other > rank]] = False
    chosen = np.flatnonzero(kept)[: limit or None]
    return places[chosen][:, ::-1], values[chosen]


def _refined(scores: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return where a smoothed heat map is highest near each maximum, to a fraction of a voxel.

    The noise of the scores moves a maximum more than that of their surroundings.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(scores, _SMOOTHING, mode="nearest")
    index = _climbed(smooth, index)
    places = index.astype(np.float64)
    for axis in range(3):
        places[:, axis] += _parabola(smooth, index, axis)
    return places


def _climbed(smooth: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the highest of the 27 voxels around each index, twice over."""
    around = np.stack(np.meshgrid(*[[0, -1, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    last = np.array(smooth.shape) - 1
    for _ in range(2):
        near = np.clip(index[:, None] + around, 0, last)
        best = smooth[tuple(np.moveaxis(near, -1, 0))].argmax(1)
        index = near[np.arange(len(index)), best]
    return index


def _parabola(
    smooth: NDArray[np.float32], index: NDArray[np.int64], axis: int
) -> NDArray[np.float64]:
    """Return the tops of parabolas along an axis, fitted to logarithms as of a Gaussian."""
    inner = (index[:, axis] > 0) & (index[:, axis] < smooth.shape[axis] - 1)
    step = np.zeros(3, dtype=np.int64)
    step[axis] = 1
    rows = index[inner]
    left, middle, right = (
        np.log(np.maximum(smooth[tuple((rows + k * step).T)].astype(np.float64), 1e-12))
        for k in (-1, 0, 1)
    )
    curvature = np.minimum(left - 2 * middle + right, -1e-9)
    found = np.zeros(len(index))
    found[inner] = np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)
    return found
