"""Align particles to a reference: exhaustively, coarse to fine, or from poses at hand (torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cryodl.core.alignment.candidates import Candidates, distinct, gather, merge
from cryodl.core.alignment.expectation import expected_pose
from cryodl.core.alignment.grid_scores import GridScores, TurnedReference
from cryodl.core.alignment.lookalikes import APART_DEGREES, chosen_lookalikes, with_lookalikes
from cryodl.core.alignment.reference import MapReference, Reference
from cryodl.core.alignment.refinement import Step, local_search, polish, scored, shift_search
from cryodl.core.alignment.rotation_grid import spacing_degrees
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import Observations
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError

Mode = Literal["exhaustive", "auto", "refine"]
_SHORTLIST = 96
# Share of the information that a coarse band has after which a few candidates are enough.
_PLENTY = 0.7
# Where it has not, so many rotations of the grid are scored again in a wider band.
_AGAIN, _AGAIN_SHARE = 1024, 0.6
# From coarse to fine a candidate is left behind when its score is less than such a share of the
# best, by more than the noise of scores may do.
_SHARES = (0.77, 0.86, 0.92)
_PATIENT, _MANY = (0.6, 0.77, 0.86), 48
_NOISE = 0.5
_APART_DEGREES = 5.0
# Poses are known better than this where noise does not matter much.
_BLURRED_DEGREES = 1.5


@dataclass(frozen=True)
class Alignment:
    """The poses found, one row a particle.

    Attributes
    ----------
    rotations : (b, 3, 3) float64
        A: ``x_particle = A x_reference - s``.
    shifts_px : (b, 3) float64
        s along x, y, z.
    score : (b,) float64
        Of the kind of the reference: for maps the correlation in units of the noise.
    margin : (b,) float64
        By how much the best other pose, 20 degrees or more away, scores less.
    confidence : (b,) float64
        Probability of the pose among those that were compared, 0 to 1.
    spread_degrees : (b,) float64
        Deviation of the angle that the noise allows about each axis, from the shape of the score.
    """

    rotations: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    score: NDArray[np.float64]
    margin: NDArray[np.float64]
    confidence: NDArray[np.float64]
    spread_degrees: NDArray[np.float64]

    @staticmethod
    def joined(parts: list[Alignment]) -> Alignment:
        """Put batches one after the other."""
        names = Alignment.__dataclass_fields__
        return Alignment(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


class Aligner:
    """Aligns particles to one reference.

    Parameters
    ----------
    reference : Reference
        A map or another particle.
    settings : SearchSettings
        How.
    is_likelihood : bool
        True where scores are logarithms of likelihoods (particles), False for z-scores (maps).
    """

    def __init__(
        self, reference: Reference, settings: SearchSettings, *, is_likelihood: bool = False
    ) -> None:
        self.reference, self.settings, self.is_likelihood = reference, settings, is_likelihood
        self.points = reference.points
        self._group = symmetry_matrices(settings.symmetry)
        self._grid = GridScores(reference, settings.symmetry, settings.max_shift_px)
        self.alike: Candidates | None = None
        self._alike_power: Tensor | None = None

    def align(
        self,
        seen: Observations,
        mode: Mode = "exhaustive",
        *,
        rotations: ArrayLike | None = None,
        shifts_px: ArrayLike | None = None,
    ) -> Alignment:
        """Find the poses of a batch.

        Parameters
        ----------
        seen : Observations
            Particles at the points of the reference.
        mode : "exhaustive", "auto" or "refine"
            All rotations; from coarse to fine; or only about poses at hand.
        rotations, shifts_px : (b, 3, 3) or (b, c, 3, 3), and (b, 3) or (b, c, 3) arrays
            Poses at hand: one or several a particle. They join the search of the other modes.

        Raises
        ------
        ConfigError
            ``refine`` without poses, or an unknown mode.
        """
        if mode not in ("exhaustive", "auto", "refine") or (mode == "refine" and rotations is None):
            raise ConfigError(f"alignment: mode {mode!r} with no poses, or unknown; give a start")
        with torch.no_grad():
            given = self._given(seen, rotations, shifts_px)
            seen = self.reference.matched(seen)
            if mode == "refine" and given is not None:
                return self._finished(seen, self._refined_given(seen, given))
            if mode == "exhaustive":
                return self._finished(seen, self._exhaustive(seen, given))
            return self._finished(seen, self._coarse_to_fine(seen, given))

    def proposals(self, seen: Observations, rotations: Tensor, keep: int) -> Candidates:
        """Score rotations (b, c, 3, 3) with all shifts in the coarse band and keep the best."""
        count = self.points.within(min(self.settings.coarse_shell, self.points.max_shell))
        shifts = self._grid.shifts(self.settings.coarse_shell)
        turned = TurnedReference.of(self.reference.turned(rotations.to(self.points.xyz), count))
        matched = self.reference.matched(seen).first(count)
        scores, place = self._grid.scored(matched, [turned], shifts)
        found = Candidates(rotations.to(scores), shifts[place], scores)
        return distinct(found, keep, 5.0, self._group)

    def scored(self, seen: Observations, rotations: Tensor, shifts: Tensor) -> Candidates:
        """Score poses (b, c, 3, 3) and (b, c, 3) as they are, in the whole band."""
        unscored = torch.zeros(rotations.shape[:2], device=self.points.device)
        found = Candidates(rotations.to(self.points.xyz), shifts, unscored)
        return scored(self.reference, self.reference.matched(seen), found)

    # --- the searches ------------------------------------------------------------------------

    def _exhaustive(self, seen: Observations, given: Candidates | None) -> Candidates:
        settings = self.settings
        shell = min(settings.coarse_shell, self.points.max_shell)
        spacing = spacing_degrees(settings.rotations)
        keep, most, apart, wider = settings.candidates, settings.candidates, spacing / 2, shell
        if settings.is_thorough:
            keep, most, apart = 6 * keep, 2 * most, _APART_DEGREES
            wider = (shell + self.points.max_shell) // 2
        enough, share = self._wide(seen.power, shell), 0.0
        keep = max(keep, _MANY) if enough > shell else keep
        found = self._grid_search(seen, settings.rotations, shell, keep, spacing)
        found = found if given is None else merge(found, given)
        shell = enough
        if shell > wider:
            wider, share = shell, _PATIENT[0]
        for degrees, band in ((spacing / 2, shell), (spacing / 4, wider)):
            step = self._step(degrees, band, is_rough=True)
            found = local_search(self.reference, seen, found, step, self._alive(found, share))
        found = distinct(found, most, apart, self._group)
        return self._in_the_whole_band(seen, found, spacing / 5)

    def _coarse_to_fine(self, seen: Observations, given: Candidates | None) -> Candidates:
        settings = self.settings
        low = min(settings.auto_shell, self.points.max_shell)
        shell = min(settings.coarse_shell, self.points.max_shell)
        keep, rotations = settings.auto_candidates, settings.auto_rotations
        spacing, wide, shares = spacing_degrees(rotations), self._wide(seen.power, shell), _SHARES
        if wide > shell:
            # Fine detail: off the grid by a little, the right candidate scores much less.
            low, shares, keep = shell, _PATIENT, _MANY
        found = given
        if found is None:
            found = self._grid_search(seen, rotations, low, keep, spacing)
        if wide > shell:
            low = shell = wide
        middle = (shell + self.points.max_shell) // 2
        stages = ((2, low, 6, spacing / 2), (4, shell, 2, 20.0), (7, middle, 2, 20.0))
        for share, (part, band, most, apart) in zip(shares, stages):
            step = self._step(spacing / part, band, is_rough=True)
            found = local_search(self.reference, seen, found, step, self._alive(found, share))
            found = distinct(found, most, apart, self._group)
        return found

    def _alive(self, found: Candidates, share: float) -> Tensor:
        """Tell which candidates are not yet beaten by the best (b, c)."""
        scores, unknown = found.scores, torch.isinf(found.scores).all(dim=1, keepdim=True)
        best = scores.amax(dim=1, keepdim=True)
        reach = scores >= best - (1 - share) * best.abs() - _NOISE
        return unknown | (reach & torch.isfinite(scores))

    def _refined_given(self, seen: Observations, given: Candidates) -> Candidates:
        shell = min(self.settings.coarse_shell, self.points.max_shell)
        step = self.settings.local_degrees
        if step > 4:
            rough = self._step(step, shell, is_rough=True)
            given = local_search(self.reference, seen, given, rough)
            step /= 2
        return self._in_the_whole_band(seen, given, step)

    def _in_the_whole_band(self, seen: Observations, found: Candidates, step: float) -> Candidates:
        """Score all in the whole band, and go on with the best two."""
        whole, last = self.points.max_shell, 2 * self.settings.finest_degrees
        steps = [step, 0.7 * last] if self.settings.is_thorough else [step]
        for degrees in steps:
            rough = self._step(degrees, whole, is_rough=True)
            found = local_search(self.reference, seen, found, rough)
        found = distinct(found, 2, 20.0, self._group)
        while step > last:
            step = max(step / 2, last)
            found = local_search(self.reference, seen, found, self._step(step, whole))
        return found

    def _expected(self, seen: Observations, best: Candidates, spread: Tensor) -> Candidates:
        """Move poses that noise has blurred to the mean of those that it allows."""
        rows = torch.nonzero(spread > _BLURRED_DEGREES)[:, 0]
        if len(rows) == 0:
            return best
        chosen = Candidates(best.rotations[rows], best.shifts[rows], best.scores[rows])
        limit = self.settings.max_shift_px + 1
        step = Step(0.0, 0.4, len(self.points), limit, is_rough=True)
        moved = expected_pose(self.reference, seen.chosen(rows), chosen, spread[rows], step)
        for whole, part in zip(best, moved):
            whole[rows] = part
        return best

    def _settled(self, seen: Observations, found: Candidates) -> Candidates:
        """Bring those still in the race to their tops, with those that look like the best."""
        whole, last = self.points.max_shell, 2 * self.settings.finest_degrees
        found, steps = distinct(found, 2, 20.0, self._group), [last]
        alike = self._lookalikes(seen)
        if alike is not None:
            first = Candidates(found.rotations[:, :1], found.shifts[:, :1], found.scores[:, :1])
            found = merge(found, with_lookalikes(first, alike))
            steps = [2 * last, last]
        for degrees in steps:
            step = self._step(degrees, whole, is_rough=True)
            alive = self._alive(found, _SHARES[1])
            alive &= alive.sum(dim=1, keepdim=True) > 1
            if bool(alive.any()):
                found = local_search(self.reference, seen, found, step, alive)
        if alike is None:
            return found
        # Poses that look alike differ by less than a rough reading errs, or a step between tops.
        found = distinct(found, 2 + len(alike.scores[0]), APART_DEGREES / 3, self._group)
        tops, _ = polish(self.reference, seen, found, step, self.is_likelihood)
        return scored(self.reference, seen, tops)

    def _lookalikes(self, seen: Observations) -> Candidates | None:
        """Search the reference for turns in which it looks like itself, once for a power."""
        if not isinstance(self.reference, MapReference):
            return None
        if self._alike_power is not None and torch.equal(self._alike_power, seen.power):
            return self.alike
        upright = torch.eye(3, device=self.points.device)[None]
        values = self.reference.turned(upright, len(self.points))
        values = values / seen.power[self.points.shell].sqrt()
        itself = Observations(values, torch.ones_like(values.real), seen.power)
        shell = self._wide(seen.power, min(self.settings.coarse_shell, self.points.max_shell))
        spacing = spacing_degrees(self.settings.auto_rotations)
        matched = self.reference.matched(itself)
        found = self._grid_search(matched, self.settings.auto_rotations, shell, 16, spacing)
        for part in (2, 4, 7):
            step = self._step(spacing / part, shell, is_rough=True)
            found = local_search(self.reference, matched, found, step)
        found = distinct(found, 16, APART_DEGREES, self._group)
        top = self.scored(itself, upright[None], torch.zeros(1, 1, 3, device=self.points.device))
        group = torch.as_tensor(self._group, device=self.points.device)
        self.alike = chosen_lookalikes(found, float(top.scores), group)
        self._alike_power = seen.power
        return self.alike

    def _grid_search(
        self, seen: Observations, count: int, shell: int, keep: int, spacing: float
    ) -> Candidates:
        grid, turned = self._grid.turned(count, shell)
        shifts = self._grid.shifts(shell)
        scores, place = self._grid.scored(seen.first(self.points.within(shell)), turned, shifts)
        least = min(self.settings.coarse_shell, self.points.max_shell)
        wide = self._wide(seen.power, shell) if shell >= least else shell
        most = min(_SHORTLIST if wide == shell else _AGAIN, scores.shape[1])
        best, rows = scores.topk(most, dim=1)
        found = Candidates(grid[rows], shifts[place.gather(1, rows)], best)
        if wide > shell:
            found = found._replace(
                scores=torch.where(self._alive(found, _AGAIN_SHARE), found.scores, -torch.inf)
            )
            limit = self.settings.max_shift_px + 1
            step = Step(0.0, 0.5, self.points.within(wide), limit, is_rough=True)
            found = shift_search(self.reference, seen, found, step)
        return distinct(found, keep, 1.2 * spacing, self._group)

    # --- small parts -------------------------------------------------------------------------

    def _wide(self, power: Tensor, shell: int) -> int:
        """Return the first shell from `shell` on that holds enough to judge candidates by."""
        cumulative = self.reference.information(power).cumsum(0)
        enough = cumulative >= _PLENTY * cumulative[-1]
        return max(shell, int(torch.nonzero(enough)[0, 0]))

    def _step(self, degrees: float, shell: int, *, is_rough: bool = False) -> Step:
        # A shift that moves the rim of a particle as far as the rotation does.
        pixels = max(math.radians(degrees) * 0.3 * self.points.n, 0.1)
        limit = self.settings.max_shift_px + 1
        return Step(degrees, pixels, self.points.within(shell), limit, is_rough)

    def _given(
        self, seen: Observations, rotations: ArrayLike | None, shifts: ArrayLike | None
    ) -> Candidates | None:
        if rotations is None:
            return None
        count = len(seen.data)
        matrices = torch.as_tensor(np.asarray(rotations, np.float32)).reshape(count, -1, 3, 3)
        matrices = matrices.to(self.points.device)
        if shifts is None:
            return self.proposals(seen, matrices, min(matrices.shape[1], 6))
        moves = torch.as_tensor(np.asarray(shifts, dtype=np.float32)).reshape(count, -1, 3)
        empty = torch.full(matrices.shape[:2], -torch.inf, device=self.points.device)
        return Candidates(matrices, moves.to(self.points.device), empty)

    def _finished(self, seen: Observations, found: Candidates) -> Alignment:
        """Judge the best two, and bring the best to the top of its score."""
        found = self._settled(seen, found)
        ordered = distinct(found, 2, 20.0, self._group)
        score = ordered.scores.double()
        level = score if self.is_likelihood else 0.5 * score.clamp(min=0) ** 2
        level = torch.where(torch.isfinite(score), level, -torch.inf)
        confidence = torch.softmax(level, dim=1)[:, 0]
        margin = torch.zeros_like(score[:, 0])
        if score.shape[1] > 1:
            margin = (score[:, 0] - score[:, 1]).nan_to_num(posinf=0.0)
        best = gather(ordered, torch.zeros(len(score), 1, dtype=torch.long))
        whole, finest = self.points.max_shell, self.settings.finest_degrees
        rough, last = self._step(2 * finest, whole, is_rough=True), self._step(finest, whole)
        for step in (rough, rough, last):
            best, spread = polish(self.reference, seen, best, step, self.is_likelihood)
        spread = spread[:, 0]
        if not self.is_likelihood:
            best = self._expected(seen, best, spread)
        arrays = (t.double().cpu().numpy() for t in (best.scores[:, 0], margin, confidence, spread))
        rotations = _orthogonal(best.rotations[:, 0].double().cpu().numpy())
        return Alignment(rotations, best.shifts[:, 0].double().cpu().numpy(), *arrays)


def _orthogonal(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, v = np.linalg.svd(matrices)
    return np.asarray(u @ v)
