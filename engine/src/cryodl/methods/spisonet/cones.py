"""Sums over cones of directions on the shells of a Friedel-symmetric Fourier volume.

The cone of voxel p on shell r is the set of voxels q of the *same* rounded shell with
``|p - q| <= 2 r sin(theta / 2)``; theta is the cone's half-angle.

The sums are exact. They are affordable because the lattice has the 48 symmetries of the cube: the
neighbours of ``g p`` are ``g`` applied to the neighbours of p, so neighbours are looked for around
1/48 of the voxels alone, and each list serves 24 voxels at once (the other 24 are their
Friedel mates). A list is kept as a row of a 0/1 matrix over a small patch of the shell, and the
sums are a dense matrix product of it with the 24 rotated copies of the patch's values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import ConfigError

# Patches of this many voxels square keep the 0/1 matrix within a processor's cache.
_ROWS, _COLUMNS = 256, 1024
# Below this shell the patch of a cone is the whole shell.
_SMALL_SHELL = 12
# Angle of the farthest direction of the wedge x >= y >= z >= 0 from its middle, rounded up.
_WEDGE_RADIUS_DEGREES = 28.0
# The middle: equally far from (1, 0, 0) and (1, 1, 1).
_WEDGE_MIDDLE_XYZ = np.array([0.8881, 0.3679, 0.2759])


@dataclass(frozen=True)
class ShellCones:
    """Cone sums of one shell, for the voxels of one wedge and their 24 rotated copies.

    Attributes
    ----------
    shell : int
        Rounded radius r.
    voxels : (p, 24) ndarray of int
        Flat index of each voxel in the centred volume.
    mates : (p, 24) ndarray of int
        Flat index of the opposite voxel, whose sums are the same.
    sums : (k, p, 24) ndarray
        Sum of each of the k volumes over the cone of each voxel.
    cone_size : (p,) ndarray
        Voxels in the cone, the same for all copies of a voxel.
    multiplicity : (p,) ndarray
        How many different voxels the 48 copies are; copies of a voxel on a symmetry plane or
        axis coincide.
    """

    shell: int
    voxels: NDArray[np.intp]
    mates: NDArray[np.intp]
    sums: NDArray[np.floating[Any]]
    cone_size: NDArray[np.floating[Any]]
    multiplicity: NDArray[np.float64]


def last_complete_shell(n: int) -> int:
    """Largest shell of which every voxel and its Friedel mate lie in a box of `n` px."""
    return (n - 1) // 2


def iterate_cones(
    volumes: Sequence[NDArray[np.float32]],
    last_shell: int,
    cone_half_angle_degrees: float,
    *,
    double_precision: bool = False,
) -> Iterator[ShellCones]:
    """Sum centred Friedel-symmetric volumes over the cones of shells 1 to `last_shell`.

    Parameters
    ----------
    volumes : sequence of (n, n, n) float32 ndarrays
        Values with v(k) = v(-k), zero frequency at voxel ``n // 2``.
    last_shell : int
        At most `last_complete_shell(n)`.
    cone_half_angle_degrees : float
        Above 0, up to 180.
    double_precision : bool
        Add up in double instead of single precision.

    Yields
    ------
    ShellCones
        One per shell, from shell 1 up.

    Raises
    ------
    ConfigError
        If the angle or the shell is out of range.
    """
    n = volumes[0].shape[0]
    if not 0 < cone_half_angle_degrees <= 180:
        raise ConfigError(
            f"cone half-angle: {cone_half_angle_degrees} degrees; give more than 0, up to 180"
        )
    if last_shell > last_complete_shell(n):
        raise ConfigError(
            f"last shell: {last_shell} px, but a box of {n} px holds {last_complete_shell(n)}"
        )
    centre = (n // 2) * (n * n + n + 1)
    steps = _rotated_strides(n)
    flat = [np.ascontiguousarray(volume).reshape(-1) for volume in volumes]
    wedge = _split_by_shell(_wedge_points(last_shell), last_shell)
    near = _points_near_wedge(last_shell, cone_half_angle_degrees)
    for shell in range(1, last_shell + 1):
        points, patch = wedge[shell], near[shell]
        offsets = (patch.astype(np.float64) @ steps).astype(np.intp) + centre
        table = np.concatenate([values[offsets] for values in flat] + [_ones(patch)], axis=1)
        table = table.astype(np.float64 if double_precision else np.float32, copy=False)
        # The chord in voxels; squared distances are integers, so rounding up by a hair is safe.
        chord = 2 * shell * math.sin(math.radians(cone_half_angle_degrees) / 2)
        square = math.floor(chord**2 + 1e-6)
        sums = _neighbour_sums(points, patch, table, square, cone_half_angle_degrees)
        voxels = (points.astype(np.float64) @ steps).astype(np.intp) + centre
        yield ShellCones(
            shell=shell,
            voxels=voxels,
            mates=2 * centre - voxels,
            sums=sums[:, :-1].reshape(len(points), len(flat), 24).transpose(1, 0, 2),
            cone_size=sums[:, -1],
            multiplicity=_multiplicity(points),
        )


def _ones(points: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.ones((len(points), 1), dtype=np.float32)


def _rotated_strides(n: int) -> NDArray[np.float64]:
    """Map x, y, z to the flat offset of each of 24 copies: (3, 24).

    The 24 are all permutations with all signs but a common one, which the Friedel mates give.
    """
    strides = np.array([1, n, n * n], dtype=np.float64)
    signs = [(1, s, t) for s in (1, -1) for t in (1, -1)]
    return np.array(
        [
            strides[list(order)] * sign
            for order in itertools.permutations(range(3))
            for sign in signs
        ]
    ).T


def _wedge_points(last_shell: int) -> NDArray[np.int32]:
    """All lattice points with x >= y >= z >= 0 up to a shell: (m, 3), order x, y, z."""
    axis = np.arange(last_shell + 1, dtype=np.int32)
    y, z = np.meshgrid(axis, axis, indexing="ij")
    y, z = y[y >= z], z[y >= z]
    limit = last_shell * (last_shell + 1)
    planes = []
    for x in axis:
        inside = (y <= x) & (y * y + z * z + x * x <= limit)
        planes.append(np.stack((np.full(inside.sum(), x), y[inside], z[inside]), axis=1))
    return np.asarray(np.concatenate(planes), dtype=np.int32)


def _split_by_shell(points: NDArray[np.int32], last_shell: int) -> list[NDArray[np.int32]]:
    """List the points of each shell 0 to `last_shell`."""
    shell = np.rint(np.sqrt((points.astype(np.int64) ** 2).sum(axis=1))).astype(np.int16)
    order = np.argsort(shell, kind="stable")
    ends = np.cumsum(np.bincount(shell, minlength=last_shell + 1))
    return np.split(points[order], ends[:-1])[: last_shell + 1]


def _widest_angle_degrees(shell: int, cone_half_angle_degrees: float) -> float:
    """Angle between voxels of a cone at most, radii of the shell being shell +- 1/2."""
    sine = shell * math.sin(math.radians(cone_half_angle_degrees) / 2) / (shell - 0.5)
    return 180.0 if sine >= 1 else 2 * math.degrees(math.asin(sine))


def _points_near_wedge(last_shell: int, cone_half_angle_degrees: float) -> list[NDArray[np.int32]]:
    """Points of each shell that may lie in a cone about a point of the wedge."""
    small = _split_by_shell(_ball_points(min(_SMALL_SHELL, last_shell), -1.0), _SMALL_SHELL)
    if last_shell <= _SMALL_SHELL:
        return small
    reach = _WEDGE_RADIUS_DEGREES + _widest_angle_degrees(_SMALL_SHELL, cone_half_angle_degrees)
    cosine = -1.0 if reach >= 180 else math.cos(math.radians(reach))
    large = _split_by_shell(_ball_points(last_shell, cosine), last_shell)
    return small + large[_SMALL_SHELL + 1 :]


def _ball_points(last_shell: int, least_cosine: float) -> NDArray[np.int32]:
    """Points of a ball within an angle of the wedge's middle: (m, 3), order x, y, z."""
    axis = np.arange(-last_shell, last_shell + 1, dtype=np.int32)
    y, z = np.meshgrid(axis, axis, indexing="ij")
    middle = (_WEDGE_MIDDLE_XYZ / np.linalg.norm(_WEDGE_MIDDLE_XYZ)).astype(np.float32)
    square_yz = y * y + z * z
    projection_yz = middle[1] * y.astype(np.float32) + middle[2] * z.astype(np.float32)
    planes = []
    for x in axis:
        square = square_yz + x * x
        inside = square <= last_shell * (last_shell + 1)
        if least_cosine > -1:
            projection = projection_yz + middle[0] * np.float32(x)
            inside &= projection >= least_cosine * np.sqrt(square, dtype=np.float32) - 1e-3
        planes.append(np.stack((np.full(inside.sum(), x), y[inside], z[inside]), axis=1))
    return np.asarray(np.concatenate(planes), dtype=np.int32)


def _multiplicity(points: NDArray[np.int32]) -> NDArray[np.float64]:
    """Different images of sorted non-negative points under the 48 symmetries of the cube."""
    equal = (points[:, 0] == points[:, 1]).astype(int) + (points[:, 1] == points[:, 2])
    orders = np.array([6, 3, 1])[equal]
    return np.asarray(orders * 2.0 ** (points > 0).sum(axis=1))


def _blocks(points: NDArray[np.int32], cone_half_angle_degrees: float) -> list[NDArray[np.intp]]:
    """Group the wedge's points into compact patches, about half a cone wide."""
    cells = max(1, math.ceil(45 / max(cone_half_angle_degrees / 2, 1.0)))
    u, v = (points[:, i] / points[:, 0] * cells for i in (1, 2))
    key = np.minimum(u.astype(int), cells - 1) * cells + np.minimum(v.astype(int), cells - 1)
    order = np.argsort(key, kind="stable")
    cuts = np.flatnonzero(np.diff(key[order])) + 1
    return np.split(order, cuts)


def _neighbour_sums(
    points: NDArray[np.int32],
    patch: NDArray[np.int32],
    table: NDArray[np.floating[Any]],
    square_px: int,
    cone_half_angle_degrees: float,
) -> NDArray[np.floating[Any]]:
    """Sum the rows of `table` whose patch points lie within a distance of each point."""
    sums = np.empty((len(points), table.shape[1]), dtype=table.dtype)
    # left . right = -|p - q|^2 / 2; half-integers below 2^23 are exact in single precision.
    left, right = _distance_factors(points), _distance_factors(patch)[:, [0, 1, 2, 4, 3]]
    for block in _blocks(points, cone_half_angle_degrees):
        middle = points[block].mean(axis=0, dtype=np.float64)
        reach = np.sqrt(((points[block] - middle) ** 2).sum(axis=1).max()) + math.sqrt(square_px)
        distance = ((patch - middle.astype(np.float32)) ** 2).sum(axis=1)
        near = np.flatnonzero(distance <= (reach + 1e-3) ** 2)
        for rows in np.array_split(block, math.ceil(len(block) / _ROWS)):
            total = np.zeros((len(rows), table.shape[1]), dtype=table.dtype)
            for columns in np.array_split(near, math.ceil(len(near) / _COLUMNS)):
                inside = left[rows] @ right[columns].T >= -square_px / 2
                total += inside.astype(table.dtype) @ table[columns]
            sums[rows] = total
    return sums


def _distance_factors(points: NDArray[np.int32]) -> NDArray[np.float32]:
    half_square = -0.5 * (points.astype(np.int64) ** 2).sum(axis=1, keepdims=True)
    factors = np.concatenate((points, half_square, _ones(points)), axis=1)
    return np.asarray(factors, dtype=np.float32)
