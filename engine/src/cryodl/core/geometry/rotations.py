"""Rotations in RELION's convention, exact rotations of a cube, and rotated volumes.

Matrices act on column vectors (x, y, z), actively: `A @ x_reference` is where a point of the
reference is found in the particle. Volumes are `[z, y, x]`. `docs/conventions.md` has worked
numbers.
"""

from __future__ import annotations

import itertools
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.conventions import centre_voxel
from cryodl.errors import InputError

Array = TypeVar("Array")

# Below this sine of the tilt, rot and psi turn about one axis and only their sum is defined.
_DEGENERATE_SINE = 1e-6
_ORTHOGONAL_TOLERANCE = 1e-3


def euler_to_matrix(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> NDArray[np.float64]:
    """Make rotation matrices from RELION's Euler angles.

    ``A = Rz(-psi) Ry(-tilt) Rz(-rot)``, with R the active rotations of column vectors.

    Parameters
    ----------
    rot, tilt, psi : array-like
        Degrees, as in ``rlnAngleRot``, ``rlnAngleTilt``, ``rlnAnglePsi``; shapes broadcast.

    Returns
    -------
    ndarray, (..., 3, 3) float64

    Raises
    ------
    InputError
        An angle is NaN or infinite.
    """
    angles = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (rot, tilt, psi)))
    for name, angle in zip(("rot", "tilt", "psi"), angles):
        if not np.isfinite(angle).all():
            raise InputError(
                f"angle {name}: {np.count_nonzero(~np.isfinite(angle))} of {angle.size} values are "
                "NaN or infinite, expected degrees; remove those particles"
            )
    (ca, cb, cg), (sa, sb, sg) = (
        [f(np.deg2rad(angle)) for angle in angles] for f in (np.cos, np.sin)
    )
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_euler(matrix: ArrayLike) -> NDArray[np.float64]:
    """Find RELION's Euler angles of rotation matrices.

    Parameters
    ----------
    matrix : (..., 3, 3) array
        Rotations.

    Returns
    -------
    ndarray, (..., 3) float64
        rot, tilt, psi in degrees, tilt from 0 to 180. Where tilt is 0 or 180 only one other angle
        is defined: psi is 0 then.

    Raises
    ------
    InputError
        A matrix is not a rotation.
    """
    a = _checked_rotation(matrix)
    sine = np.hypot(a[..., 2, 0], a[..., 2, 1])
    tilt = np.arctan2(sine, a[..., 2, 2])
    degenerate = sine < _DEGENERATE_SINE
    sign = np.where(a[..., 2, 2] < 0, -1.0, 1.0)
    rot = np.where(
        degenerate,
        np.arctan2(sign * a[..., 0, 1], sign * a[..., 0, 0]),
        np.arctan2(a[..., 2, 1], a[..., 2, 0]),
    )
    psi = np.where(degenerate, 0.0, np.arctan2(a[..., 1, 2], -a[..., 0, 2]))
    return np.rad2deg(np.stack([rot, tilt, psi], axis=-1))


def pose_matrix(rotation: ArrayLike, shift_px: ArrayLike) -> NDArray[np.float64]:
    """Make Scipion's 4 x 4 matrix, which maps particle points to reference points.

    Parameters
    ----------
    rotation : (..., 3, 3) array
        A of `euler_to_matrix`.
    shift_px : (..., 3) array
        RELION's origin s along x, y, z: ``x_particle = A x_reference - s``.

    Returns
    -------
    ndarray, (..., 4, 4) float64
        ``M = [A^T | A^T s]``.
    """
    inverse = np.swapaxes(_checked_rotation(rotation), -1, -2)
    shift = np.asarray(shift_px, dtype=np.float64)
    matrix = np.zeros((*np.broadcast_shapes(inverse.shape[:-2], shift.shape[:-1]), 4, 4))
    matrix[..., :3, :3] = inverse
    matrix[..., :3, 3] = np.einsum("...ij,...j->...i", inverse, shift)
    matrix[..., 3, 3] = 1.0
    return matrix


def pose_from_matrix(matrix: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Invert `pose_matrix`: return the rotation A and RELION's origin s in px."""
    full = np.asarray(matrix, dtype=np.float64)
    if full.ndim < 2 or full.shape[-2:] != (4, 4):
        raise InputError(f"pose matrix: shape {full.shape}, expected (..., 4, 4); give one as such")
    rotation = np.swapaxes(_checked_rotation(full[..., :3, :3]), -1, -2)
    return rotation, np.einsum("...ij,...j->...i", rotation, full[..., :3, 3])


def total_pose(
    subtomogram: ArrayLike, particle: ArrayLike, origin_px: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Join the two halves of a RELION 5 pose.

    Parameters
    ----------
    subtomogram, particle : (..., 3, 3) array
        Rotations of ``rlnTomoSubtomogramRot...`` and ``rlnAngleRot...``.
    origin_px : (..., 3) array
        Origin offset in the rotated frame of the box.

    Returns
    -------
    rotation, shift_px : ndarray
        ``A = A_sub A_part`` and ``s = A_sub o``.
    """
    sub, part = _checked_rotation(subtomogram), _checked_rotation(particle)
    return sub @ part, np.einsum("...ij,...j->...i", sub, np.asarray(origin_px, dtype=np.float64))


def cube_rotations() -> NDArray[np.int64]:
    """Return the 24 proper rotations of a cube, (24, 3, 3) integers, the identity first."""
    matrices = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3), dtype=np.int64)
            matrix[range(3), order] = signs
            if round(float(np.linalg.det(matrix))) == 1:
                matrices.append(matrix)
    return np.stack(matrices)


def rotate_cube(volume: Array, index: int) -> Array:
    """Rotate by one of the 24 rotations of a cube, without interpolation.

    The result is a view (of numpy arrays perhaps with negative strides: copy it before
    `torch.from_numpy`). Axes are turned and reversed as arrays: for odd boxes this is the
    rotation about the centre voxel ``n // 2``; for even boxes it is the rotation about the middle
    of the box, ``(n - 1) / 2``, so that the centre voxel moves by one where an axis is reversed.
    Every voxel is kept in either case, and rotations compose as their matrices do.

    Parameters
    ----------
    volume : (..., z, y, x) numpy array or torch tensor
        Leading axes are carried along.
    index : int
        Of `cube_rotations`, 0 to 23.

    Returns
    -------
    array of the same kind
        The voxel at p goes to R p.

    Raises
    ------
    InputError
        The index is not one of the 24, or there are fewer than three axes.
    """
    matrices = cube_rotations()
    ndim = len(volume.shape)  # type: ignore[attr-defined]
    if not 0 <= index < len(matrices) or ndim < 3:
        raise InputError(
            f"rotation {index} of {ndim} axes, expected 0 to {len(matrices) - 1} of three or more; "
            "give another index or a volume"
        )
    of_zyx = matrices[index][::-1, ::-1]
    lead = ndim - 3
    source_axis = np.abs(of_zyx).argmax(axis=1)
    order = [*range(lead), *(lead + int(axis) for axis in source_axis)]
    reversed_axes = tuple(lead + i for i in range(3) if of_zyx[i].sum() < 0)
    if isinstance(volume, np.ndarray):
        return np.flip(volume.transpose(order), reversed_axes)  # type: ignore[return-value]
    return volume.permute(order).flip(reversed_axes)  # type: ignore[attr-defined]


def random_rotations(n: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw rotations uniformly, (n, 3, 3): unit quaternions from four normal deviates."""
    q = generator.normal(size=(n, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def angular_distance_degrees(
    first: ArrayLike, second: ArrayLike, symmetry: str = "C1"
) -> NDArray[np.float64]:
    """Return the angle of the rotation from one pose to another.

    Parameters
    ----------
    first, second : (..., 3, 3) array
        Rotations; shapes broadcast.
    symmetry : str
        Point group of the reference: the smallest angle to any equivalent pose ``second @ g``.

    Returns
    -------
    ndarray, (...) float64
        0 to 180 degrees, exact at both ends.

    Raises
    ------
    InputError
        A matrix is not a rotation.
    ConfigError
        The group is unknown.
    """
    a, b = _checked_rotation(first), _checked_rotation(second)
    if symmetry.strip().upper() == "C1":
        return _angle_between(a, b)
    from cryodl.core.geometry.symmetry import symmetry_matrices

    smallest = np.full(np.broadcast_shapes(a.shape, b.shape)[:-2], 180.0)
    for matrix in symmetry_matrices(symmetry):
        smallest = np.minimum(smallest, _angle_between(a, b @ matrix))
    return smallest


def _angle_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    # The trace alone loses half the digits near 0, the difference alone near 180 degrees.
    sine_half = np.sqrt(np.square(a - b).sum(axis=(-1, -2)) / 8)
    cosine_half = np.sqrt(np.maximum(1 + (a * b).sum(axis=(-1, -2)), 0)) / 2
    return np.asarray(np.rad2deg(2 * np.arctan2(sine_half, cosine_half)))


def rotate_volume(
    volume: NDArray,
    matrix: ArrayLike,
    *,
    translation_px: ArrayLike = (0.0, 0.0, 0.0),
    order: int = 1,
    fill: float = 0.0,
) -> NDArray[np.float32]:
    """Move a reference into the pose of a particle.

    What is at x in the volume comes to ``A x + t``, with points about the centre voxel ``n // 2``.

    Parameters
    ----------
    volume : (z, y, x) array
        Any box.
    matrix : (3, 3) array
        A, acting on (x, y, z).
    translation_px : (3,) array
        t along x, y, z; minus RELION's origin.
    order : int
        Of the spline: 1 is linear, 3 is cubic.
    fill : float
        Value of what comes from outside the box.

    Returns
    -------
    ndarray, (z, y, x) float32

    Raises
    ------
    InputError
        `volume` is not three-dimensional, or `matrix` is not a rotation.
    """
    from scipy.ndimage import affine_transform

    if volume.ndim != 3:
        raise InputError(
            f"volume to rotate: shape {volume.shape}, expected three axes; give one volume"
        )
    inverse_zyx = _checked_rotation(matrix).T[::-1, ::-1]
    centre = np.array([centre_voxel(n) for n in volume.shape])
    translation_zyx = np.asarray(translation_px, dtype=np.float64)[::-1]
    offset = centre - inverse_zyx @ (centre + translation_zyx)
    return affine_transform(
        np.asarray(volume, dtype=np.float32),
        inverse_zyx,
        offset,
        order=order,
        mode="constant",
        cval=fill,
    )


def _checked_rotation(matrix: ArrayLike) -> NDArray[np.float64]:
    a = np.asarray(matrix, dtype=np.float64)
    if a.ndim < 2 or a.shape[-2:] != (3, 3):
        raise InputError(f"rotation: shape {a.shape}, expected (..., 3, 3); give 3 x 3 matrices")
    defect = np.abs(a @ np.swapaxes(a, -1, -2) - np.eye(3)).max(initial=0.0)
    if not defect < _ORTHOGONAL_TOLERANCE or not (np.linalg.det(a) > 0).all():
        raise InputError(
            f"rotation: A A^T differs from the identity by {defect:.3g} or A mirrors, expected "
            "proper rotations; check where the matrix comes from"
        )
    return a
