"""Turns in which a reference looks much like itself, and the poses that they confuse (torch).

A search that ends a turn away from the right pose has found nearly as good a score, and a local
search does not lead back: the other pose must be tried.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cryodl.core.alignment.candidates import Candidates

# Of the agreement of the reference with itself, and further from no turn than this.
ALIKE = 0.7
APART_DEGREES = 30.0
MOST = 4


def chosen_lookalikes(found: Candidates, itself: float, group: Tensor) -> Candidates | None:
    """Choose the turns under which a reference is like itself, from a search of it against itself.

    Parameters
    ----------
    found : Candidates
        Of one "particle", the reference; apart from each other.
    itself : float
        Score of the reference against itself.
    group : (g, 3, 3) Tensor
        Its symmetry: what it leaves the same is no other pose.

    Returns
    -------
    Candidates or None
        At most 4, or None where there is none.
    """
    traces = torch.einsum("bcij,gij->bcg", found.rotations, group.to(found.rotations)).amax(dim=2)
    limit = 1 + 2 * torch.cos(torch.deg2rad(torch.tensor(APART_DEGREES)))
    rows = torch.nonzero((traces[0] < limit) & (found.scores[0] > ALIKE * itself))[:MOST, 0]
    if len(rows) == 0:
        return None
    return Candidates(found.rotations[:, rows], found.shifts[:, rows], found.scores[:, rows])


def with_lookalikes(found: Candidates, alike: Candidates) -> Candidates:
    """Return for the first pose of each particle those that look like it, taken for as good.

    With ``x = A x_ref - s`` and the reference like itself at ``G x_ref - d``, the particle is like
    the reference at ``A G x_ref - (s + A d)`` too.
    """
    first, shift = found.rotations[:, :1], found.shifts[:, :1]
    rotations = first @ alike.rotations
    shifts = shift + (first @ alike.shifts[..., None])[..., 0]
    return Candidates(rotations, shifts, found.scores[:, :1].expand(-1, rotations.shape[1]))
