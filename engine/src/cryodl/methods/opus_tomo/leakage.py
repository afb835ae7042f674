"""Whether latents tell from where a particle was seen, which they must not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FOLDS = 5
_RIDGE = 1e-2
_MEANS_SOMETHING = 0.05


def direction_leakage(
    latents: NDArray[np.floating], rotations: NDArray[np.float64], seed: int = 0
) -> float:
    """Return by how much the octant of the view is predicted from the latents above chance.

    A linear classifier on latents, their squares and products, in five folds; accuracy less that
    of always saying the most frequent octant. Dimensions of less than a twentieth of the largest
    variation are left out: they do not change the density.

    Parameters
    ----------
    latents : (n, d)
        Of particles.
    rotations : (n, 3, 3)
        Their poses; the view is the third row.
    seed : int
        Of the folds.
    """
    views = rotations[:, 2]
    # A view and its opposite show the same wedge: four kinds of octants.
    views = views * np.where(views[:, 2:] < 0, -1.0, 1.0)
    octants = (views[:, 0] > 0).astype(int) * 2 + (views[:, 1] > 0)
    values = np.asarray(latents, dtype=np.float64)[:, :8]
    deviations = values.std(axis=0)
    values = values[:, deviations >= _MEANS_SOMETHING * deviations.max()]
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-12)
    rows, columns = np.triu_indices(values.shape[1])
    features = np.column_stack([np.ones(len(values)), values, values[:, rows] * values[:, columns]])
    order = np.random.default_rng(seed).permutation(len(values))
    right, chance = 0.0, 0.0
    for fold in np.array_split(order, _FOLDS):
        train = np.setdiff1d(order, fold)
        right += float((_predicted(features, octants, train, fold) == octants[fold]).sum())
        chance += float((octants[fold] == np.bincount(octants[train]).argmax()).sum())
    return (right - chance) / len(values)


def _predicted(
    features: NDArray[np.float64],
    kinds: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> NDArray[np.int64]:
    targets = np.eye(4)[kinds[train]]
    given = features[train]
    ridge = _RIDGE * len(train) * np.eye(given.shape[1])
    weights = np.linalg.solve(given.T @ given + ridge, given.T @ targets)
    found: NDArray[np.int64] = (features[test] @ weights).argmax(axis=1)
    return found
