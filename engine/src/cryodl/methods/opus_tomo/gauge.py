"""What corrections of poses and latents say of each other, and who is to have it.

For each latent the density may be turned and moved as a whole if the poses of its particles are
turned and moved back: the data cannot tell. Poses that are fitted to an average take the side of
the average, and so a motion of a part ends up half in the poses. The poses that were given know
nothing of the states; hence what the latents can foretell of the corrections belongs to the
densities, and is given back to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.methods.opus_tomo.clusters import cluster

_FOLDS = 5
_MOST_GROUPS, _LEAST_OF_A_GROUP, _TURNS = 4, 10, 5
_JUDGED = 2  # dimensions that groups are judged in
_MOST_DIMENSIONS = 4
_MEANS_SOMETHING = 0.1  # of the largest deviation of a latent
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
_LEAST_FORETOLD = 0.03  # of the variance, on particles that were not fitted


def foretold(
    targets: NDArray[np.floating], features: NDArray[np.float64], seed: int = 0
) -> NDArray[np.float64]:
    """Return what features foretell of some numbers of each particle, (n, k), of mean zero.

    Ridge regression. Its strength, and whether there is anything to foretell, is decided for each
    column on particles that were left out; a column that is not foretold is zero.

    Parameters
    ----------
    targets : (n, k)
        Corrections, or latents.
    features : (n, f)
        `latent_features` or `view_features`.
    seed : int
        Of the folds.
    """
    wanted = np.asarray(targets, dtype=np.float64)
    found = features @ _weights(wanted - wanted.mean(axis=0), features, seed)
    return found - found.mean(axis=0)


def freed_of_views(
    latents: NDArray[np.floating], views: NDArray[np.floating], seed: int = 0
) -> tuple[NDArray[np.float64], int]:
    """Return latents (n, k) without what the view foretells of them, and the number of groups.

    What a view foretells may be a leak of the wedge into the latents, or true: states can be seen
    from different sides, and a symmetric particle takes one of its equivalent poses by its state.
    Both are told apart by explaining latents by groups and views together, with one to four groups.
    The likelihood of the classified latents chooses: an even cloud costs more in two groups than
    in one, and groups count from some 3.5 deviations between them. Where there is one group, all
    that is foretold is taken off.

    Parameters
    ----------
    latents : (n, k)
        Largest variation first.
    views : (n, 3)
        Directions, in the frame of the reference.
    seed : int
        Of groups and folds.
    """
    points = np.asarray(latents, dtype=np.float64)
    features = view_features(views)
    best: tuple[float, NDArray[np.float64], int] | None = None
    for groups in range(1, _MOST_GROUPS + 1):
        if len(points) < groups * _LEAST_OF_A_GROUP:
            break
        rest, labels = _explained(points, features, groups, seed)
        worth = _classified_likelihood(rest[:, :_JUDGED], labels)
        if best is None or worth > best[0]:
            best = (worth, rest, groups)
    return (points, 1) if best is None else best[1:]


def _explained(
    points: NDArray[np.float64], features: NDArray[np.float64], groups: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points without what views foretell within groups, and the groups, in turns."""
    rest, labels = points, np.ones(len(points), np.int64)
    for _ in range(_TURNS):
        labels, _ = cluster(rest, groups, seed)
        weights = _weights(_within(points, labels), _within(features, labels), seed)
        effect = features @ weights
        rest = points - effect + effect.mean(axis=0)
    return rest, labels


def _within(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return values (n, k) less the mean of their group."""
    found = values.copy()
    for label in np.unique(labels):
        found[labels == label] -= values[labels == label].mean(axis=0)
    return found


def _classified_likelihood(points: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the log likelihood a point, of Gaussian groups of one shape, with their entropy."""
    count, dimensions = points.shape
    spread = _within(points, labels).T @ _within(points, labels) / count
    _, volume = np.linalg.slogdet(spread + 1e-12 * np.trace(points.T @ points) * np.eye(dimensions))
    shares = np.unique(labels, return_counts=True)[1] / count
    parameters = len(shares) * (dimensions + 1)
    entropy = float((shares * np.log(shares)).sum())
    return float(-0.5 * volume) + entropy - 0.5 * parameters * np.log(count) / count


def latent_features(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return latents (n, d) that mean something, and their squares, of mean zero."""
    latents = np.asarray(latents, dtype=np.float64)
    deviations = latents.std(axis=0)
    chosen = np.flatnonzero(deviations > max(_MEANS_SOMETHING * deviations.max(initial=0.0), 1e-12))
    values = latents[:, chosen[:_MOST_DIMENSIONS]]
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-12)
    squares = values**2 - (values**2).mean(axis=0)
    return np.concatenate([values, squares], axis=1)


def view_features(directions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how views (n, 3) depend on the direction in second order, (n, 5), of mean zero.

    A view and its opposite show the same wedge.
    """
    x, y, z = np.asarray(directions, dtype=np.float64).T
    found = np.stack([x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], axis=1)
    deviations = found.std(axis=0)
    return (found - found.mean(axis=0)) / np.where(deviations > 1e-9, deviations, 1)


def _weights(
    targets: NDArray[np.float64], features: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return what foretells targets (n, k) of mean zero, (f, k); zero where nothing does."""
    weights = np.zeros((features.shape[1], targets.shape[1]))
    if not features.shape[1] or len(targets) < 4 * _FOLDS:
        return weights
    folds = np.array_split(np.random.default_rng(seed).permutation(len(targets)), _FOLDS)
    errors = np.stack([_left_out(features, targets, folds, ridge) for ridge in _RIDGES])
    for column, choice in enumerate(errors.argmin(axis=0)):
        if errors[choice, column] < 1 - _LEAST_FORETOLD:
            one = _ridge(features, targets[:, column : column + 1], _RIDGES[choice])
            weights[:, column] = one[:, 0]
    return weights


def _left_out(
    features: NDArray[np.float64],
    targets: NDArray[np.float64],
    folds: list[NDArray[np.intp]],
    ridge: float,
) -> NDArray[np.float64]:
    """Return the squared error on particles left out, over the variance, (k,)."""
    error = np.zeros(targets.shape[1])
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(targets)), fold)
        mean = targets[rest].mean(axis=0)
        weights = _ridge(features[rest], targets[rest] - mean, ridge)
        error += ((targets[fold] - mean - features[fold] @ weights) ** 2).sum(axis=0)
    found: NDArray[np.float64] = error / np.maximum((targets**2).sum(axis=0), 1e-30)
    return found


def _ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    gram = features.T @ features + ridge * len(features) * np.eye(features.shape[1])
    found: NDArray[np.float64] = np.linalg.solve(gram, features.T @ targets)
    return found
