"""Groups of particles in any orientation, by likelihood: poses are summed over, not guessed.

Every group is a map with noise about it. A particle belongs to a group in every orientation and
place at once, each with its probability; maps are averages over all of them, weighted by these and
by what the recording measured (Scheres et al. 2009, Structure 17, 1563; Sigworth 1998, J. Struct.
Biol. 122, 328). Only rotations are tried: a mirror image is another structure. The sums are taken
over a fixed grid of rotations, so that both steps are products of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.methods.autoencoder3d.resolution import Observed, Resolution

NEAR = np.array([[0, 0, 0], *np.eye(3), *-np.eye(3)])
AROUND = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

_BATCH = 64
_OFF_CENTRE_PX = 1.5  # usual distance of particles from the middle of their boxes
_EVEN = 0.5  # share of its fair number of particles that every group is granted beforehand
_LEAST = 1e-3


@dataclass(frozen=True)
class Mixture:
    """The groups.

    Attributes
    ----------
    volumes : list of (n, n, n) float32
        Their maps.
    noise : (shell + 1,) float32
        Power of the noise by shell.
    shares : (K,) float64
        How frequent they are.
    """

    volumes: list[NDArray[np.float32]]
    noise: Tensor
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class Sorting:
    """Particles sorted by a mixture.

    Attributes
    ----------
    chances : (N, K) float64
        Of each group.
    labels : (N,) int64
        The likeliest.
    rotations : (N, 3, 3) float64
        Likeliest A in that group: ``x_box = A x_group + c``.
    centres_px : (N, 3) float64
        c, likeliest in any group.
    fits : (N,) float64
        How well each is explained, logarithm of the likelihood against noise alone.
    likelihood : float
        Logarithm, up to a constant of the data.
    """

    chances: NDArray[np.float64]
    labels: NDArray[np.int64]
    rotations: NDArray[np.float64]
    centres_px: NDArray[np.float64]
    fits: NDArray[np.float64]
    likelihood: float


@dataclass
class Sums:
    """What the next maps are made of: by group (G, P) values and weights; residual power."""

    values: list[Tensor]
    weights: list[Tensor]
    residual: Tensor
    count: Tensor


def total_power(at: Resolution, seen: Observed) -> Tensor:
    """Return the power of the particles by shell: the noise, if there were nothing else."""
    power = torch.ones(at.shell + 1)
    squares = (seen.spectra.abs() ** 2).sum(dim=0)
    weight = _weight(seen)
    for shell in range(1, at.shell + 1):
        own = at.radii == shell
        power[shell] = squares[own].sum() / weight[own].sum().clamp(min=_LEAST)
    return power.clamp(min=1e-6)


def expect(
    at: Resolution,
    seen: Observed,
    mixture: Mixture,
    centres_px: NDArray[np.float64],
    steps_px: NDArray[np.float64] = NEAR,
) -> tuple[Sorting, Sums]:
    """Sort particles, and sum them up for the next maps.

    Parameters
    ----------
    centres_px : (N, 3) array
        Places about which `steps_px` (S, 3) are tried.
    """
    groups, count = len(mixture.volumes), len(centres_px)
    places, points = at.places.shape[:2]
    sums = Sums(
        [torch.zeros(places, points, dtype=torch.complex64) for _ in range(groups)],
        [torch.zeros(places, points) for _ in range(groups)],
        (seen.spectra.abs() ** 2).sum(dim=0),
        _weight(seen),
    )
    chances, labels = np.zeros((count, groups)), np.zeros(count, dtype=np.int64)
    turns, centres = np.zeros(count, dtype=np.int64), centres_px.copy()
    turned = [at.turned(volume) for volume in mixture.volumes]
    fits = np.zeros(count)
    for kind in np.unique(seen.kinds):
        known = _Known(at, mixture, [t * seen.seen[kind] for t in turned])
        mine = np.flatnonzero(seen.kinds == kind)
        values = [torch.zeros(places, 2 * points) for _ in range(groups)]
        weights = [torch.zeros(places) for _ in range(groups)]
        for start in range(0, len(mine), _BATCH):
            rows = mine[start : start + _BATCH]
            moved = _moved(at, seen.spectra[rows], centres_px[rows], steps_px)
            where = centres_px[rows][:, None] + steps_px[None]
            near = -np.square(where).sum(axis=-1) / (2 * _OFF_CENTRE_PX**2)
            level = known.level(moved, torch.from_numpy(near.astype(np.float32)))
            top = level.amax(dim=(0, 2, 3), keepdim=True)
            level = level.sub_(top).exp_()
            total = level.sum(dim=(0, 2, 3), keepdim=True)
            fits[rows] = (top + total.log()).flatten().double().numpy()
            level /= total
            _note(level, rows, steps_px, chances, labels, turns, centres)
            for k in range(groups):
                own = level[k].reshape(-1, places)
                values[k] += own.T @ moved
                weights[k] += own.sum(dim=0)
        _gather(sums, known, values, weights, seen.seen[kind])
    rotations = at.grid[turns].double().numpy()
    likelihood = float(fits.sum()) + _likelihood_of_noise(at, seen, mixture.noise)
    return Sorting(chances, labels, rotations, centres, fits, likelihood), sums


def _likelihood_of_noise(at: Resolution, seen: Observed, noise: Tensor) -> float:
    power = (seen.spectra.abs() ** 2).sum(dim=0)
    level = noise[at.radii]
    return -float((_weight(seen) * level.log() + power / level).sum())


def maximise(at: Resolution, sums: Sums, chances: NDArray[np.float64]) -> Mixture:
    """Return the mixture that particles were summed up for."""
    noise = torch.ones(at.shell + 1)
    for shell in range(1, at.shell + 1):
        own = at.radii == shell
        noise[shell] = sums.residual[own].sum() / sums.count[own].sum().clamp(min=_LEAST)
    noise = noise.clamp(min=1e-4)
    volumes = [average_of(at, v, w, noise)[0] for v, w in zip(sums.values, sums.weights)]
    members = chances.sum(axis=0) + _EVEN * len(chances) / chances.shape[1]
    return Mixture(volumes, noise, members / members.sum())


def average_of(
    at: Resolution, values: Tensor, weights: Tensor, noise: Tensor
) -> tuple[NDArray[np.float32], float]:
    """Return the map of a group, and how many numbers the data decide in it.

    Each shell is weighted by its own power over that of the noise (Wiener).
    """
    numerator, denominator = at.insert(values, weights)
    raw = numerator / (denominator + _LEAST)
    transform = torch.zeros_like(numerator)
    decided = 0.0
    for shell in range(1, at.shell + 1):
        own = at.cube_radii == shell
        weight = denominator[own]
        power = float((raw[own].abs() ** 2 * weight).sum() / weight.sum().clamp(min=_LEAST))
        rest = float(noise[shell]) / max(power, _LEAST * float(noise[shell]), 1e-12)
        transform[own] = numerator[own] / (weight + rest)
        decided += float((weight / (weight + rest)).sum())
    return at.volume(transform), decided


def learn(
    at: Resolution,
    seen: Observed,
    mixture: Mixture,
    centres_px: NDArray[np.float64],
    rounds: int,
    steps_px: NDArray[np.float64] = NEAR,
    *,
    refilled: bool = False,
) -> tuple[Mixture, Sorting]:
    """Sort and average in turn; a group that nothing belongs to any more is dropped.

    With `refilled` the particle that is explained worst begins it again, but in the last rounds.
    """
    for number in range(max(1, rounds)):
        sorting, sums = expect(at, seen, mixture, centres_px, steps_px)
        if number == rounds - 1:
            break
        following = maximise(at, sums, sorting.chances)
        centres_px = sorting.centres_px
        alive = sorting.chances.sum(axis=0) >= 0.5
        volumes, shares = following.volumes, following.shares
        if refilled and number < 0.6 * rounds:
            worst = iter(np.argsort(sorting.fits))
            fresh = [
                _of_one(at, seen, int(next(worst)), following.noise) for _ in np.flatnonzero(~alive)
            ]
            volumes = [v if a else fresh.pop() for v, a in zip(volumes, alive)]
        else:
            volumes = [v for v, a in zip(volumes, alive) if a]
            shares = shares[alive]
        mixture = Mixture(volumes, following.noise, shares / shares.sum())
    return mixture, sorting


def _of_one(at: Resolution, seen: Observed, row: int, noise: Tensor) -> NDArray[np.float32]:
    """Return the map of one particle, as it lies."""
    values = torch.zeros(at.places.shape[:2], dtype=torch.complex64)
    weights = torch.zeros(at.places.shape[:2])
    through = seen.seen[seen.kinds[row]]
    values[0], weights[0] = seen.spectra[row] * through, through**2
    return average_of(at, values, weights, noise)[0]


def mixture_of_groups(
    at: Resolution,
    seen: Observed,
    labels: NDArray[np.int64],
    rng: np.random.Generator,
) -> Mixture:
    """Return maps of groups whose orientations are not known: particles as they come, turned."""
    noise = total_power(at, seen)
    volumes = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        values = torch.zeros(at.places.shape[:2], dtype=torch.complex64)
        weights = torch.zeros(at.places.shape[:2])
        turns = torch.from_numpy(rng.integers(len(at.grid), size=len(rows)))
        through = seen.seen[seen.kinds[rows]]
        values.index_add_(0, turns, seen.spectra[rows] * through)
        weights.index_add_(0, turns, through**2)
        volumes.append(average_of(at, values, weights, noise)[0])
    return Mixture(volumes, noise, np.full(len(volumes), 1 / len(volumes)))


class _Known:
    """What the levels of all groups are computed from, for one kind of recording."""

    def __init__(self, at: Resolution, mixture: Mixture, turned: list[Tensor]) -> None:
        inverse = 1 / mixture.noise[at.radii]
        self.turned = turned
        self.scaled = [
            torch.view_as_real(t * inverse).flatten(1).T.contiguous() for t in self.turned
        ]
        self.offsets = [
            float(np.log(max(share, 1e-12))) - (t.abs() ** 2 * inverse).sum(dim=1)
            for t, share in zip(self.turned, mixture.shares, strict=True)
        ]

    def level(self, moved: Tensor, near: Tensor) -> Tensor:
        """Return logarithms of probabilities, (K, b, S, G)."""
        found = [
            (2 * (moved @ scaled) + offset).reshape(*near.shape, -1) + near[..., None]
            for scaled, offset in zip(self.scaled, self.offsets, strict=True)
        ]
        return torch.stack(found)


def _moved(
    at: Resolution, spectra: Tensor, centres_px: NDArray[np.float64], steps_px: NDArray
) -> Tensor:
    """Return particles moved by all steps, (b * S, 2 P) real."""
    places = torch.from_numpy((centres_px[:, None] + steps_px[None]).astype(np.float32))
    angle = (2 * torch.pi / at.n) * (places @ at.points.T)
    moved = spectra[:, None] * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(moved).flatten(2).flatten(0, 1)


def _note(
    level: Tensor,
    rows: NDArray[np.int64],
    steps_px: NDArray[np.float64],
    chances: NDArray[np.float64],
    labels: NDArray[np.int64],
    turns: NDArray[np.int64],
    centres: NDArray[np.float64],
) -> None:
    """Write down groups and likeliest poses of a batch."""
    of_group = level.sum(dim=(2, 3)).T
    chances[rows] = of_group.double().numpy()
    best = of_group.argmax(dim=1)
    labels[rows] = best.numpy()
    own = level[best, torch.arange(len(rows))].flatten(1).argmax(dim=1)
    turns[rows] = (own % level.shape[3]).numpy()
    centres[rows] += steps_px[level.sum(dim=(0, 3)).argmax(dim=1).numpy()]


def _gather(
    sums: Sums, known: _Known, values: list[Tensor], weights: list[Tensor], seen: Tensor
) -> None:
    """Add what was summed up for one kind of recording."""
    for k, (value, weight) in enumerate(zip(values, weights, strict=True)):
        whole = torch.view_as_complex(value.reshape(len(value), -1, 2).contiguous())
        turned = known.turned[k]
        sums.residual = sums.residual - 2 * (whole * turned.conj()).real.sum(dim=0)
        sums.residual = sums.residual + (weight[:, None] * turned.abs() ** 2).sum(dim=0)
        sums.values[k] += whole * seen
        sums.weights[k] += weight[:, None] * seen[None] ** 2


def _weight(seen: Observed) -> Tensor:
    """Return how much of each frequency all particles measured, (P,)."""
    counts = np.bincount(seen.kinds, minlength=len(seen.seen)).astype(np.float32)
    return (torch.from_numpy(counts)[:, None] * seen.seen**2).sum(dim=0)
