"""Small rigid motions of a density: those that correct poses, and those that are tried beside it.

A motion (w, t) moves what is at x to ``C x + t``, where C turns by the vector w. The pose of a
particle that shows the moved density is (A C, s - A t).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def rotation_matrices(vectors: Tensor) -> Tensor:
    """Return the rotations (b, 3, 3) by vectors (b, 3) in radians; with a gradient at zero too."""
    zero = torch.zeros_like(vectors[:, 0])
    x, y, z = vectors.unbind(1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    found: Tensor = torch.linalg.matrix_exp(cross)
    return found


def moved(density: Tensor, vectors: Tensor, shifts_px: Tensor) -> Tensor:
    """Move densities (b, t, t, t) by rotation vectors and shifts (x, y, z) in their voxels.

    Trilinear about the centre voxel; a motion of zero changes nothing.
    """
    edge = density.shape[-1]
    axis = torch.arange(edge, device=density.device, dtype=density.dtype) - edge // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(1, -1, 3)
    # The source of x is C^T (x - t): as rows, (x - t) C.
    source = (points - shifts_px[:, None]) @ rotation_matrices(vectors)
    grid = (source + edge // 2) * (2.0 / (edge - 1)) - 1
    grid = grid.reshape(len(density), edge, edge, edge, 3)
    found = functional.grid_sample(density[:, None], grid, align_corners=True)
    return found[:, 0]


def hypotheses(count: int, angle_degrees: float = 1.5) -> Tensor:
    """Return rotation vectors (count, 3) to try: none, then either way about each axis.

    Their mean is zero, so that the density has no reason to turn.
    """
    axes = torch.eye(3) * math.radians(angle_degrees)
    return torch.cat([torch.zeros(1, 3), axes, -axes])[:count]


def corrected_poses(
    rotations: NDArray[np.float64],
    shifts_px: NDArray[np.float64],
    vectors: NDArray[np.float64],
    moves_px: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return poses (A C, s - A t) of particles whose densities move by (w, t).

    Parameters
    ----------
    rotations, shifts_px : (n, 3, 3) and (n, 3)
        A and s.
    vectors, moves_px : (n, 3)
        w in radians and t.
    """
    turned = rotations @ rotation_matrices(torch.as_tensor(vectors, dtype=torch.float64)).numpy()
    return turned, shifts_px - np.einsum("nij,nj->ni", rotations, moves_px)
