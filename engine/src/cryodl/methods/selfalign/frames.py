"""Half sets brought into one frame: half 2 turned onto half 1, its classes in the same order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cryodl.core.alignment.aligner import Aligner
from cryodl.core.alignment.reference import MapReference
from cryodl.core.alignment.rotation_grid import rotation_vectors_to_matrices
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, observe
from cryodl.core.fourier.filters import low_pass
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.methods.selfalign.averaging import default_mask

Map = NDArray[np.float32]
Floats = NDArray[np.float64]
_SAME_FRAME_DEGREES, _SAME_FRAME_PX = 0.5, 0.1


def turn_between_halves(
    half1: Map, half2: Map, settings: SearchSettings, *, everywhere: bool, device: str
) -> tuple[Floats, Floats] | None:
    """Find how half map 2 lies against half map 1: frames may drift.

    Parameters
    ----------
    half1, half2 : (n, n, n) array
        Averages.
    settings : SearchSettings
        Of the run; its symmetry decides what may have drifted.
    everywhere : bool
        True searches all rotations, False about none.
    device : str
        Of torch.

    Returns
    -------
    (3, 3), (3,) arrays, or None
        G and d of ``x_2 = G x_1 - d``. None where the maps lie on each other, as always with more
        axes than one.
    """
    n, symmetry = half1.shape[0], settings.symmetry.strip().upper()
    if not symmetry.startswith("C"):
        return None
    points = FourierPoints(n, max(4, n // 4), device)
    chosen = replace(settings, max_shift_px=n / 6, coarse_shell=min(8, n // 4))
    aligner = Aligner(MapReference(half1, points, default_mask(n)), chosen)
    seen = observe(points, half2[None])
    if everywhere:
        found = aligner.align(seen, "exhaustive")
    else:
        upright = np.eye(3)[None]
        found = aligner.align(seen, "refine", rotations=upright, shifts_px=np.zeros((1, 3)))
    turn, shift = found.rotations[0], found.shifts_px[0]
    if symmetry != "C1":
        # About the axis and along it: nothing else keeps the axis where it is.
        angle = np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])
        turn = rotation_vectors_to_matrices([0.0, 0.0, angle])
        shift = shift * [0.0, 0.0, 1.0]
    near = angular_distance_degrees(turn, np.eye(3)) < _SAME_FRAME_DEGREES
    if near and np.linalg.norm(shift) < _SAME_FRAME_PX:
        return None
    return turn, shift


def moved_poses(
    rotations: Floats, shifts_px: Floats, turn: Floats, shift: Floats
) -> tuple[Floats, Floats]:
    """Return poses against half map 1 of poses against half map 2.

    With ``x_2 = G x_1 - d`` it is ``A x_2 - s = (A G) x_1 - (s + A d)``.
    """
    return rotations @ turn, shifts_px + np.einsum("nij,j->ni", rotations, shift)


def order_of_classes(half1: Map, half2: Map, pixel_size_angstrom: float) -> NDArray[np.int64]:
    """Return which map of half 1 each map of half 2 is like, each one once.

    Parameters
    ----------
    half1, half2 : (K, n, n, n) array
        Averages of the classes.
    pixel_size_angstrom : float
        Of the maps.

    Returns
    -------
    ndarray, (K,) int64
        Number, from 0, in half 1 of each class of half 2.
    """
    mask = default_mask(half1.shape[1]).astype(np.float64)

    def flat(maps: Map) -> Floats:
        smooth = [low_pass(one, 6 * pixel_size_angstrom, pixel_size_angstrom) for one in maps]
        rows = [((one - np.average(one, weights=mask)) * mask).ravel() for one in smooth]
        return np.stack([row / max(float(np.linalg.norm(row)), 1e-20) for row in rows])

    rows, columns = linear_sum_assignment(flat(half2) @ flat(half1).T, maximize=True)
    order = np.empty(len(half1), dtype=np.int64)
    order[rows] = columns
    return order
