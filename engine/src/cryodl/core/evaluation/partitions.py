"""How well two partitions of the same things agree, and how well one separates its points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.errors import InputError

_BLOCK = 1024


def contingency(first: ArrayLike, second: ArrayLike) -> NDArray[np.int64]:
    """Return how many things have each pair of labels, (labels of first, labels of second).

    Raises
    ------
    InputError
        Partitions of different lengths, or of nothing.
    """
    a, b = np.asarray(first).ravel(), np.asarray(second).ravel()
    if len(a) != len(b) or len(a) == 0:
        raise InputError(
            f"partitions: found {len(a)} and {len(b)} labels, expected as many of each and one at "
            "least; compare partitions of the same things"
        )
    _, rows = np.unique(a, return_inverse=True)
    _, columns = np.unique(b, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def adjusted_rand_index(first: ArrayLike, second: ArrayLike) -> float:
    """Return the Rand index corrected for chance: 1 for equal partitions, 0 for unrelated ones.

    References
    ----------
    Hubert and Arabie (1985), J. Classification 2, 193.
    """
    table = contingency(first, second).astype(np.float64)
    pairs = _pairs(table).sum()
    rows, columns = _pairs(table.sum(axis=1)).sum(), _pairs(table.sum(axis=0)).sum()
    expected = rows * columns / max(float(_pairs(table.sum())), 1.0)
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else float((pairs - expected) / (largest - expected))


def normalised_mutual_information(first: ArrayLike, second: ArrayLike) -> float:
    """Return the mutual information over the mean of the entropies, 0 to 1."""
    share = contingency(first, second) / len(np.asarray(first).ravel())
    own = _entropy(share.sum(axis=1)) + _entropy(share.sum(axis=0))
    return 1.0 if own == 0 else float(2 * (own - _entropy(share)) / own)


def homogeneity(truth: ArrayLike, found: ArrayLike) -> float:
    """Return how far clusters hold one true class each: 1 when all do, whatever their number."""
    share = contingency(truth, found) / len(np.asarray(truth).ravel())
    entropy = _entropy(share.sum(axis=1))
    left = _entropy(share) - _entropy(share.sum(axis=0))
    return 1.0 if entropy == 0 else float(1 - left / entropy)


def recall_of_classes(truth: ArrayLike, found: ArrayLike) -> dict[int, float]:
    """Return for each true class the share of it in clusters where it is the most frequent."""
    table = contingency(truth, found)
    own = table.argmax(axis=0)
    names = np.unique(np.asarray(truth))
    return {
        int(name): float(table[row, own == row].sum() / table[row].sum())
        for row, name in enumerate(names)
    }


def silhouette(points: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean silhouette, -1 to 1; 0 where there is but one cluster.

    References
    ----------
    Rousseeuw (1987), J. Comput. Appl. Math. 20, 53.
    """
    data, found = np.asarray(points, dtype=np.float64), np.asarray(labels)
    names, own = np.unique(found, return_inverse=True)
    if len(data) != len(found):
        raise InputError(
            f"silhouette: found {len(data)} points and {len(found)} labels, expected as many; give "
            "a label for each"
        )
    if len(names) < 2:
        return 0.0
    members = np.eye(len(names))[own]
    counts = members.sum(axis=0)
    norms = np.square(data).sum(axis=1)
    total = 0.0
    for start in range(0, len(data), _BLOCK):
        rows = slice(start, start + _BLOCK)
        squared = norms[rows, None] - 2 * data[rows] @ data.T + norms
        sums = np.sqrt(np.maximum(squared, 0)) @ members
        mine = own[rows]
        at = np.arange(len(mine))
        inside = sums[at, mine] / np.maximum(counts[mine] - 1, 1)
        others = sums / counts
        others[at, mine] = np.inf
        outside = others.min(axis=1)
        value = (outside - inside) / np.maximum(np.maximum(outside, inside), 1e-300)
        total += float(value[counts[mine] > 1].sum())
    return total / len(data)


def _pairs(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts * (counts - 1) / 2)


def _entropy(share: NDArray[np.float64]) -> float:
    positive = share[share > 0]
    return float(-(positive * np.log(positive)).sum())
