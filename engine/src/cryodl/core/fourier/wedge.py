"""What a tilt series sees of Fourier space: missing wedges and the slabs of single tilts.

The beam runs along z, the tilt axis lies in the xy plane. A tilt by t turns the specimen actively
by t about the axis, so that its image samples the central plane that the beam is normal to *in the
frame of the specimen*. All weights are centred, ``(n, n, n)``, and equal at opposite frequencies,
on the Nyquist planes of even boxes too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.grids import centred_axis_px, check_box_size, squared_radius_px
from cryodl.core.fourier.transform import cubic_box_size, friedel_average
from cryodl.errors import ConfigError, InputError

Slab = Literal["triangle", "sinc"]


def tilt_rotations(
    tilt_angles_degrees: ArrayLike, tilt_axis_degrees: float = 90.0
) -> NDArray[np.float64]:
    """Return the rotations of the specimen at each tilt.

    Parameters
    ----------
    tilt_angles_degrees : (K,) array
        Tilts.
    tilt_axis_degrees : float
        Direction of the tilt axis from x in the xy plane; 90 is along y.

    Returns
    -------
    ndarray, (K, 3, 3) float64
        R, active on points (x, y, z): a point p of the specimen is at R p when the image is
        taken, and projected along z. For an axis along y row 0 is (cos t, 0, sin t), as in IMOD.

    Raises
    ------
    ConfigError
        No angles, or some that are not finite.
    """
    angles = np.atleast_1d(np.asarray(tilt_angles_degrees, dtype=np.float64))
    if angles.ndim != 1 or angles.size == 0 or not np.isfinite(angles).all():
        raise ConfigError(
            f"tilt angles: shape {angles.shape}, {np.count_nonzero(~np.isfinite(angles))} not "
            "finite; expected one finite number of degrees a tilt; give them"
        )
    axis = math.radians(_finite("tilt axis", tilt_axis_degrees))
    along = np.array([math.cos(axis), math.sin(axis), 0.0])
    cross = np.array([[0.0, 0.0, along[1]], [0.0, 0.0, -along[0]], [-along[1], along[0], 0.0]])
    t = np.deg2rad(angles)[:, None, None]
    # Rodrigues; `cross @ v` is the axis times v.
    return np.cos(t) * np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * np.outer(along, along)


def missing_wedge(
    n: int,
    tilt_min_degrees: float,
    tilt_max_degrees: float,
    *,
    tilt_axis_degrees: float = 90.0,
    edge_px: float = 1.0,
    nyquist_limit: bool = False,
) -> NDArray[np.float32]:
    """Make the weight of a tilt range without gaps.

    Parameters
    ----------
    n : int
        Box size, odd or even.
    tilt_min_degrees, tilt_max_degrees : float
        Within -90 to 90, the smaller first.
    tilt_axis_degrees : float
        From x in the xy plane; 90 is along y.
    edge_px : float
        Width over which the weight falls from 1 on the border planes to 0 outside; 1 px is the
        thickness of what one tilt of an object of the box's size fills. 0 gives a hard edge.
    nyquist_limit : bool
        Set frequencies beyond the radius n / 2 to 0.

    Returns
    -------
    ndarray, (n, n, n) float32
        1 where measured, 0 where not; always 1 at zero frequency and along the tilt axis.

    Raises
    ------
    ConfigError
        A range or edge that makes no sense.
    """
    low, high = _finite("tilt range", tilt_min_degrees), _finite("tilt range", tilt_max_degrees)
    if not -90 <= low < high <= 90:
        raise ConfigError(
            f"tilt range: {low:g} to {high:g} degrees, expected the smaller first, within -90 to "
            "90; give it so"
        )
    if not (math.isfinite(edge_px) and edge_px >= 0):
        raise ConfigError(f"wedge: edge {edge_px} px, expected 0 or more; give another width")
    above, below = _depths(n, tilt_rotations([low, high], tilt_axis_degrees))
    # Inside, a frequency lies above the first plane and below the second; its opposite likewise.
    inside = np.maximum(np.minimum(above, -below), np.minimum(-above, below))
    if edge_px > 0:
        weight = np.clip(1 + inside / edge_px, 0, 1)
    else:
        weight = (inside >= -1e-6 * n).astype(np.float64)
    return _finished(weight, nyquist_limit)


def tilt_sampling(
    n: int,
    tilt_angles_degrees: ArrayLike,
    *,
    tilt_axis_degrees: float = 90.0,
    weights: ArrayLike | None = None,
    slab: Slab = "triangle",
    thickness_px: float = 1.0,
    combine: Literal["coverage", "sum"] = "coverage",
    nyquist_limit: bool = True,
) -> NDArray[np.float32]:
    """Make the weight of a list of tilts, each of which fills a slab of Fourier space.

    Parameters
    ----------
    n : int
        Box size, odd or even.
    tilt_angles_degrees : (K,) array
        Tilts in any order.
    tilt_axis_degrees : float
        From x in the xy plane; 90 is along y.
    weights : (K,) or (K, n // 2 + 1) array, optional
        Of each tilt, or of each tilt and shell (``dose_weight`` of the shells); 1 by default.
    slab : "triangle" or "sinc"
        Profile across the slab: trilinear insertion, or the transform of a box.
    thickness_px : float
        Distance from the plane at which the profile reaches 0; 1 for an object of the box's size.
    combine : "coverage" or "sum"
        Cut the sum of the slabs at 1 (what a weighted back-projection passes), or leave it: what
        an unweighted one passes, the number of tilts at zero frequency.
    nyquist_limit : bool
        Set frequencies beyond the radius n / 2 to 0.

    Returns
    -------
    ndarray, (n, n, n) float32

    Raises
    ------
    ConfigError
        A parameter out of its range.
    """
    rotations = tilt_rotations(tilt_angles_degrees, tilt_axis_degrees)
    given = np.ones(len(rotations)) if weights is None else np.asarray(weights, dtype=np.float64)
    n_shells = check_box_size(n) // 2 + 1
    if given.shape not in ((len(rotations),), (len(rotations), n_shells)):
        raise ConfigError(
            f"tilt weights: shape {given.shape}, expected ({len(rotations)},) or "
            f"({len(rotations)}, {n_shells}); give one a tilt, or one a tilt and shell"
        )
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ConfigError("tilt weights: found negative or infinite ones, expected 0 or more")
    shell = np.minimum(np.rint(np.sqrt(squared_radius_px(n))).astype(np.intp), n_shells - 1)
    total = np.zeros((n, n, n))
    for depth, weight in zip(_depths(n, rotations), given):
        factor = weight[shell] if given.ndim == 2 else weight
        total += factor * slab_profile(depth, slab=slab, thickness_px=thickness_px)
    return _finished(np.minimum(total, 1) if combine == "coverage" else total, nyquist_limit)


def slab_profile(
    depth_px: NDArray[np.floating], *, slab: Slab = "triangle", thickness_px: float = 1.0
) -> NDArray[np.float64]:
    """Return the weight at a distance from the plane of a tilt, 1 on it and 0 from the thickness.

    Raises
    ------
    ConfigError
        An unknown profile, or a thickness that is not positive.
    """
    if not (math.isfinite(thickness_px) and thickness_px > 0):
        raise ConfigError(f"slab: thickness {thickness_px} px, expected a positive number")
    distance = np.minimum(np.abs(depth_px) / thickness_px, 1.0)
    if slab == "triangle":
        return np.asarray(1.0 - distance)
    if slab == "sinc":
        return np.asarray(np.sinc(distance))
    raise ConfigError(f"slab: {slab!r} is unknown; give triangle or sinc")


def rotate_wedge(weight: NDArray, rotation: ArrayLike) -> NDArray[np.float32]:
    """Turn a centred Fourier weight: what is at k comes to R k (trilinear).

    With the pose A of a particle (``x_particle = A x_reference - s``) the weight of the particle
    stands in the frame of the reference after ``rotate_wedge(weight, A.T)``; shifts leave it.

    Parameters
    ----------
    weight : (n, n, n) array
        Equal at opposite frequencies.
    rotation : (3, 3) array
        R, on (x, y, z).

    Returns
    -------
    ndarray, (n, n, n) float32
        Frequencies from beyond the box are taken from its border.

    Raises
    ------
    InputError
        `weight` is not cubic, or `rotation` not (3, 3).
    """
    from scipy.ndimage import map_coordinates

    n = cubic_box_size(weight, "wedge")
    matrix = np.asarray(rotation, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3):
        raise InputError(
            f"rotation: shape {matrix.shape}, expected an orthogonal (3, 3) matrix; give one"
        )
    extended = with_positive_nyquist(np.asarray(weight, dtype=np.float32))
    # Row i of R^T in the order x, y, z gives source component i.
    sources = [depth + n // 2 for depth in _planes(n, matrix.T[::-1])]
    turned = map_coordinates(extended, sources, order=1, mode="nearest")
    return friedel_average(turned).astype(np.float32)


def with_positive_nyquist(values: NDArray) -> NDArray:
    """Repeat the planes at -n / 2 of an even centred box at +n / 2, so that it has both."""
    if values.shape[-1] % 2:
        return values
    return np.pad(values, ((0, 1),) * 3, mode="wrap")


def _depths(n: int, rotations: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield the height of every frequency along the beam at each tilt, in px."""
    return _planes(n, rotations[:, 2])


def _planes(n: int, rows: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    axis = centred_axis_px(n).astype(np.float64)
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    for row in rows:
        yield row[0] * x + row[1] * y + row[2] * z


def _finished(weight: NDArray[np.float64], nyquist_limit: bool) -> NDArray[np.float32]:
    # A voxel of a Nyquist plane stands for both signs of that frequency, so for the mean of both.
    symmetric = friedel_average(weight)
    if nyquist_limit:
        n = weight.shape[0]
        symmetric = np.where(4 * squared_radius_px(n) <= n * n, symmetric, 0)
    return symmetric.astype(np.float32)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"{name}: {value} degrees, expected a finite number; give one")
    return float(value)
