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
from cryodl.core.alignment.reference import Reference, Turned, as_real
from cryodl.core.alignment.refinement import Step, local_search, polish
from cryodl.core.alignment.rotation_grid import ball, even_rotations
from cryodl.core.alignment.spectra import Observations
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError

Mode = Literal["exhaustive", "auto", "refine"]
# Rotations that are scored in one pass, to bound the memory.
_ROTATIONS_OF_A_PASS = 1152
_SHORTLIST = 96
# Share of the information that the first round from coarse to fine needs.
_ENOUGH = 0.4
# From coarse to fine a candidate is left behind when its score is less than such a share of the
# best, by more than the noise of scores may do.
_SHARES = (0.77, 0.86, 0.92)
_NOISE = 0.5
_APART_DEGREES = 5.0


@dataclass(frozen=True)
class SearchSettings:
    """How poses are searched.

    Attributes
    ----------
    symmetry : str
        Point group of the reference.
    rotations : int
        Of the exhaustive search, over all of SO(3).
    max_shift_px : float
        From the centre of the box, or from the poses at hand.
    coarse_shell : int
        Band of the exhaustive search in px of Fourier space: 8 is what a box of 16 px holds.
    candidates : int
        Of the exhaustive search, which are all scored about their place in the whole band.
    auto_rotations, auto_shell, auto_candidates
        The same for the search from coarse to fine; the best of its candidates reaches the
        whole band. For a reference that has little to show in the band of `auto_shell` it is
        done in that of `coarse_shell` with twice as much of both.
    local_degrees : float
        Largest step of the search about poses at hand.
    finest_degrees : float
        Smallest step; the result is interpolated between steps.
    is_thorough : bool
        The exhaustive search keeps six times as many candidates of the grid, and those that lie
        near each other as well: for scores as rugged as those of two noisy particles.
    """

    symmetry: str = "C1"
    rotations: int = 4608
    max_shift_px: float = 4.0
    coarse_shell: int = 8
    candidates: int = 8
    auto_rotations: int = 2304
    auto_shell: int = 6
    auto_candidates: int = 16
    local_degrees: float = 6.0
    finest_degrees: float = 1.5
    is_thorough: bool = False

    def __post_init__(self) -> None:
        least = min(self.rotations, self.candidates, self.coarse_shell, self.auto_candidates)
        if least < 1 or self.max_shift_px < 0 or not self.finest_degrees > 0:
            raise ConfigError(
                f"search: found {self.rotations} rotations, {self.candidates} candidates, shell "
                f"{self.coarse_shell}, shifts to {self.max_shift_px} px; expected positive numbers"
            )


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
        self._cached: tuple[Tensor, dict[tuple[int, int], list[Turned]]] | None = None
        self._grids: dict[int, Tensor] = {}

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
            if mode == "refine" and given is not None:
                return self._finished(seen, self._refined_given(seen, given))
            if mode == "exhaustive":
                return self._finished(seen, self._exhaustive(seen, given))
            return self._finished(seen, self._coarse_to_fine(seen, given))

    def proposals(self, seen: Observations, rotations: Tensor, keep: int) -> Candidates:
        """Score rotations (b, c, 3, 3) with all shifts in the coarse band and keep the best."""
        count = self.points.within(min(self.settings.coarse_shell, self.points.max_shell))
        shifts = self._shifts(self.settings.coarse_shell)
        turned = self.reference.turned(rotations.to(self.points.xyz), count, seen.power)
        scores, place = self._scored(seen.first(count), [turned], shifts)
        found = Candidates(rotations.to(scores), shifts[place], scores)
        return distinct(found, keep, 5.0, self._group)

    def scored(self, seen: Observations, rotations: Tensor, shifts: Tensor) -> Candidates:
        """Score poses (b, c, 3, 3) and (b, c, 3) as they are, in the whole band."""
        count = len(self.points)
        turned = self.reference.turned(rotations.to(self.points.xyz), count, seen.power)
        data = as_real(seen.data[:, None] * self.points.phases(shifts).conj())
        cross = (as_real(turned.values) * data).sum(dim=2, keepdim=True)
        return Candidates(rotations, shifts, turned.scores(cross, seen)[..., 0])

    # --- the searches ------------------------------------------------------------------------

    def _exhaustive(self, seen: Observations, given: Candidates | None) -> Candidates:
        settings = self.settings
        shell = min(settings.coarse_shell, self.points.max_shell)
        spacing = spacing_degrees(settings.rotations)
        keep, most, apart, wider = settings.candidates, settings.candidates, spacing / 2, shell
        if settings.is_thorough:
            keep, most, apart = 6 * keep, 2 * most, _APART_DEGREES
            wider = (shell + self.points.max_shell) // 2
        found = self._grid_search(seen, settings.rotations, shell, keep, spacing)
        if given is not None:
            found = merge(found, given)
        for step, band in ((spacing / 2, shell), (spacing / 4, wider)):
            found = local_search(self.reference, seen, found, self._step(step, band))
        found = distinct(found, most, apart, self._group)
        return self._in_the_whole_band(seen, found, spacing / 5)

    def _coarse_to_fine(self, seen: Observations, given: Candidates | None) -> Candidates:
        settings = self.settings
        low = min(settings.auto_shell, self.points.max_shell)
        shell = min(settings.coarse_shell, self.points.max_shell)
        keep, rotations = settings.auto_candidates, settings.auto_rotations
        if self._told(seen.power, low) < _ENOUGH:
            low = shell
        spacing = spacing_degrees(rotations)
        found = given
        if found is None:
            found = self._grid_search(seen, rotations, low, keep, spacing)
        middle = (shell + self.points.max_shell) // 2
        stages = ((2, low, 6, spacing / 2), (4, shell, 2, 20.0), (7, middle, 2, 20.0))
        for share, (part, band, most, apart) in zip(_SHARES, stages):
            step = self._step(spacing / part, band)
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
            given = local_search(self.reference, seen, given, self._step(step, shell))
            step /= 2
        return self._in_the_whole_band(seen, given, step)

    def _in_the_whole_band(self, seen: Observations, found: Candidates, step: float) -> Candidates:
        """Score all in the whole band, and go on with the best two."""
        whole, last = self.points.max_shell, 2 * self.settings.finest_degrees
        found = local_search(self.reference, seen, found, self._step(step, whole))
        if self.settings.is_thorough:
            found = local_search(self.reference, seen, found, self._step(0.7 * last, whole))
        found = distinct(found, 2, 20.0, self._group)
        while step > last:
            step = max(step / 2, last)
            found = local_search(self.reference, seen, found, self._step(step, whole))
        return found

    def _grid_search(
        self, seen: Observations, count: int, shell: int, keep: int, spacing: float
    ) -> Candidates:
        grid, turned = self._turned_grid(count, shell, seen.power)
        shifts = self._shifts(shell)
        scores, place = self._scored(seen.first(self.points.within(shell)), turned, shifts)
        most = min(_SHORTLIST, scores.shape[1])
        best, rows = scores.topk(most, dim=1)
        found = Candidates(grid[rows], shifts[place.gather(1, rows)], best)
        return distinct(found, keep, 1.2 * spacing, self._group)

    def _turned_grid(self, count: int, shell: int, power: Tensor) -> tuple[Tensor, list[Turned]]:
        if count not in self._grids:
            found = even_rotations(count, self.settings.symmetry)
            self._grids[count] = torch.as_tensor(found, device=self.points.device).to(torch.float32)
        grid = self._grids[count]
        if self._cached is None or not torch.equal(self._cached[0], power):
            self._cached = (power, {})
        kept = self._cached[1]
        if (count, shell) not in kept:
            points = self.points.within(shell)
            parts = grid.split(_ROTATIONS_OF_A_PASS)
            kept[count, shell] = [self.reference.turned(p, points, power) for p in parts]
        return grid, kept[count, shell]

    def _scored(
        self, seen: Observations, turned: list[Turned], shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best score over shifts of each rotation, and the number of that shift."""
        count = seen.data.shape[1]
        # Moving the reference by -s multiplies it by exp(2 pi i k s / n), the data by the inverse.
        phases = self.points.phases(shifts, count).conj()
        moved = as_real(seen.data[:, None] * phases)  # (b, T, 2P)
        best, place = [], []
        for part in turned:
            values = as_real(part.values)
            if values.ndim == 2:
                flat = torch.matmul(moved.flatten(0, 1), values.T)
                cross = flat.unflatten(0, moved.shape[:2]).transpose(1, 2)
            else:
                cross = torch.matmul(values, moved.transpose(1, 2))
            scores, index = part.scores(cross, seen).max(dim=2)
            best.append(scores)
            place.append(index)
        return torch.cat(best, dim=1), torch.cat(place, dim=1)

    # --- small parts -------------------------------------------------------------------------

    def _told(self, power: Tensor, shell: int) -> float:
        """Return which share of what tells poses apart lies within a shell."""
        cumulative = self.reference.information(power).cumsum(0)
        return float(cumulative[shell] / cumulative[-1].clamp(min=1e-20))

    def _shifts(self, shell: int) -> Tensor:
        # Finer than the band resolves, so that the best shift is not missed by much.
        step = max(self.points.n / (2.6 * shell), 0.5)
        found = ball(self.settings.max_shift_px, step)
        return torch.as_tensor(found, device=self.points.device).to(torch.float32)

    def _step(self, degrees: float, shell: int) -> Step:
        # A shift that moves the rim of a particle as far as the rotation does.
        pixels = max(math.radians(degrees) * 0.3 * self.points.n, 0.1)
        limit = self.settings.max_shift_px + 1
        return Step(degrees, pixels, self.points.within(shell), limit)

    def _given(
        self, seen: Observations, rotations: ArrayLike | None, shifts: ArrayLike | None
    ) -> Candidates | None:
        if rotations is None:
            return None
        count = len(seen.data)
        matrices = torch.as_tensor(np.asarray(rotations, dtype=np.float32))
        matrices = matrices.reshape(count, -1, 3, 3).to(self.points.device)
        if shifts is None:
            return self.proposals(seen, matrices, min(matrices.shape[1], 6))
        moves = torch.as_tensor(np.asarray(shifts, dtype=np.float32)).reshape(count, -1, 3)
        empty = torch.full(matrices.shape[:2], -torch.inf, device=self.points.device)
        return Candidates(matrices, moves.to(self.points.device), empty)

    def _finished(self, seen: Observations, found: Candidates) -> Alignment:
        """Judge the best two, and bring the best to the top of its score."""
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
        best = local_search(self.reference, seen, best, self._step(2 * finest, whole))
        last = self._step(finest, whole)
        best, spread = polish(self.reference, seen, best, last, self.is_likelihood)
        arrays = (t.double().cpu().numpy() for t in (best.scores[:, 0], margin, confidence, spread))
        rotations = _orthogonal(best.rotations[:, 0].double().cpu().numpy())
        return Alignment(rotations, best.shifts[:, 0].double().cpu().numpy(), *arrays)


def spacing_degrees(count: int) -> float:
    """Return about how far apart so many even rotations lie."""
    return 15.0 * (4608 / count) ** (1 / 3)


def _orthogonal(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, v = np.linalg.svd(matrices)
    return np.asarray(u @ v)
