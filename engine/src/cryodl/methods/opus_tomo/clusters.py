"""Clusters and principal components of latents; the same input gives the same result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STARTS = 10
_ITERATIONS = 100
_LOW, _HIGH = 5.0, 95.0  # percentiles between which a component is followed, as published


def cluster(
    points: NDArray[np.floating], count: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut points into clusters by k-means, the best of ten starts.

    Parameters
    ----------
    points : (n, d)
        Latents.
    count : int
        Clusters, at most n.
    seed : int
        Of the starts.

    Returns
    -------
    labels : (n,)
        From 1; like clusters have near numbers.
    centres : (count,)
        The particle nearest to each centre.
    """
    values = np.asarray(points, dtype=np.float64)
    best: tuple[float, NDArray[np.int64], NDArray[np.float64]] | None = None
    for start in range(_STARTS):
        generator = np.random.default_rng((seed, start))
        labels, centres, inertia = _descend(values, _spread_start(values, count, generator))
        if best is None or inertia < best[0]:
            best = (inertia, labels, centres)
    if best is None:
        return np.ones(len(values), np.int64), np.zeros(1, np.int64)
    _, labels, centres = best
    order = _chained(centres)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    nearest = np.array([int(((values - c) ** 2).sum(1).argmin()) for c in centres[order]])
    return rank[labels] + 1, nearest


def _spread_start(
    values: NDArray[np.float64], count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw starting centres far from each other (k-means++)."""
    chosen = [values[generator.integers(len(values))]]
    for _ in range(count - 1):
        distance = np.min([((values - c) ** 2).sum(1) for c in chosen], axis=0)
        total = distance.sum()
        chance = distance / total if total > 0 else np.full(len(values), 1 / len(values))
        chosen.append(values[generator.choice(len(values), p=chance)])
    return np.stack(chosen)


def _descend(
    values: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    labels = np.full(len(values), -1, np.int64)
    for _ in range(_ITERATIONS):
        distance = _distances(values, centres)
        found = distance.argmin(axis=1)
        for k in range(len(centres)):
            if not (found == k).any():  # an empty cluster takes the point that fits worst
                misfit = distance[np.arange(len(values)), found]
                alone = np.bincount(found, minlength=len(centres))[found] == 1
                found[int(np.where(alone, -1.0, misfit).argmax())] = k
        if (found == labels).all():
            break
        labels = found
        centres = np.stack([values[labels == k].mean(axis=0) for k in range(len(centres))])
    inertia = float(((values - centres[labels]) ** 2).sum())
    return labels, centres, inertia


def _distances(values: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([((values - c) ** 2).sum(axis=1) for c in centres], axis=1)


def _chained(centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the order of the centres along the leaves of their hierarchy (average linkage)."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(centres) < 3:
        return np.argsort(centres[:, 0]).astype(np.int64)
    return np.asarray(leaves_list(linkage(centres, "average")), dtype=np.int64)


def principal_components(
    points: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return projections (n, d), directions (d, d; rows) and shares of the variance (d,)."""
    values = np.asarray(points, dtype=np.float64)
    centred = values - values.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    # The sign of a direction: its largest part is positive.
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    directions = directions * np.sign(largest)[:, None]
    variance = singular**2
    return centred @ directions.T, directions, variance / max(variance.sum(), 1e-30)


def along_component(projections: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Return places along a component, from its 5th to its 95th percentile."""
    low, high = np.percentile(projections, (_LOW, _HIGH))
    return np.linspace(low, high, steps)


def silhouette(points: NDArray[np.floating], labels: NDArray[np.int64], most: int = 2000) -> float:
    """Return the mean silhouette of a clustering, -1 to 1; of some of the points if many."""
    values = np.asarray(points, dtype=np.float64)
    step = max(1, len(values) // most)
    values, labels = values[::step], labels[::step]
    found = np.unique(labels)
    if len(found) < 2:
        return 0.0
    distance = np.sqrt(_distances(values, values))
    sums = np.stack([distance[:, labels == k].sum(axis=1) for k in found], axis=1)
    counts = np.array([(labels == k).sum() for k in found], dtype=float)
    own = np.searchsorted(found, labels)
    rows = np.arange(len(values))
    inner = sums[rows, own] / np.maximum(counts[own] - 1, 1)
    means = sums / counts
    means[rows, own] = np.inf
    outer = means.min(axis=1)
    score = np.where(counts[own] > 1, (outer - inner) / np.maximum(inner, outer), 0.0)
    return float(score.mean())
