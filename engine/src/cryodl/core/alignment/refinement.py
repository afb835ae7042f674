"""Local search about candidate poses on small lattices of rotations and shifts (torch)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.core.alignment.candidates import Candidates
from cryodl.core.alignment.reference import Reference, energies, flat_real
from cryodl.core.alignment.rotation_grid import composite, rotation_vectors_to_matrices
from cryodl.core.alignment.spectra import Observations

# Turned components of one pass, to bound the memory.
_VALUES_OF_A_PASS = 2**21
_POINTS = len(composite())


@dataclass(frozen=True)
class Step:
    """One round of the local search.

    Attributes
    ----------
    degrees, pixels : float
        Edges of the lattices of 15 rotations and 15 shifts.
    count : int
        Of the first points that are used: the band.
    limit_px : float
        Shifts end there.
    is_rough : bool
        The reference is read at the nearest frequencies, see `Reference.turned`.
    """

    degrees: float
    pixels: float
    count: int
    limit_px: float
    is_rough: bool = False


def local_search(
    reference: Reference,
    seen: Observations,
    found: Candidates,
    step: Step,
    alive: Tensor | None = None,
) -> Candidates:
    """Move each candidate to the best of 15 x 15 poses about it.

    Those that are not `alive` (b, c) stay where they are, and keep their scores.
    """

    def best_of(band: Observations, rotations: Tensor, shifts: Tensor) -> tuple[Tensor, ...]:
        scores, turned, moved = _lattice_scores(reference, band, rotations, shifts, step)
        best, turn, move = _best_allowed(scores, shifts, moved, step)
        rows = torch.arange(len(best), device=best.device)
        return turned[rows, turn], moved[rows, move], best

    b, c = found.scores.shape
    if alive is None or bool(alive.all()):
        turned, moved, scores = _in_batches(best_of, seen, found, step)
        return Candidates(turned.reshape(b, c, 3, 3), moved.reshape(b, c, 3), scores.reshape(b, c))
    turned, moved, scores = _in_batches(best_of, seen, found, step, alive)
    result = Candidates(*(values.clone() for values in found))
    for whole, part in zip(result, (turned, moved, scores)):
        whole[alive] = part
    return result


def shift_search(
    reference: Reference, seen: Observations, found: Candidates, step: Step
) -> Candidates:
    """Move each candidate to the best of 15 shifts about it, its rotation as it is.

    For many candidates whose shifts come from one grid: each shift's phases are made once. Those
    with a score of minus infinity are left as they are.
    """
    count, band = step.count, seen.first(step.count)
    shifts, scores = found.shifts.clone(), found.scores.clone()
    moves = torch.as_tensor(composite(), device=found.shifts.device).to(found.shifts) * step.pixels
    steps = flat_real(reference.points.phases(moves, count)).T
    batch = max(1, 2 * _VALUES_OF_A_PASS // count)
    for row in range(len(found.scores)):
        one = band.chosen(torch.tensor([row], device=found.scores.device))
        alive = torch.nonzero(found.scores[row] > -torch.inf)[:, 0]
        places, which = torch.unique(found.shifts[row, alive], dim=0, return_inverse=True)
        moved = one.data * reference.points.phases(-places, count)
        for part, place in zip(alive.split(batch), which.split(batch)):
            rotations, start = found.rotations[row, part], found.shifts[row, part]
            turned = reference.turned(rotations, count, is_rough=step.is_rough)
            energy = energies(turned[None], one.weight)
            cross = flat_real(moved[place].mul_(turned.conj())) @ steps
            values = reference.scores(cross[None], energy)[0]
            best, _, index = _best_allowed(values[:, None], start, start[:, None] + moves, step)
            shifts[row, part], scores[row, part] = start + moves[index], best
    return Candidates(found.rotations, shifts, scores)


def polish(
    reference: Reference, seen: Observations, best: Candidates, step: Step, is_likelihood: bool
) -> tuple[Candidates, Tensor]:
    """Bring candidates (b, c) to the top of a paraboloid through their scores.

    Returns
    -------
    Candidates, Tensor
        And how far noise may have turned each, (b, c) degrees: a deviation about each axis, from
        the curvature of the log-likelihood; 180 where it has no top. Scores are those of the best
        place of the lattice.
    """
    b, c = best.scores.shape

    def top_of(band: Observations, rotations: Tensor, shifts: Tensor) -> tuple[Tensor, ...]:
        scores, _, moved = _lattice_scores(reference, band, rotations, shifts, step)
        score, turn, move = _best_allowed(scores, shifts, moved, step)
        rows = torch.arange(len(score), device=score.device)
        # Rotations at the best shift, shifts at the best rotation.
        vectors = _top(scores[rows, :, move]) * math.radians(step.degrees)
        offsets = rotation_vectors_to_matrices(vectors.cpu().numpy())
        fine = torch.as_tensor(offsets, device=rotations.device).to(rotations) @ rotations
        there = shifts + _top(scores[rows, turn]) * step.pixels
        reach = shifts.norm(dim=1).clamp(min=step.limit_px) / there.norm(dim=1).clamp(min=1e-6)
        spread = _spread(scores.amax(dim=2), step.degrees, is_likelihood)
        return fine, there * reach.clamp(max=1)[:, None], score, spread

    fine, there, score, spread = _in_batches(top_of, seen, best, step)
    tops = Candidates(fine.reshape(b, c, 3, 3), there.reshape(b, c, 3), score.reshape(b, c))
    return tops, spread.reshape(b, c)


def scored(reference: Reference, seen: Observations, found: Candidates) -> Candidates:
    """Score candidates (b, c) exactly where they are, in the whole band."""
    data = seen.data[:, None] * reference.points.phases(-found.shifts)
    turned = reference.turned(found.rotations, len(reference.points))
    cross = (flat_real(turned) * flat_real(data)).sum(dim=2, keepdim=True)
    scores = reference.scores(cross, energies(turned, seen.weight))
    return Candidates(found.rotations, found.shifts, scores[..., 0])


def _in_batches(
    work: Callable[[Observations, Tensor, Tensor], tuple[Tensor, ...]],
    seen: Observations,
    found: Candidates,
    step: Step,
    alive: Tensor | None = None,
) -> list[Tensor]:
    b, c = found.scores.shape
    batch = max(1, _VALUES_OF_A_PASS // (_POINTS * step.count))
    rotations, shifts = found.rotations.reshape(-1, 3, 3), found.shifts.reshape(-1, 3)
    particle = torch.arange(b, device=rotations.device).repeat_interleave(c)
    if alive is not None:
        kept = alive.flatten()
        rotations, shifts, particle = rotations[kept], shifts[kept], particle[kept]
    band, parts = seen.first(step.count), []
    for start in range(0, len(particle), batch):
        rows = slice(start, start + batch)
        parts.append(work(band.chosen(particle[rows]), rotations[rows], shifts[rows]))
    return [torch.cat(column) for column in zip(*parts)]


def _best_allowed(
    scores: Tensor, shifts: Tensor, moved: Tensor, step: Step
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best scores (r,) and their places; no shift beyond the limit that was within."""
    limit = shifts.norm(dim=1, keepdim=True).clamp(min=step.limit_px) + 1e-4
    far = moved.norm(dim=2) > limit
    best, index = scores.masked_fill(far[:, None], -torch.inf).flatten(1).max(dim=1)
    return best, index // _POINTS, index % _POINTS


def _spread(scores: Tensor, degrees: float, is_likelihood: bool) -> Tensor:
    level = scores if is_likelihood else 0.5 * scores.clamp(min=0) ** 2
    values = torch.linalg.eigvalsh(-_paraboloid(level)[1].double())
    sigma = degrees / values.clamp(min=1e-9).sqrt()
    return sigma.square().mean(dim=1).sqrt().clamp(max=180.0)


def _lattice_scores(
    reference: Reference, seen: Observations, rotations: Tensor, shifts: Tensor, step: Step
) -> tuple[Tensor, Tensor, Tensor]:
    """Score 15 rotations (before) times 15 shifts: (r, 15, 15), and these poses."""
    offsets = _rotation_offsets(step.degrees).to(rotations)
    turned = offsets @ rotations[:, None]  # (r, 15, 3, 3)
    moves = torch.as_tensor(composite(), device=shifts.device).to(shifts) * step.pixels
    values = reference.turned(turned, step.count, is_rough=step.is_rough)
    energy = energies(values, seen.weight)
    start = seen.data * reference.points.phases(-shifts, step.count)
    # The moves are the same for all: one product in place of one for each candidate.
    products = values.mul_(start.conj()[:, None])
    steps = flat_real(reference.points.phases(-moves, step.count))
    cross = (steps @ flat_real(products).flatten(0, 1).T).T.unflatten(0, values.shape[:2])
    return reference.scores(cross, energy), turned, shifts[:, None] + moves


def _top(values: Tensor) -> Tensor:
    """Return the top of paraboloids through 15 lattice values (r, 15), in steps; (r, 3)."""
    gradient, hessian = _paraboloid(values)
    points = torch.as_tensor(composite(), device=values.device).to(values)
    fallback = points[values.argmax(dim=1)]
    curved = torch.linalg.eigvalsh(hessian.double())[:, -1] < -1e-6
    safe = torch.where(curved[:, None, None], hessian, -torch.eye(3).to(hessian))
    top = torch.linalg.solve(safe, -gradient[..., None])[..., 0]
    good = curved & (top.abs().amax(dim=1) <= 1.5)
    return torch.where(good[:, None], top, fallback)


def _paraboloid(values: Tensor) -> tuple[Tensor, Tensor]:
    """Fit gradient (r, 3) and second derivatives (r, 3, 3) to lattice values (r, 15)."""
    solution = values @ torch.as_tensor(_fit().T.copy(), device=values.device).to(values)
    gradient = solution[:, 1:4]
    xx, yy, zz, xy, xz, yz = solution[:, 4:].unbind(1)
    rows = [[2 * xx, xy, xz], [xy, 2 * yy, yz], [xz, yz, 2 * zz]]
    return gradient, torch.stack([torch.stack(row, -1) for row in rows], -2)


@lru_cache(maxsize=1)
def _fit() -> NDArray[np.float64]:
    x, y, z = composite().T
    terms = [np.ones(15), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z]
    return np.linalg.pinv(np.stack(terms, axis=1))


@lru_cache(maxsize=32)
def _rotation_offsets(degrees: float) -> Tensor:
    vectors = np.deg2rad(degrees) * composite()
    return torch.as_tensor(rotation_vectors_to_matrices(vectors)).float()
