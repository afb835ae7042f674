"""Boxes around points of a tomogram that may be far larger than the memory.

A box is read with a margin, faded out over the margin so that it has no step where its period ends,
and its Fourier series is evaluated at the voxels that are wanted: at any fraction of a voxel, and
at any coarser sampling, where the series is cut at the new Nyquist frequency so that nothing
is aliased. Read, fade, shift and cut are linear along each axis, so they are three small matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.conventions import centre_voxel
from cryodl.core.volumes.tomogram_statistics import TomogramStatistics, tomogram_statistics
from cryodl.errors import ConfigError, InputError

Border = Literal["drop", "fill", "noise"]
Normalise = Literal["tomogram", "box", "none"]
Contrast = Literal["dark", "bright"]

INSIDE, TOUCHES_BORDER, OUTSIDE = 0, 1, 2
"""What `border_states` says of a box."""

_MARGIN = 8  # of the fade, in voxels of the box
_SLAB_BYTES = 1 << 24
_WHOLE = 1e-6  # fractions of a voxel smaller than this are none


@dataclass(frozen=True)
class ExtractedBox:
    """A box and the number of its point.

    Attributes
    ----------
    index : int
        Of the point, from 0, dropped ones counted.
    data : (n, n, n) float32
        (z, y, x); the point is at voxel ``n // 2``.
    filled_fraction : float
        Share of the voxels that lie outside the tomogram and were filled.
    """

    index: int
    data: NDArray[np.float32]
    filled_fraction: float


@dataclass(frozen=True)
class _Axis:
    """One axis of one box: which voxels of the tomogram are read, and what becomes of them.

    Attributes
    ----------
    read : (m,) int64
        Voxels of the tomogram, those of its mirror image beyond the border.
    weights : (n, m) float64, optional
        From the m voxels read to the n voxels of the box; None where they are the same.
    inside : (n,) bool
        Which voxels of the box lie in the tomogram.
    """

    read: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    inside: NDArray[np.bool_]

    def folded(self) -> tuple[slice, NDArray[np.float32]]:
        """Return the stretch that is read, each voxel once, and the weights for it."""
        weights = np.eye(len(self.read)) if self.weights is None else self.weights
        first, last = int(self.read.min()), int(self.read.max())
        folded = np.zeros((last - first + 1, len(weights)))
        np.add.at(folded, self.read - first, weights.T)
        return slice(first, last + 1), np.ascontiguousarray(folded.T, dtype=np.float32)


def border_states(
    shape_zyx: tuple[int, int, int],
    coordinates_px: ArrayLike,
    box_size_px: int,
    *,
    binning: float = 1.0,
) -> NDArray[np.int8]:
    """Tell which boxes fit into a tomogram.

    Parameters
    ----------
    shape_zyx : (int, int, int)
        Of the tomogram.
    coordinates_px : (N, 3) array
        (x, y, z) from the first voxel of the tomogram.
    box_size_px : int
        Edge of the boxes in their own voxels.
    binning : float
        Edge of a voxel of the box in voxels of the tomogram.

    Returns
    -------
    ndarray, (N,) int8
        `INSIDE`, `TOUCHES_BORDER` where the centre of a voxel of the box lies outside, or
        `OUTSIDE` where the point itself does.

    Raises
    ------
    InputError
        Coordinates that are not (N, 3) or not finite.
    """
    points = _checked_points(coordinates_px)
    last = np.array(shape_zyx[::-1], dtype=np.float64) - 1
    low = points - centre_voxel(box_size_px) * binning
    high = low + (box_size_px - 1) * binning
    touches = ((low < -_WHOLE) | (high > last + _WHOLE)).any(axis=1)
    outside = ((points < -0.5) | (points > last + 0.5)).any(axis=1)
    return np.where(outside, OUTSIDE, np.where(touches, TOUCHES_BORDER, INSIDE)).astype(np.int8)


def extract_boxes(
    tomogram: NDArray,
    coordinates_px: ArrayLike,
    box_size_px: int,
    *,
    binning: float = 1.0,
    border: Border = "drop",
    normalise: Normalise = "tomogram",
    contrast: Contrast = "bright",
    statistics: TomogramStatistics | None = None,
    seed: int = 0,
) -> Iterator[ExtractedBox]:
    """Cut boxes out of a tomogram, one after the other.

    Parameters
    ----------
    tomogram : (z, y, x) array
        Of any real type; a memory map is read only where there are boxes, and for its statistics.
    coordinates_px : (N, 3) array
        (x, y, z) from the first voxel of the tomogram, with fractions.
    box_size_px : int
        Edge n of the boxes, in their own voxels.
    binning : float
        1 or more: edge of a voxel of the box in voxels of the tomogram.
    border : "drop", "fill" or "noise"
        Boxes that are partly outside are left out, or what is outside is filled with the mean of
        the rest or with Gaussian noise of its mean and deviation. Points outside are left out.
    normalise : "tomogram", "box" or "none"
        Mean 0 and deviation 1 for the voxels of the tomogram, or for those of each box.
    contrast : "dark" or "bright"
        What matter is in the tomogram. Of "dark" the sign is changed: it is bright in the boxes.
    statistics : TomogramStatistics, optional
        For ``normalise="tomogram"``; measured when not given.
    seed : int
        Of the noise.

    Yields
    ------
    ExtractedBox
        In the order of the points.

    Raises
    ------
    ConfigError
        A box of less than one voxel or a binning below 1.
    InputError
        Not three-dimensional, coordinates that are not (N, 3) or not finite, blank tomogram.
    """
    if tomogram.ndim != 3 or 0 in tomogram.shape or tomogram.dtype.kind not in "biuf":
        raise InputError(
            f"tomogram: found shape {tomogram.shape} and type {tomogram.dtype}, expected three "
            "axes of real numbers; give a tomogram, not an image"
        )
    if box_size_px < 1 or not (math.isfinite(binning) and binning >= 1):
        raise ConfigError(
            f"box size and binning: found {box_size_px} px and {binning:g}, expected 1 or more "
            "each; correct them"
        )
    points = _checked_points(coordinates_px)
    if normalise == "tomogram" and statistics is None:
        statistics = tomogram_statistics(tomogram)
    z, y, x = tomogram.shape
    states = border_states((z, y, x), points, box_size_px, binning=binning)
    accepted = states == INSIDE if border == "drop" else states != OUTSIDE
    sign = np.float32(-1 if contrast == "dark" else 1)

    def boxes() -> Iterator[ExtractedBox]:
        for index in np.flatnonzero(accepted):
            random = np.random.default_rng((seed, int(index)))
            box, filled = _read_box(tomogram, points[index], box_size_px, binning, border, random)
            _scale(box, normalise, statistics)
            yield ExtractedBox(int(index), sign * box, filled)

    return boxes()


def _checked_points(coordinates_px: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(coordinates_px, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(
            f"coordinates: found shape {points.shape}, expected a row of x, y, z for each point; "
            "give three columns"
        )
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise InputError(
            f"coordinates: {len(bad)} of {len(points)} points are NaN or infinite, the first is "
            f"number {bad[0] + 1}, expected numbers; remove those rows"
        )
    return points


def _scale(
    box: NDArray[np.float32], normalise: Normalise, statistics: TomogramStatistics | None
) -> None:
    """Shift and scale in place; a constant box becomes 0."""
    if normalise == "tomogram" and statistics is not None:
        box -= np.float32(statistics.mean)
        box /= np.float32(statistics.deviation)
    elif normalise == "box":
        box -= box.mean(dtype=np.float64)
        deviation = float(box.std(dtype=np.float64))
        if deviation > 0:
            box /= np.float32(deviation)


def _read_box(
    tomogram: NDArray,
    point_xyz: NDArray[np.float64],
    n: int,
    binning: float,
    border: Border,
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], float]:
    """Return one box and the share of it that was filled."""
    axes = [
        _axis(float(centre), n, binning, length)
        for centre, length in zip(point_xyz[::-1], tomogram.shape)
    ]
    if all(axis.weights is None for axis in axes):
        box = np.asarray(tomogram[np.ix_(*(axis.read for axis in axes))], dtype=np.float32)
        mean = float(box.mean(dtype=np.float64))
    else:
        box, mean = _contract(tomogram, axes)
    inside = np.einsum("i,j,k->ijk", *(axis.inside for axis in axes))
    filled = 1.0 - float(inside.mean())
    if filled > 0:
        # A coarse box at the very edge may have no voxel centre inside.
        known = box[inside] if inside.any() else np.array([mean], dtype=np.float32)
        mean = float(known.mean(dtype=np.float64))
        if border == "noise":
            count = int(np.count_nonzero(~inside))
            box[~inside] = random.normal(mean, known.std(dtype=np.float64), count)
        else:
            box[~inside] = mean
    return box, filled


def _contract(tomogram: NDArray, axes: list[_Axis]) -> tuple[NDArray[np.float32], float]:
    """Apply the weights of the three axes, slab by slab, and return the mean of what was read.

    With weights W and mean m the box is ``W (f - m) + m``: what fades out fades to the mean.
    """
    (sections, wz), (rows, wy), (columns, wx) = (axis.folded() for axis in axes)
    depth, height, width = wz.shape[1], wy.shape[1], wx.shape[1]
    z0 = sections.start
    step = max(1, _SLAB_BYTES // (4 * height * width))
    # Of the first section: close to the mean, so that float32 loses nothing to a large offset.
    near = float(np.mean(tomogram[z0, rows, columns], dtype=np.float64))
    near = near if math.isfinite(near) else 0.0
    box = np.zeros((wz.shape[0], wy.shape[0], wx.shape[0]), dtype=np.float32)
    total = 0.0
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        slab = np.array(tomogram[z0 + start : z0 + stop, rows, columns], dtype=np.float32)
        slab -= np.float32(near)
        total += float(slab.sum(dtype=np.float64))
        box += np.tensordot(wz[:, start:stop], wy @ (slab @ wx.T), axes=1)
    mean = total / (depth * height * width)
    sums = (w.sum(axis=1, dtype=np.float64) for w in (wz, wy, wx))
    box += (mean * (1 - np.einsum("i,j,k->ijk", *sums)) + near).astype(np.float32)
    return box, mean + near


def _axis(centre_px: float, n: int, binning: float, length: int) -> _Axis:
    """Find what to read along one axis of the tomogram, and the weights."""
    wanted = centre_px + (np.arange(n) - centre_voxel(n)) * binning
    inside = (wanted > -0.5) & (wanted < length - 0.5)
    near = round(centre_px)
    weights = None
    if binning == 1 and abs(centre_px - near) < _WHOLE:
        read = near - centre_voxel(n) + np.arange(n)
    else:
        margin = math.ceil(_MARGIN * binning)
        reach = math.ceil(centre_voxel(n) * binning) + 1 + margin
        read = near + np.arange(-reach, reach + 1)
        weights = _series_weights(wanted - near, reach, binning) * _fade(reach, margin)
    # Beyond the border the tomogram is continued by its mirror image, which has no step.
    period = max(1, 2 * length - 2)
    turned = np.mod(read, period)
    return _Axis(np.where(turned < length, turned, period - turned), weights, inside)


def _series_weights(
    wanted_px: NDArray[np.float64], reach: int, binning: float
) -> NDArray[np.float64]:
    """Return the matrix that evaluates the Fourier series of ``2 reach + 1`` voxels.

    The number of voxels is odd, so that there is no term at the Nyquist frequency, which cannot be
    shifted. Terms at and above that of the coarser sampling are left out.
    """
    m = 2 * reach + 1
    highest = min(reach, math.ceil(m / (2 * binning)) - 1)
    distance = wanted_px[:, None] - np.arange(-reach, reach + 1)[None, :]
    low = np.sin(np.pi * distance / m)
    # The sum of cos(2 pi k d / m) over k from -highest to highest, over m.
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = np.sin(np.pi * (2 * highest + 1) * distance / m) / (m * low)
    return np.where(np.abs(low) < 1e-12, (2 * highest + 1) / m, kernel)


def _fade(reach: int, margin: int) -> NDArray[np.float64]:
    """Return 1 within ``reach - margin`` of the middle and a raised cosine to 0 beyond."""
    distance = np.abs(np.arange(-reach, reach + 1)) - (reach - margin)
    part = np.clip(distance / (margin + 1), 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * part), dtype=np.float64)
