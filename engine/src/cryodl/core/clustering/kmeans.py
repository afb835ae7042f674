"""k-means with careful seeding, many starts and a fixed order of the clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.errors import InputError

_MOST_ITERATIONS = 200
_BLOCK = 4096


@dataclass(frozen=True)
class KMeans:
    """Clusters, the largest first.

    Attributes
    ----------
    labels : (N,) int64
        From 0.
    centres : (k, d) float64
        Means of the members.
    inertia : float
        Sum of squared distances to the own centre.
    distances : (N,) float64
        To the own centre.
    """

    labels: NDArray[np.int64]
    centres: NDArray[np.float64]
    inertia: float
    distances: NDArray[np.float64]


def kmeans(points: ArrayLike, clusters: int, *, seed: int = 0, starts: int = 20) -> KMeans:
    """Cluster points.

    Parameters
    ----------
    points : (N, d) array
        Finite.
    clusters : int
        1 to N.
    seed : int
        Of the starts.
    starts : int
        Independent starts, of which the one of the smallest inertia is kept.

    Returns
    -------
    KMeans

    Raises
    ------
    InputError
        More clusters than points, or values that are not finite.

    References
    ----------
    Arthur and Vassilvitskii (2007), SODA, "k-means++".
    """
    data = np.asarray(points, dtype=np.float64)
    if data.ndim != 2 or not np.isfinite(data).all():
        raise InputError(
            f"points to cluster: found shape {data.shape}, expected rows of finite numbers; "
            "give the codes of a training"
        )
    if not 1 <= clusters <= len(data):
        raise InputError(
            f"clusters: found {clusters} for {len(data)} particles, expected 1 to {len(data)}; "
            "ask for fewer"
        )
    data = data - data.mean(axis=0)
    best: tuple[float, NDArray[np.int64]] | None = None
    for start in range(max(1, starts)):
        rng = np.random.default_rng((seed, start))
        labels, inertia = _lloyd(data, _seeds(data, clusters, rng))
        if best is None or inertia < best[0] * (1 - 1e-9):
            best = (inertia, labels)
    labels = by_size(best[1] if best else np.zeros(len(data), dtype=np.int64))
    original = np.asarray(points, dtype=np.float64)
    centres = np.stack([original[labels == k].mean(axis=0) for k in range(labels.max() + 1)])
    distances = np.linalg.norm(original - centres[labels], axis=1)
    return KMeans(labels, centres, float(np.square(distances).sum()), distances)


def by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels from 0 by falling size; of two of one size the first to occur is first."""
    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    return rank[np.searchsorted(found, labels)]


def _seeds(data: NDArray[np.float64], k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    chosen = [int(rng.integers(len(data)))]
    nearest = _squared(data, data[chosen])[:, 0]
    for _ in range(k - 1):
        total = float(nearest.sum())
        if total > 0:
            chosen.append(int(rng.choice(len(data), p=nearest / total)))
        else:  # as many different points as there are have been taken
            chosen.append(int(rng.integers(len(data))))
        nearest = np.minimum(nearest, _squared(data, data[chosen[-1:]])[:, 0])
    return data[chosen].copy()


def _lloyd(
    data: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.int64], float]:
    k = len(centres)
    labels = np.full(len(data), -1, dtype=np.int64)
    inertia = np.inf
    for _ in range(_MOST_ITERATIONS):
        distances = _squared(data, centres)
        found = distances.argmin(axis=1)
        own = distances[np.arange(len(data)), found]
        for empty in np.setdiff1d(np.arange(k), found):
            # The point that fits worst starts a cluster of its own.
            worst = int(own.argmax())
            found[worst], own[worst] = empty, -1.0
        inertia = float(np.maximum(own, 0).sum())
        if (found == labels).all():
            break
        labels = found
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, data)
        centres = sums / np.maximum(np.bincount(labels, minlength=k), 1)[:, None]
    return labels, inertia


def _squared(data: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances (N, k), in blocks."""
    out = np.empty((len(data), len(centres)))
    norms = np.square(centres).sum(axis=1)
    for start in range(0, len(data), _BLOCK):
        part = data[start : start + _BLOCK]
        out[start : start + _BLOCK] = (
            np.square(part).sum(axis=1)[:, None] - 2 * part @ centres.T + norms
        )
    return np.maximum(out, 0)
