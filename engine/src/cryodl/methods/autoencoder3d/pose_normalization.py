"""Bring particles to a standard place and direction by their own matter, never mirrored.

The part of a subvolume above a threshold is taken for the particle. Its centre of mass goes to the
centre of the box; the axes of its second moments go to x, y, z in falling order, with the senses in
which its third moments are positive. The pose is kept, so that what is found in the standard frame
can be brought back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.conventions import centre_voxel

PoseMode = Literal["none", "center", "axis", "full"]
FINE, NO_MATTER, WRONG_AMOUNT, ROUND = "fine", "no matter", "too little or too much", "round"

_LEAST_SHARE, _MOST_SHARE = 0.01, 0.60
_LEAST_RATIO = 1.15  # of two principal variances that can be told apart
_OTSU_BINS = 128
_LEVEL_SET_ROUNDS = 50
_BALL = 0.45


@dataclass(frozen=True)
class PoseSettings:
    """How poses are normalised.

    Attributes
    ----------
    mode : "none", "center", "axis" or "full"
        What is normalised.
    threshold : str
        Deviations above the mean, ``otsu`` or ``level-set``.
    smooth_px : float
        Deviation of the Gaussian before the threshold, in voxels of a box of 32.
    keep_all : bool
        All matter counts, not only the largest piece.
    membrane : bool
        For ``axis``: the axis of the smallest variance instead of the largest.
    """

    mode: PoseMode = "full"
    threshold: str = "1.0"
    smooth_px: float = 2.0
    keep_all: bool = False
    membrane: bool = False


@dataclass(frozen=True)
class Pose:
    """Where a particle is: ``x_box = A x_standard + c``.

    Attributes
    ----------
    rotation : (3, 3) float64
        A, of determinant 1, on (x, y, z).
    centre_px : (3,) float64
        c, x, y, z from the centre voxel.
    state : str
        `FINE`, or why the pose is (in part) that of the box.
    """

    rotation: NDArray[np.float64]
    centre_px: NDArray[np.float64]
    state: str = FINE


def normalise_pose(volume: NDArray[np.float32], settings: PoseSettings) -> Pose:
    """Find the pose of a subvolume.

    Parameters
    ----------
    volume : (n, n, n) array
        Bright matter.
    settings : PoseSettings
        How.

    Returns
    -------
    Pose
        That of the box where there is too little to go by.
    """
    box = Pose(np.eye(3), np.zeros(3))
    if settings.mode == "none":
        return box
    n = volume.shape[0]
    weight, region = _matter(volume, settings)
    share = float(np.count_nonzero(region)) / max(1, np.count_nonzero(ball(n)))
    if not weight.sum() > 0:
        return Pose(box.rotation, box.centre_px, NO_MATTER)
    if not _LEAST_SHARE <= share <= _MOST_SHARE:
        return Pose(box.rotation, box.centre_px, WRONG_AMOUNT)
    points = (np.argwhere(region) - centre_voxel(n))[:, ::-1].astype(np.float64)
    weights = weight[region].astype(np.float64)
    weights /= weights.sum()
    centre = weights @ points
    if settings.mode == "center":
        return Pose(box.rotation, centre)
    axes, state = _axes(points - centre, weights, settings)
    return Pose(axes.T, centre, state)


def apply_pose(
    volume: NDArray[np.float32], pose: Pose, *, order: int = 3, fill: float = 0.0
) -> NDArray[np.float32]:
    """Return a subvolume in the standard frame; what comes from outside the box is `fill`."""
    return _resampled(volume, pose.rotation, pose.centre_px, order, fill)


def undo_pose(
    volume: NDArray[np.float32], pose: Pose, *, order: int = 3, fill: float = 0.0
) -> NDArray[np.float32]:
    """Return what is in the standard frame in the frame of the subvolume."""
    back = pose.rotation.T
    return _resampled(volume, back, -back @ pose.centre_px, order, fill)


def ball(n: int, radius: float = _BALL) -> NDArray[np.bool_]:
    """Return the ball of a box that is looked at, of a radius in box edges."""
    axis = (np.arange(n) - centre_voxel(n)).astype(np.float64)
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    inside: NDArray[np.bool_] = squared <= (radius * n) ** 2
    return inside


def otsu(values: NDArray[np.floating]) -> float:
    """Return the threshold that makes the variance between two classes largest (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=_OTSU_BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    total = sums[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (total - sums[:-1]) / above) ** 2
    return float(edges[1:-1][int(np.argmax(np.nan_to_num(between)))])


def matter(
    volume: NDArray[np.float32], threshold: str, smooth_px: float = 0.0
) -> NDArray[np.bool_]:
    """Return the piece of matter nearest the centre, by the rules of `PoseSettings`."""
    settings = PoseSettings("center", threshold, smooth_px, keep_all=True)
    region = _matter(volume, settings)[1]
    labels, count = ndimage.label(region)
    if count < 2:
        return region
    n = volume.shape[0]
    distance = np.linalg.norm(np.argwhere(region) - centre_voxel(n), axis=1)
    nearest = labels[region][int(distance.argmin())]
    found: NDArray[np.bool_] = labels == nearest
    return found


def _matter(
    volume: NDArray[np.float32], settings: PoseSettings
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return weights, and where they are above 0."""
    n = volume.shape[0]
    inside = ball(n)
    smooth = volume
    if settings.smooth_px > 0:
        smooth = ndimage.gaussian_filter(volume, settings.smooth_px * n / 32, mode="nearest")
    level = _level(smooth[inside], settings.threshold)
    weight = np.where(inside, np.maximum(smooth - level, 0), 0).astype(np.float32)
    if settings.threshold == "level-set":
        region = _level_set(smooth, inside, level)
        weight = np.where(region, np.maximum(smooth - smooth[inside].mean(), 0), 0)
    if not settings.keep_all:
        labels, count = ndimage.label(weight > 0)
        if count > 1:
            masses = ndimage.sum_labels(weight, labels, np.arange(1, count + 1))
            weight = np.where(labels == 1 + int(np.argmax(masses)), weight, 0)
    return weight, weight > 0


def _level(values: NDArray[np.float32], threshold: str) -> float:
    if threshold in ("otsu", "level-set"):
        return otsu(values)
    return float(values.mean() + float(threshold) * values.std())


def _level_set(
    smooth: NDArray[np.float32], inside: NDArray[np.bool_], level: float
) -> NDArray[np.bool_]:
    """Return the region of two phases with a short border (Chan and Vese 2001).

    The border is shortened by blurring the region and cutting it at one half (Merriman, Bence,
    Osher 1992), in place of a level-set function.
    """
    region = (smooth > level) & inside
    spread = float(smooth[inside].var())
    for _ in range(_LEVEL_SET_ROUNDS):
        if not region.any() or region[inside].all():
            break
        bright, dark = smooth[region].mean(), smooth[inside & ~region].mean()
        gain = ((smooth - dark) ** 2 - (smooth - bright) ** 2) / max(spread, 1e-12)
        blurred = ndimage.gaussian_filter(region.astype(np.float32), 1.0)
        found = (blurred + 0.25 * gain > 0.5) & inside
        if (found == region).all():
            break
        region = found
    return region


def _axes(
    points: NDArray[np.float64], weights: NDArray[np.float64], settings: PoseSettings
) -> tuple[NDArray[np.float64], str]:
    """Return axes as rows, for x, y, z of the standard frame, of determinant 1."""
    covariance = (points * weights[:, None]).T @ points
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1], vectors[:, ::-1].T
    ratios = variances[:-1] / np.maximum(variances[1:], 1e-12)
    if settings.mode == "axis":
        single = 2 if settings.membrane else 0
        if ratios[1 if settings.membrane else 0] < _LEAST_RATIO:
            return np.eye(3), ROUND
        return _upright(_with_sense(vectors[single], points, weights)), FINE
    if (ratios < _LEAST_RATIO).all():
        return np.eye(3), ROUND
    first = _with_sense(vectors[0], points, weights)
    second = _with_sense(vectors[1], points, weights)
    return np.stack([first, second, np.cross(first, second)]), FINE


def _with_sense(
    axis: NDArray[np.float64], points: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    third = float(weights @ (points @ axis) ** 3)
    if third == 0:
        third = float(axis[np.abs(axis).argmax()])
    return axis if third > 0 else -axis


def _upright(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of the least rotation that turns an axis to z."""
    z = np.array([0.0, 0.0, 1.0])
    if axis[2] < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    v = np.cross(axis, z)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + axis[2])


def _resampled(
    volume: NDArray[np.float32],
    rotation: NDArray[np.float64],
    centre_px: NDArray[np.float64],
    order: int,
    fill: float,
) -> NDArray[np.float32]:
    """Sample at ``A x + c`` for every voxel x."""
    matrix = rotation[::-1, ::-1]
    middle = np.full(3, float(centre_voxel(volume.shape[0])))
    offset = middle + centre_px[::-1] - matrix @ middle
    found: NDArray[np.float32] = ndimage.affine_transform(
        volume, matrix, offset, output=np.float32, order=order, mode="constant", cval=fill
    )
    return found
