"""The mean of the poses that noise allows, in place of the one that scores best (torch).

Where there is little signal the top of the score lies beside the middle of its hill, and the
middle is nearer to the truth on average.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.stats import norm, qmc
from torch import Tensor

from cryodl.core.alignment.candidates import Candidates
from cryodl.core.alignment.reference import Reference
from cryodl.core.alignment.refinement import Step, shift_search
from cryodl.core.alignment.rotation_grid import rotation_vectors_to_matrices
from cryodl.core.alignment.spectra import Observations

_SAMPLES = 96
_WIDER = 1.3
_MOST_DEGREES = 10.0


def expected_pose(
    reference: Reference, seen: Observations, best: Candidates, spread: Tensor, step: Step
) -> Candidates:
    """Move each pose (b, 1) to the mean of poses about it, weighted by their likelihood.

    Parameters
    ----------
    reference : Reference
        A map: scores are z-scores.
    seen : Observations
        The particles.
    best : Candidates
        The top of the score, one a particle.
    spread : (b,) Tensor
        How wide the hill is about each axis, degrees.
    step : Step
        Band and limit of the shifts.

    Returns
    -------
    Candidates
        With the scores of the top.
    """
    width = (_WIDER * spread.clamp(max=_MOST_DEGREES)).to(best.shifts)
    draws = torch.as_tensor(_draws(), device=best.shifts.device).to(best.shifts)
    vectors = torch.deg2rad(width)[:, None, None] * draws  # (b, m, 3)
    offsets = torch.as_tensor(
        rotation_vectors_to_matrices(vectors.cpu().numpy()), device=best.shifts.device
    ).to(best.rotations)
    turned = offsets @ best.rotations
    moves = best.shifts.expand(-1, len(draws), -1)
    around = Candidates(turned, moves, torch.zeros_like(moves[..., 0]))
    found = shift_search(reference, seen, around, step)
    level = 0.5 * found.scores.double().clamp(min=0) ** 2 + 0.5 * draws.double().square().sum(1)
    weight = torch.softmax(level, dim=1)[..., None].to(vectors)
    mean = (weight * vectors).sum(dim=1)
    turn = torch.as_tensor(
        rotation_vectors_to_matrices(mean.cpu().numpy()), device=best.shifts.device
    ).to(best.rotations)
    shifts = (weight * found.shifts).sum(dim=1, keepdim=True)
    return Candidates(turn[:, None] @ best.rotations, shifts, best.scores)


@lru_cache(maxsize=1)
def _draws() -> np.ndarray:
    """Return normal deviates that fill space evenly, (m, 3)."""
    even = qmc.Halton(3, scramble=False).random(_SAMPLES + 1)[1:]
    return np.asarray(norm.ppf(even))
