"""Poses: Euler angles and shifts of RELION, the 4x4 matrix of Scipion, and between them.

Let A be RELION's matrix of (rot, tilt, psi) and s its origin in voxels. A point x_ref of the
reference lies at ``A x_ref - s`` in the particle, both counted from the centre of the box. Scipion
stores ``M = [A^T | A^T s]``, which leads from the particle to the reference.
"""

import numpy as np

_DEGENERATE = 1e-8
_ORTHOGONAL = 1e-3


def eulerToMatrix(rot, tilt, psi):
    """Return A (3, 3) of RELION's angles in degrees: ``Rz(-psi) Ry(-tilt) Rz(-rot)``."""
    return _aroundZ(psi) @ _aroundY(tilt) @ _aroundZ(rot)


def matrixToEuler(matrix):
    """Return rot, tilt, psi in degrees of A; tilt from 0 to 180, psi 0 where only a sum counts."""
    a = np.asarray(matrix, dtype=float)
    across = np.hypot(a[2, 0], a[2, 1])
    tilt = np.degrees(np.arctan2(across, a[2, 2]))
    if across > _DEGENERATE:
        rot = np.arctan2(a[2, 1], a[2, 0])
        psi = np.arctan2(a[1, 2], -a[0, 2])
        return float(np.degrees(rot)), float(tilt), float(np.degrees(psi))
    sign = 1.0 if a[2, 2] > 0 else -1.0
    rot = np.arctan2(sign * a[0, 1], sign * a[0, 0])
    return float(np.degrees(rot)), float(tilt), 0.0


def poseToTransform(rotation, shift):
    """Return Scipion's M (4, 4) of A and s in voxels."""
    rotation = np.asarray(rotation, dtype=float)
    transform = np.eye(4)
    transform[:3, :3] = rotation.T
    transform[:3, 3] = rotation.T @ np.asarray(shift, dtype=float)
    return transform


def transformToPose(transform):
    """Return A (3, 3) and s (3,) in voxels of Scipion's M.

    Raises
    ------
    ValueError
        A matrix that mirrors, stretches or shears.
    """
    transform = np.asarray(transform, dtype=float)
    rotation = transform[:3, :3].T
    turns = np.allclose(rotation @ rotation.T, np.eye(3), atol=_ORTHOGONAL)
    if not turns or np.linalg.det(rotation) < 0:
        raise ValueError(
            f"transform: found a matrix with determinant {np.linalg.det(rotation):.3g} that is no "
            "rotation, expected rotation and shift only; align the particles without mirrors or "
            "changes of scale"
        )
    return rotation, rotation @ transform[:3, 3]


def transformToRelionMatrix(transform):
    """Return N = [A^T | -s], what Scipion calls the matrix in RELION's convention."""
    rotation, shift = transformToPose(transform)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.T
    matrix[:3, 3] = -shift
    return matrix


def combinePose(boxRotation, rotation, origin):
    """Return A and s of a pose of RELION 5: a box that was turned, and the particle in it.

    Parameters
    ----------
    boxRotation : (3, 3) array
        Matrix of ``rlnTomoSubtomogramRot/Tilt/Psi``; the identity where there is none.
    rotation : (3, 3) array
        Matrix of ``rlnAngleRot/Tilt/Psi``.
    origin : (3,) array
        ``rlnOriginX/Y/ZAngst`` in the frame of the turned box, in any unit, which s then has.
    """
    boxRotation = np.asarray(boxRotation, dtype=float)
    return boxRotation @ np.asarray(rotation), boxRotation @ np.asarray(origin, dtype=float)


def splitPose(boxRotation, rotation, shift):
    """Return rotation and origin inside a turned box; the inverse of `combinePose`."""
    back = np.asarray(boxRotation, dtype=float).T
    return back @ np.asarray(rotation), back @ np.asarray(shift, dtype=float)


def pixelsToCentred(position, size, pixelSize):
    """Return ``rlnCenteredCoordinate*Angst`` of a position in voxels from the first one.

    Parameters
    ----------
    position, size : (3,) array
        In unbinned voxels, (x, y, z).
    pixelSize : float
        Of the unbinned tomogram, Å.
    """
    return (np.asarray(position, dtype=float) - np.asarray(size) / 2) * pixelSize


def centredToPixels(centred, size, pixelSize):
    """Return the position in voxels of ``rlnCenteredCoordinate*Angst``."""
    return np.asarray(centred, dtype=float) / pixelSize + np.asarray(size) / 2


def _aroundZ(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def _aroundY(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
