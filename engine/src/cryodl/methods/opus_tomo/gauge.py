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

_FOLDS = 5
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
    wanted = wanted - wanted.mean(axis=0)
    if not features.shape[1] or len(wanted) < 4 * _FOLDS:
        return np.zeros_like(wanted)
    folds = np.array_split(np.random.default_rng(seed).permutation(len(wanted)), _FOLDS)
    errors = np.stack([_left_out(features, wanted, folds, ridge) for ridge in _RIDGES])
    best = errors.argmin(axis=0)
    found = np.zeros_like(wanted)
    for column, choice in enumerate(best):
        if errors[choice, column] < 1 - _LEAST_FORETOLD:
            weights = _ridge(features, wanted[:, column : column + 1], _RIDGES[choice])
            found[:, column] = (features @ weights)[:, 0]
    return found - found.mean(axis=0)


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
