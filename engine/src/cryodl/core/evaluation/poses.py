"""Poses against true ones, also where the reference of the poses lies elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.geometry.symmetry import symmetry_matrices


@dataclass(frozen=True)
class Poses:
    """Rotations (N, 3, 3) and shifts in pixels (N, 3)."""

    rotations: NDArray[np.float64]
    shifts_px: NDArray[np.float64]

    def subset(self, rows: NDArray[np.int64]) -> Poses:
        """Return some of them."""
        return Poses(self.rotations[rows], self.shifts_px[rows])


def in_frame_of(found: Poses, true: Poses, symmetry: str) -> Poses:
    """Turn and move the reference of some poses onto that of the others, as well as it can be.

    Parameters
    ----------
    found, true : Poses
        Of the same particles in the same order.
    symmetry : str
        Point group of the reference.
    """
    # A_true = A_found g, with g the same for all: the most common one, made better by a mean.
    between = np.swapaxes(found.rotations, 1, 2) @ true.rotations
    group = symmetry_matrices(symmetry)
    distances = np.stack([angular_distance_degrees(between, g, symmetry) for g in between])
    frame = between[np.median(distances, axis=1).argmin()]
    equivalent = np.einsum("nij,gjk->ngik", between, group)
    for within_degrees in (30.0, 10.0):  # wrong poses that lie near by chance drop out
        nearest = np.einsum("ngij,ij->ng", equivalent, frame).argmax(axis=1)
        chosen = equivalent[np.arange(len(between)), nearest]
        close = angular_distance_degrees(chosen, frame) < within_degrees
        if close.any():
            u, _, v = np.linalg.svd(chosen[close].sum(axis=0))
            frame = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    rotations = found.rotations @ frame
    # The origin of the reference may lie elsewhere: s_true = s_found + A d.
    offset = np.median(np.einsum("nji,nj->ni", rotations, true.shifts_px - found.shifts_px), axis=0)
    return Poses(rotations, found.shifts_px + np.einsum("nij,j->ni", rotations, offset))
