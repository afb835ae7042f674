"""Resolution by direction of a 3DFSC, and how far its surface is from a sphere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import ConvexHull

_DIRECTIONS = 2000
# Widths (standard deviation) of the smoothing ahead of the threshold. A single cone of a few
# dozen voxels is so noisy that the surface of an isotropic map would be rough: 0.6, not 1.
_SMOOTHING_DEGREES = 10.0
_SMOOTHING_SHELLS = 1.5


def directions_xyz() -> NDArray[np.float64]:
    """Evenly spread unit vectors (a Fibonacci lattice), (2000, 3), order x, y, z."""
    index = np.arange(_DIRECTIONS) + 0.5
    z = 1 - 2 * index / _DIRECTIONS
    azimuth = math.pi * (1 + math.sqrt(5)) * index
    radius = np.sqrt(1 - z**2)
    return np.stack((radius * np.cos(azimuth), radius * np.sin(azimuth), z), axis=1)


def directional_limits_px(
    volume: NDArray[np.float32], last_shell: int, threshold: float
) -> NDArray[np.float64]:
    """Radius at which each direction first falls below a threshold.

    The curve of each direction is first averaged with its neighbours, by a Gaussian of 10 degrees
    across directions and 1.5 shells along the radius.

    Parameters
    ----------
    volume : (n, n, n) float32 ndarray
        Centred 3DFSC, valid up to `last_shell`.
    last_shell : int
        Last shell that holds values; directions that stay above get it.
    threshold : float
        In the units of `volume`.

    Returns
    -------
    ndarray, (2000,) float64
        Radius in px for each of `directions_xyz`, interpolated, at least 1.
    """
    radii = np.arange(1, last_shell + 1)
    profiles = _smoothed(_radial_profiles(volume, radii, last_shell))
    below = profiles < threshold
    first = np.where(below.any(axis=1), below.argmax(axis=1), len(radii))
    limits = np.full(len(profiles), float(last_shell))
    limits[first == 0] = 1
    crossing = np.flatnonzero((first > 0) & (first < len(radii)))
    after = profiles[crossing, first[crossing]]
    before = profiles[crossing, first[crossing] - 1]
    limits[crossing] = radii[first[crossing] - 1] + (before - threshold) / (before - after)
    return limits


def _radial_profiles(
    volume: NDArray[np.float32], radii: NDArray[np.int64], last_shell: int
) -> NDArray[np.float64]:
    """Sample a centred volume along all directions: (directions, radii)."""
    middle = volume.shape[0] // 2
    low, high = middle - last_shell - 1, middle + last_shell + 2
    cut = tuple(slice(max(low, 0), high) for _ in range(3))
    axis = np.arange(max(low, 0), min(high, volume.shape[0])) - middle
    square = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    # Values of voxels outside the last shell are no data: weigh with what is inside.
    inside = (square <= last_shell * (last_shell + 1)).astype(np.float32)
    points = directions_xyz()[:, None, ::-1] * radii[None, :, None] - axis[0]
    coordinates = np.moveaxis(points, -1, 0)
    total = map_coordinates(volume[cut] * inside, coordinates, order=1)
    weight = map_coordinates(inside, coordinates, order=1)
    return np.divide(total, weight, out=np.zeros_like(total, dtype=np.float64), where=weight > 0)


def _smoothed(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the curves (directions, radii) with their neighbours."""
    unit = directions_xyz()
    kernel = np.exp((unit @ unit.T - 1) / math.radians(_SMOOTHING_DEGREES) ** 2)
    across = kernel @ profiles / kernel.sum(axis=1, keepdims=True)
    return np.asarray(gaussian_filter1d(across, _SMOOTHING_SHELLS, axis=1, mode="nearest"))


def sphericity_of(limits_px: NDArray[np.float64]) -> float:
    """Sphericity of the surface with the given radius in each of `directions_xyz`.

    The area of the sphere that has the surface's volume over the area of the surface,
    ``pi^(1/3) (6 V)^(2/3) / A``. The 3DFSC program takes it of an isosurface of the thresholded
    volume. Here the surface is star-shaped by construction, so that stray voxels above the
    threshold beyond the resolution limit do not count, and it is measured on a mesh of the
    directions rather than on voxels. The same mesh of a sphere gives exactly 1.

    Parameters
    ----------
    limits_px : (2000,) array
        Positive radii.

    Returns
    -------
    float
        In (0, 1]; 1 for a sphere.

    References
    ----------
    Wadell (1935), Journal of Geology 43, 250; Tan et al. (2017), Nature Methods 14, 793.
    """
    unit = directions_xyz()
    triangles = ConvexHull(unit).simplices
    reference = _compactness(unit[triangles])
    return float(_compactness((unit * limits_px[:, None])[triangles]) / reference)


def _compactness(corners: NDArray[np.float64]) -> float:
    """``pi^(1/3) (6 V)^(2/3) / A`` of a star-shaped mesh, (triangles, corner, xyz)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    # All tetrahedra to the origin count as positive: the corners' order of the hull is arbitrary.
    volume = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c))).sum() / 6
    return float(math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)
