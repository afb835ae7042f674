"""From groups by features to groups by likelihood: several beginnings, merging, finer and finer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryodl.core.clustering.kmeans import by_size
from cryodl.methods.autoencoder3d.mixture import (
    AROUND,
    NEAR,
    Mixture,
    Sorting,
    average_of,
    expect,
    learn,
    mixture_of_groups,
    total_power,
)
from cryodl.methods.autoencoder3d.resolution import Observed, Resolution, observe

WORKING_BOX_PX = 16
MORE_GROUPS = 3  # than wanted, to begin with: those of one structure are merged again
SAME = 0.75  # gain of two groups over one, for each number more, below which they are one

_SHELLS = (3, 4, 5)
_KEPT = 2
_MERGE_ROUNDS = 3
_EXPLAIN_ROUNDS = 6
_MERGE_ROTATIONS = 1536
# Half voxels, where the data are to say how many groups there are: with whole ones two maps of one
# structure, each a little aside, explain strong signals better than one, the more the more there
# are.
_MERGE_STEPS_PX = 0.5 * NEAR
_MOST_LEARNED = 1500  # particles; the rest are only sorted


@dataclass(frozen=True)
class Merge:
    """The cheapest merge of two groups: how many there were, and what both gained."""

    groups: int
    sizes: tuple[int, int]
    ratio: float


@dataclass(frozen=True)
class Refined:
    """Groups by likelihood.

    Attributes
    ----------
    labels : (N,) int64
        From 0, by falling size.
    rotations, centres_px : (N, 3, 3) and (N, 3)
        Poses within the groups: ``x_box = A x_group + c``, voxels of the working box.
    chances : (N,) float64
        Probability of the own group.
    merges : list of Merge
        What was merged, or would have been next.
    better : bool
        Whether they explain the particles at least as well as the groups that they began with;
        otherwise they are these groups.
    """

    labels: NDArray[np.int64]
    rotations: NDArray[np.float64]
    centres_px: NDArray[np.float64]
    chances: NDArray[np.float64]
    merges: list[Merge]
    better: bool


@dataclass(frozen=True)
class Particles:
    """What is to be sorted: boxes of at most `WORKING_BOX_PX`, wedges of each kind, kinds."""

    boxes: NDArray[np.float32]
    wedges: NDArray[np.float32]
    kinds: NDArray[np.int64]

    def at(self, resolution: Resolution) -> Observed:
        """Return them at a resolution."""
        return observe(resolution, self.boxes, self.wedges, self.kinds)

    def subset(self, rows: NDArray[np.int64]) -> Particles:
        """Return some of them."""
        return Particles(self.boxes[rows], self.wedges, self.kinds[rows])


def refine_groups(
    particles: Particles,
    few: NDArray[np.int64],
    many: NDArray[np.int64],
    wanted: int | None,
    *,
    rounds: int,
    rotations: int,
    seed: int,
) -> Refined:
    """Sort particles into groups by likelihood, whatever their orientation.

    Parameters
    ----------
    few, many : (N,) integers
        Groups to begin with: as many as wanted (or guessed), and some more.
    wanted : int or None
        How many to end with; None merges groups until those left differ by more than chance.
    rounds : int
        At the coarsest resolution; half as many at each finer one.
    rotations : int
        Orientations at the finest resolution.
    """
    rng = np.random.default_rng(seed)
    total = len(particles.boxes)
    rows = np.sort(rng.permutation(total)[:_MOST_LEARNED])
    learned = particles.subset(rows)
    n = particles.boxes.shape[-1]
    levels = [
        Resolution(n, shell, max(24, rotations // share))
        for shell, share in zip(_SHELLS, (4, 2, 1), strict=True)
    ]
    begun, merges = _beginnings(levels[0], learned, few[rows], many[rows], wanted, rounds, rng)
    finer = max(2, rounds // 2)
    for level, kept in zip(levels[1:], (_KEPT, 1), strict=True):
        begun = sorted(begun, key=lambda entry: _rank(entry, wanted))[:kept]
        seen = learned.at(level)
        noise = total_power(level, seen)
        begun = [learn(level, seen, replace(m, noise=noise), s.centres_px, finer) for m, s in begun]
    mixture, sorting = min(begun, key=lambda entry: _rank(entry, wanted))
    seen = learned.at(levels[0])
    ours, theirs = (
        _explained(levels[0], seen, labels, seed) for labels in (sorting.labels, few[rows])
    )
    same = np.array_equal(by_size(sorting.labels), by_size(few[rows]))
    if ours <= theirs and not same:
        return _turned_in_groups(levels, particles, few, merges, finer, seed)
    if len(rows) < total:
        mixture, sorting = _sort_all(levels, particles, mixture)
    labels = by_size(sorting.labels)
    own = sorting.chances[np.arange(total), sorting.labels]
    return Refined(labels, sorting.rotations, sorting.centres_px, own, merges, True)


def _turned_in_groups(
    levels: list[Resolution],
    particles: Particles,
    labels: NDArray[np.int64],
    merges: list[Merge],
    rounds: int,
    seed: int,
) -> Refined:
    """Return groups as they are, with poses and chances from a map of each."""
    total = len(labels)
    rotations, centres = np.tile(np.eye(3), (total, 1, 1)), np.zeros((total, 3))
    volumes, counts = [], []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own, place = particles.subset(rows), np.zeros((len(rows), 3))
        seen = own.at(levels[0])
        mixture = mixture_of_groups(
            levels[0], seen, np.zeros_like(rows), np.random.default_rng(seed)
        )
        for number, level in enumerate(levels):
            seen = own.at(level)
            mixture = replace(mixture, noise=total_power(level, seen))
            around = {"steps_px": AROUND} if number == 0 else {}
            count = _EXPLAIN_ROUNDS if number == 0 else rounds
            mixture, sorting = learn(level, seen, mixture, place, count, **around)
            place = sorting.centres_px
        rotations[rows], centres[rows] = sorting.rotations, place
        volumes.append(mixture.volumes[0])
        counts.append(len(rows))
    seen = particles.at(levels[-1])
    both = Mixture(volumes, total_power(levels[-1], seen), np.array(counts) / total)
    sorting, _ = expect(levels[-1], seen, both, centres)
    kinds = np.searchsorted(np.unique(labels), labels)
    own_chances = sorting.chances[np.arange(total), kinds]
    return Refined(by_size(labels), rotations, centres, own_chances, merges, False)


def _explained(at: Resolution, seen: Observed, labels: NDArray[np.int64], seed: int) -> float:
    """Return how well groups explain particles, each averaged anew from nothing but its members."""
    total = 0.0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own, middle = seen.subset(rows), np.zeros((len(rows), 3))
        mixture = mixture_of_groups(at, own, np.zeros_like(rows), np.random.default_rng(seed))
        mixture = replace(mixture, noise=total_power(at, seen))
        _, sorting = learn(at, own, mixture, middle, _EXPLAIN_ROUNDS, AROUND)
        total += sorting.likelihood + len(rows) * float(np.log(len(rows) / len(labels)))
    return total


def _rank(entry: tuple[Mixture, Sorting], wanted: int | None) -> tuple[int, float]:
    groups = len(np.unique(entry[1].labels))
    return (0 if wanted is None else abs(groups - wanted), -entry[1].likelihood)


def _beginnings(
    at: Resolution,
    particles: Particles,
    few: NDArray[np.int64],
    many: NDArray[np.int64],
    wanted: int | None,
    rounds: int,
    rng: np.random.Generator,
) -> tuple[list[tuple[Mixture, Sorting]], list[Merge]]:
    """Return mixtures learned at the coarsest resolution, from different beginnings."""
    seen = particles.at(at)
    middle = np.zeros((len(particles.boxes), 3))
    mixture = mixture_of_groups(at, seen, many, rng)
    mixture, sorting = learn(at, seen, mixture, middle, rounds, AROUND, refilled=True)
    fine = Resolution(at.n, at.shell, _MERGE_ROTATIONS)
    merged, merges = merge_groups(fine, seen, mixture, sorting, wanted)
    found = [learn(at, seen, merged, sorting.centres_px, max(2, rounds // 4))]
    if wanted is None:
        return found, merges
    # Two more: the groups of the features, and single particles, which at little noise are maps.
    singles = np.full(len(few), -1)
    singles[rng.permutation(len(few))[:wanted]] = np.arange(wanted)
    for labels in (few, singles):
        rows = np.flatnonzero(labels >= 0)
        mixture = mixture_of_groups(at, seen.subset(rows), labels[rows], rng)
        found.append(learn(at, seen, mixture, middle, rounds, AROUND, refilled=True))
    return found, merges


def _sort_all(
    levels: list[Resolution], particles: Particles, mixture: Mixture
) -> tuple[Mixture, Sorting]:
    """Sort particles that took no part in learning, and the others with them."""
    middle = np.zeros((len(particles.boxes), 3))
    coarse = levels[0]
    rough = replace(mixture, noise=mixture.noise[: coarse.shell + 1])
    _, first = learn(coarse, particles.at(coarse), rough, middle, 1, AROUND)
    return learn(levels[-1], particles.at(levels[-1]), mixture, first.centres_px, 1)


@dataclass(frozen=True)
class _Group:
    """A group of its own: members, map, likelihood, and how many numbers the data decide in it."""

    rows: NDArray[np.int64]
    volume: NDArray[np.float32]
    likelihood: float
    decided: float


def merge_groups(
    at: Resolution, seen: Observed, mixture: Mixture, sorting: Sorting, wanted: int | None
) -> tuple[Mixture, list[Merge]]:
    """Merge the groups that differ least, by what two maps explain better than one.

    An additional map always explains more, for it fits noise too: the logarithm of the likelihood
    gains about one half for each number that the data decide in the map. Akaike (1974) asks for 1,
    `SAME` lies between.

    Parameters
    ----------
    wanted : int or None
        Stop at so many groups; None stops where the next merge would cost more than chance.
    """
    last = NEAR if wanted is not None else _MERGE_STEPS_PX
    groups = [
        _alone(at, seen, sorting, mixture, np.flatnonzero(sorting.labels == k), volume, 1, last)
        for k, volume in enumerate(mixture.volumes)
        if (sorting.labels == k).any()
    ]
    pairs: dict[tuple[int, int], _Group] = {}
    numbers = list(range(len(groups)))
    merges: list[Merge] = []
    while len(groups) > 1:
        best: tuple[float, int, int] | None = None
        for i in range(len(groups)):
            for j in range(i):
                first, second = groups[i], groups[j]
                key = (numbers[i], numbers[j])
                if key not in pairs:
                    rows = np.sort(np.concatenate([first.rows, second.rows]))
                    larger = max(first, second, key=lambda group: len(group.rows))
                    pairs[key] = _alone(
                        at, seen, sorting, mixture, rows, larger.volume, _MERGE_ROUNDS, last
                    )
                ratio = _gain(first, second, pairs[key])
                if best is None or ratio < best[0]:
                    best = (ratio, i, j)
        if best is None:
            break
        ratio, i, j = best
        sizes = (len(groups[i].rows), len(groups[j].rows))
        merges.append(Merge(len(groups), (max(sizes), min(sizes)), ratio))
        if len(groups) <= wanted if wanted is not None else ratio > SAME:
            break
        joined = pairs[numbers[i], numbers[j]]
        groups = [*(g for k, g in enumerate(groups) if k not in (i, j)), joined]
        numbers = [*(m for k, m in enumerate(numbers) if k not in (i, j)), max(numbers) + 1]
    shares = np.array([len(group.rows) for group in groups], dtype=np.float64)
    volumes = [group.volume for group in groups]
    return Mixture(volumes, mixture.noise, shares / shares.sum()), merges


def _gain(first: _Group, second: _Group, both: _Group) -> float:
    """Return what two groups explain better than one, over what chance would."""
    a, b = len(first.rows), len(second.rows)
    shares = a * np.log(a / (a + b)) + b * np.log(b / (a + b))
    gain = first.likelihood + second.likelihood + shares - both.likelihood
    return float(gain / max(first.decided + second.decided - both.decided, 1.0))


def _alone(
    at: Resolution,
    seen: Observed,
    sorting: Sorting,
    mixture: Mixture,
    rows: NDArray[np.int64],
    volume: NDArray[np.float32],
    rounds: int,
    last_steps_px: NDArray[np.float64],
) -> _Group:
    """Return some particles as one group, with the noise of all."""
    own, centres = seen.subset(rows), sorting.centres_px[rows]
    decided = 1.0
    for number in range(rounds + 1):
        one = Mixture([volume], mixture.noise, np.ones(1))
        # The frames of two groups may lie farther apart than the last steps reach.
        steps_px = NEAR if number < rounds - 1 else last_steps_px
        found, sums = expect(at, own, one, centres, steps_px)
        if number < rounds:
            volume, _ = average_of(at, sums.values[0], sums.weights[0], mixture.noise)
            centres = found.centres_px
        else:
            _, decided = average_of(at, sums.values[0], sums.weights[0], mixture.noise)
    return _Group(rows, volume, found.likelihood, decided)
