"""How densely a set of views samples Fourier space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.core.evaluation.regions import unit_axis_xyz
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import friedel_average, friedel_mate
from cryodl.errors import ConfigError

FloatVolume = NDArray[np.float32]
ViewDistribution = Literal["top", "side", "uniform"]

_VALUES_PER_BLOCK = 2_000_000


def draw_view_directions(
    number: int,
    rng: np.random.Generator,
    distribution: ViewDistribution = "top",
    axis_xyz: Sequence[float] = (0.0, 0.0, 1.0),
    spread_degrees: float = 15.0,
    uniform_fraction: float = 0.0,
) -> NDArray[np.float64]:
    """Draw directions of view about an axis of the particle.

    Parameters
    ----------
    number
        How many views, 1 or more.
    rng
        Source of randomness.
    distribution
        ``top``: along the axis, ``side``: at right angles to it (all azimuths), ``uniform``:
        anywhere.
    axis_xyz
        The preferred axis (x, y, z), any length. Unused for ``uniform``.
    spread_degrees
        Standard deviation of the angle by which views leave the axis (``top``, each of two
        directions) or the plane across it (``side``), above 0.
    uniform_fraction
        Chance, 0 to 1, that a view ignores the preference.

    Returns
    -------
    numpy.ndarray
        Unit vectors, ``(number, 3)``, order (x, y, z). A view and its opposite sample the same
        slice.

    Raises
    ------
    ConfigError
        If an argument is out of range.
    """
    axis = unit_axis_xyz(axis_xyz)
    _check_views(number, distribution, spread_degrees, uniform_fraction)
    anywhere = rng.standard_normal((number, 3))
    angles = np.radians(spread_degrees) * rng.standard_normal((number, 2))
    azimuth = rng.uniform(0.0, 2.0 * np.pi, number)
    ignores = rng.random(number) < uniform_fraction
    if distribution == "top":
        # two tilts at right angles: directions spread on the sphere like a Gaussian about the pole
        tilt = np.hypot(angles[:, 0], angles[:, 1])
    else:
        tilt = np.pi / 2 + angles[:, 0]
    first, second = _vectors_across(axis)
    ring = np.cos(azimuth)[:, None] * first + np.sin(azimuth)[:, None] * second
    views = np.cos(tilt)[:, None] * axis + np.sin(tilt)[:, None] * ring
    if distribution == "uniform":
        ignores[:] = True
    views[ignores] = anywhere[ignores]
    return views / np.linalg.norm(views, axis=1, keepdims=True)


def _check_views(
    number: int, distribution: str, spread_degrees: float, uniform_fraction: float
) -> None:
    if number < 1:
        raise ConfigError(f"number of views: found {number}, expected 1 or more")
    if distribution not in ("top", "side", "uniform"):
        raise ConfigError(f"views: found {distribution!r}, expected top, side or uniform")
    if not spread_degrees > 0:
        raise ConfigError(f"view spread: found {spread_degrees} degrees, expected above 0")
    if not 0.0 <= uniform_fraction <= 1.0:
        raise ConfigError(f"uniform fraction: found {uniform_fraction}, expected 0 to 1")


def _vectors_across(axis: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two unit vectors that make a right-handed frame with a unit axis."""
    helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
    first = np.cross(helper, axis)
    first /= np.linalg.norm(first)
    return first, np.cross(axis, first)


def central_slice_sampling(box_size_px: int, views_xyz: NDArray[np.floating]) -> FloatVolume:
    """Count the central slices that pass each Fourier voxel.

    The projection along v fills the plane through the origin at right angles to v. Like the
    insertion with linear interpolation that a reconstruction uses, a slice counts ``max(0, 1 -
    distance)`` for a voxel at that distance (in Fourier pixels) from its plane. At radius r >= 1
    the mean over all directions is ``number / (2 r)`` whatever the views are.

    Parameters
    ----------
    box_size_px
        Edge n of the cubic box, 2 or more.
    views_xyz
        Unit vectors, ``(number, 3)``, order (x, y, z).

    Returns
    -------
    numpy.ndarray
        float32, ``(n, n, n)`` (z, y, x), centred; 0 beyond the Nyquist sphere (rounded radius
        n//2).

    Raises
    ------
    ConfigError
        If the box is too small or the views are not unit vectors.
    """
    views = np.asarray(views_xyz, dtype=np.float32)
    if box_size_px < 2:
        raise ConfigError(f"box size: found {box_size_px} px, expected 2 or more")
    if views.ndim != 2 or views.shape[1:] != (3,) or len(views) == 0:
        raise ConfigError(f"views: found shape {views.shape}, expected (number, 3)")
    if not np.allclose(np.linalg.norm(views, axis=1), 1.0, atol=1e-3):
        raise ConfigError("views: found vectors whose length is not 1, expected unit vectors")
    n, centre = box_size_px, box_size_px // 2
    within = np.asarray(shell_index(n)) <= centre
    # slices are symmetric: the planes z <= 0 are enough, the others are their Friedel mates
    points_zyx = np.argwhere(within[: centre + 1])
    points_xyz = (points_zyx[:, ::-1] - centre).astype(np.float32)
    counts = np.empty(len(points_xyz), dtype=np.float32)
    block = max(1, _VALUES_PER_BLOCK // len(views))
    for start in range(0, len(points_xyz), block):
        distance = np.abs(points_xyz[start : start + block] @ views.T)  # (points, views)
        np.subtract(1.0, distance, out=distance)
        counts[start : start + block] = np.maximum(distance, 0.0, out=distance).sum(axis=1)
    sampling = np.zeros((n, n, n), dtype=np.float32)
    sampling[tuple(points_zyx.T)] = counts
    mate = friedel_mate(sampling)
    sampling[centre + 1 :] = mate[centre + 1 :]
    # an even box holds only the negative Nyquist planes: make them agree with their mates
    return friedel_average(sampling).astype(np.float32)


def even_out_shells(sampling: FloatVolume) -> FloatVolume:
    """Divide a sampling volume by its mean on each shell, so that 1 is even sampling.

    Parameters
    ----------
    sampling
        ``(n, n, n)``, centred, not negative.

    Returns
    -------
    numpy.ndarray
        float32, same shape: the mean over each sampled shell is 1; empty shells stay 0.

    Raises
    ------
    ConfigError
        If the volume is not a cube or holds negative or non-finite values.
    """
    if sampling.ndim != 3 or len(set(sampling.shape)) != 1:
        raise ConfigError(f"sampling: found shape {sampling.shape}, expected a cube")
    if not np.all(np.isfinite(sampling)) or float(sampling.min()) < 0:
        raise ConfigError("sampling: found negative or non-finite values, expected 0 or more")
    n = sampling.shape[0]
    # beyond Nyquist shells are cut by the box, so one mean serves all corners
    shells = np.minimum(np.asarray(shell_index(n)), n // 2 + 1).ravel()
    means = np.bincount(shells, weights=sampling.ravel()) / np.bincount(shells)
    safe = np.where(means > 0, means, 1.0)
    return (sampling / safe[shells].reshape(sampling.shape)).astype(np.float32)
