"""Where something may be in a tomogram, without any label: blobs, and boxes around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.methods.cet_pick.peaks import find_peaks
from cryodl.methods.cet_pick.tomogram import WorkingTomogram

_NARROW, _WIDE = 1 / 1.3, 1.3  # of the sigma that a ball of the diameter answers best to
_BALL = 2 * np.sqrt(3)  # diameter over that sigma
_DISTANCE_OF_DIAMETER = 0.6
_MARGIN_OF_DIAMETER = 0.25
_SLAB = 16
_CONTEXT = 1.5  # edge of a box over the diameter
SHIFT = 1  # voxels that views of a box are moved by
_EDGES = (12, 20)


def halved(tomogram: WorkingTomogram) -> NDArray[np.float32]:
    """Return the prepared tomogram, [z, y, x], binned to half its size in the plane.

    With merged slices its voxels are cubes of two file voxels.
    """
    depth, height, width = tomogram.shape
    rows, columns = height // 2, width // 2
    found = np.empty((depth, rows, columns), np.float32)
    for start in range(0, depth, _SLAB):
        stop = min(start + _SLAB, depth)
        values = tomogram.region(((start, stop), (0, 2 * rows), (0, 2 * columns)))
        blocks = values.reshape(stop - start, rows, 2, columns, 2)
        found[start:stop] = blocks.mean(axis=(2, 4))
    return found


def propose(
    small: NDArray[np.float32],
    spacing_zyx: tuple[float, float, float],
    diameter_px: float,
    limit: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the strongest blobs of about a diameter, by difference of Gaussians.

    Parameters
    ----------
    small : numpy.ndarray
        See `halved`; matter is bright.
    spacing_zyx : tuple
        Voxels of the tomogram per voxel of it.
    diameter_px : float
        In voxels of the tomogram.
    limit : int
        Most blobs.

    Returns
    -------
    points : numpy.ndarray
        (n, 3) as x, y, z in voxels of the tomogram, strongest first.
    strengths : numpy.ndarray
        (n,) in standard deviations of the filtered tomogram.
    """
    from scipy.ndimage import gaussian_filter

    sigma = diameter_px / _BALL / np.asarray(spacing_zyx)
    answer = gaussian_filter(small, _NARROW * sigma) - gaussian_filter(small, _WIDE * sigma)
    answer /= max(float(answer.std()), 1e-12)
    points, strengths = find_peaks(
        answer, spacing_zyx, distance_px=_DISTANCE_OF_DIAMETER * diameter_px
    )
    size = np.array(small.shape)[::-1] * np.asarray(spacing_zyx)[::-1]
    margin = _MARGIN_OF_DIAMETER * diameter_px
    inside = ((points >= margin) & (points <= size - 1 - margin)).all(axis=1)
    return points[inside][:limit], strengths[inside][:limit]


def box_edge(diameter_px: float) -> int:
    """Return the edge in voxels of the boxes that the network sees."""
    return int(np.clip(2 * round(_CONTEXT * diameter_px / 4), *_EDGES))


def cut_boxes(
    small: NDArray[np.float32],
    spacing_zyx: tuple[float, float, float],
    points_xyz: NDArray[np.float64],
    diameter_px: float,
) -> NDArray[np.float16]:
    """Return boxes (n, e, e, e) around points, with room to move views, each standardised.

    They are cubes in space, 1.5 diameters wide, whatever the diameter in voxels.
    """
    from scipy.ndimage import map_coordinates

    edge = box_edge(diameter_px)
    step = _CONTEXT * diameter_px / edge
    offsets = (np.arange(edge + 2 * SHIFT) - 0.5 * (edge + 2 * SHIFT - 1)) * step
    spacing = np.asarray(spacing_zyx)
    found = np.empty((len(points_xyz), *(len(offsets),) * 3), np.float16)
    for number, point in enumerate(points_xyz):
        axes = [(offsets + c + 0.5) / s - 0.5 for c, s in zip(point[::-1], spacing, strict=True)]
        grid = np.meshgrid(*axes, indexing="ij")
        box = map_coordinates(small, grid, order=1, mode="mirror")
        found[number] = (box - box.mean()) / max(float(box.std()), 1e-6)
    return found
