"""Poses that compete for a particle (torch)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Candidates(NamedTuple):
    """Some poses of each of b particles.

    Attributes
    ----------
    rotations : Tensor, (b, c, 3, 3)
    shifts : Tensor, (b, c, 3)
    scores : Tensor, (b, c)
        Minus infinity for places that are empty, or that were not scored yet.
    """

    rotations: Tensor
    shifts: Tensor
    scores: Tensor


def gather(found: Candidates, rows: Tensor) -> Candidates:
    """Return the candidates of the indices (b, m)."""
    rows = rows.to(found.scores.device)
    return Candidates(
        found.rotations.gather(1, rows[..., None, None].expand(-1, -1, 3, 3)),
        found.shifts.gather(1, rows[..., None].expand(-1, -1, 3)),
        found.scores.gather(1, rows),
    )


def merge(first: Candidates, second: Candidates) -> Candidates:
    """Put two lists of candidates together."""
    return Candidates(*(torch.cat([a, b], dim=1) for a, b in zip(first, second)))


def distinct(
    found: Candidates, keep: int, apart_degrees: float, group: NDArray[np.float64]
) -> Candidates:
    """Return the best candidates that lie apart from better ones, best first.

    Parameters
    ----------
    found : Candidates
        In any order.
    keep : int
        How many of each particle; where there are fewer the worst of the rest fill up, with a
        score of minus infinity.
    apart_degrees : float
        Smallest angle between two, up to the symmetry.
    group : (g, 3, 3) array
        Of the reference.

    Returns
    -------
    Candidates
        Of min(keep, c) poses a particle.
    """
    scores, order = found.scores.sort(dim=1, descending=True)
    ordered = gather(found, order)
    keep = min(keep, scores.shape[1])
    matrices = torch.as_tensor(group, device=scores.device).to(ordered.rotations)
    limit = 1 + 2 * math.cos(math.radians(apart_degrees))
    left = scores.clone()
    rows, kept = [], []
    for _ in range(keep):
        best, row = left.max(dim=1)
        rows.append(row)
        kept.append(best)
        chosen = ordered.rotations[torch.arange(len(row)), row]
        # Trace of A^T B g: the larger, the closer.
        equivalent = torch.einsum("bij,gkj->bgik", chosen, matrices)
        trace = torch.einsum("bgik,bcik->bgc", equivalent, ordered.rotations).amax(dim=1)
        left = torch.where(trace > limit, -torch.inf, left)
        left[torch.arange(len(row)), row] = -torch.inf
    result = gather(ordered, torch.stack(rows, dim=1))
    return Candidates(result.rotations, result.shifts, torch.stack(kept, dim=1))
