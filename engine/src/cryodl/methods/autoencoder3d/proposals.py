"""Places worth a look in a tomogram of which nothing is known: no template, only a size.

*Blobs*: a difference of Gaussians, the first matched to the size and the second 1.6 times as wide,
is high at the centre of anything compact and dense of that size (Voss et al. 2009, J. Struct.
Biol. 166). *Detail*: more variance of fine detail than elsewhere, whatever its sign and shape: of
rings and shells with an empty middle, pieces of membranes, filaments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from cryodl.errors import InputError

_WORKING_DIAMETER_PX = 8.0  # tomograms are binned until the blobs are no larger
_WIDER = 1.6
_LEAST_DISTANCE = 0.7  # of two blobs, in diameters
_FINE, _COARSE = 1 / 12, 1 / 3  # deviations of the Gaussians between which detail is, in diameters
_SURE = 3.0  # deviations of the filtered tomogram above its median


@dataclass(frozen=True)
class Proposals:
    """Blobs of one tomogram, the surest first: x, y, z from the first voxel, and scores."""

    points_xyz_px: NDArray[np.float64]
    scores: NDArray[np.float64]


def propose(
    tomogram: NDArray,
    diameter_px: float,
    *,
    dark: bool = True,
    by: Literal["blobs", "detail"] = "blobs",
    most: int = 500,
    border_px: float = 0.0,
) -> Proposals:
    """Find blobs.

    Parameters
    ----------
    tomogram : (z, y, x) array
        Memory-mapped or not; read once, by sections.
    diameter_px : float
        Of the blobs, more than 2.
    dark : bool
        What matter is; detail is the same either way.
    by : "blobs" or "detail"
        What is looked for.
    most : int
        How many to return.
    border_px : float
        Blobs nearer than this to a face are left out.

    Raises
    ------
    InputError
        Nothing stands out, or the tomogram is smaller than the blobs.
    """
    if not diameter_px > 2 or min(tomogram.shape) < diameter_px:
        raise InputError(
            f"--diameter: found {diameter_px:g} px for a tomogram of {tomogram.shape}, expected "
            "more than 2 and less than its thickness; give another"
        )
    factor = max(1, int(diameter_px / _WORKING_DIAMETER_PX))
    small = binned(tomogram, factor)
    small = (small - small.mean()) / max(float(small.std()), 1e-12)
    size = diameter_px / factor
    response = _detail(small, size) if by == "detail" else _blobs(-small if dark else small, size)
    middle = float(np.median(response))
    spread = 1.4826 * float(np.median(np.abs(response - middle)))
    edge = max(3, round(_LEAST_DISTANCE * diameter_px / factor))
    peak = response == ndimage.maximum_filter(response, edge | 1, mode="nearest")
    peak &= response > middle + _SURE * max(spread, 1e-12)
    places = np.argwhere(peak)
    scores = (response[peak] - middle) / max(spread, 1e-12)
    points = (places[:, ::-1] + 0.5) * factor - 0.5
    last = np.array(tomogram.shape[::-1]) - 1
    kept = ((points >= border_px) & (points <= last - border_px)).all(axis=1)
    points, scores = points[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")
    chosen = apart(points[order], _LEAST_DISTANCE * diameter_px)[:most]
    if len(chosen) == 0:
        raise InputError(
            f"proposals: nothing of {diameter_px:g} px stands out, expected blobs; check "
            "--contrast and --diameter, or give --coordinates"
        )
    return Proposals(points[order][chosen], scores[order][chosen].astype(np.float64))


def _blobs(volume: NDArray[np.float32], diameter_px: float) -> NDArray[np.float32]:
    """Return how much denser a ball of the diameter is than its surroundings."""
    sigma = diameter_px / 2 / np.sqrt(3)
    narrow = ndimage.gaussian_filter(volume, sigma, mode="nearest")
    found: NDArray[np.float32] = narrow - ndimage.gaussian_filter(
        volume, _WIDER * sigma, mode="nearest"
    )
    return found


def _detail(volume: NDArray[np.float32], diameter_px: float) -> NDArray[np.float32]:
    """Return how much more variance of detail there is than in the surroundings."""
    fine = ndimage.gaussian_filter(volume, _FINE * diameter_px, mode="nearest")
    fine -= ndimage.gaussian_filter(volume, _COARSE * diameter_px, mode="nearest")
    return _blobs(np.square(fine), diameter_px)


def apart(points: NDArray[np.float64], distance_px: float) -> NDArray[np.int64]:
    """Return the points that are not nearer than this to an earlier one that is kept."""
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    tree = cKDTree(points)
    dropped = np.zeros(len(points), dtype=bool)
    for index, near in enumerate(tree.query_ball_point(points, distance_px)):
        if not dropped[index]:
            dropped[[other for other in near if other > index]] = True
    return np.flatnonzero(~dropped)


def binned(tomogram: NDArray, factor: int) -> NDArray[np.float32]:
    """Return means of cubes of `factor` voxels; what does not fill a cube is left out."""
    depth, height, width = (size // factor for size in tomogram.shape)
    out = np.empty((depth, height, width), dtype=np.float32)
    for z in range(depth):
        slab = np.asarray(
            tomogram[z * factor : (z + 1) * factor, : height * factor, : width * factor],
            dtype=np.float32,
        )
        out[z] = slab.reshape(factor, height, factor, width, factor).mean(axis=(0, 2, 4))
    if not np.isfinite(out).all():
        out = np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0)
    return out
