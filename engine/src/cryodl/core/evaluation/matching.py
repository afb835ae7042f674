"""Picked points against true ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError


@dataclass(frozen=True)
class PickingScore:
    """How well points were found.

    Attributes
    ----------
    found, missed, extra : int
        Pairs, true points without a pick, picks without a true point.
    mean_error_px : float
        Mean distance of the pairs; NaN without any.
    """

    found: int
    missed: int
    extra: int
    mean_error_px: float

    @property
    def precision(self) -> float:
        """Share of the picks that are right; 0 without picks."""
        return self.found / max(1, self.found + self.extra)

    @property
    def recall(self) -> float:
        """Share of the true points that were found; 0 without any."""
        return self.found / max(1, self.found + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return self.f_beta(1.0)

    def f_beta(self, beta: float) -> float:
        """Return the weighted mean in which recall counts `beta` times as much."""
        weight = beta**2
        below = (1 + weight) * self.found + weight * self.missed + self.extra
        return (1 + weight) * self.found / below if below else 0.0


def match_points(
    picked_px: NDArray[np.float64], truth_px: NDArray[np.float64], radius_px: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair picks with true points, each used once, no pair farther apart than `radius_px`.

    The number of pairs is the largest possible, and of those choices the one of the smallest sum
    of distances is taken (Hungarian assignment).

    Returns
    -------
    picks, truths : numpy.ndarray
        Indices of the pairs.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if not radius_px > 0:
        raise InputError(f"--radius: found {radius_px:g}, expected more than 0")
    if not len(picked_px) or not len(truth_px):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    distance = cdist(picked_px, truth_px)
    near = distance <= radius_px
    # A pair beyond the radius costs more than any number of pairs within it.
    forbidden = radius_px * (min(distance.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(near, distance, forbidden))
    kept = near[rows, columns]
    return rows[kept], columns[kept]


def score_points(
    picked_px: NDArray[np.float64], truth_px: NDArray[np.float64], radius_px: float
) -> PickingScore:
    """Compare picks (n, 3) with true points (m, 3), both in the same voxels."""
    picks, truths = match_points(picked_px, truth_px, radius_px)
    error = np.linalg.norm(picked_px[picks] - truth_px[truths], axis=1)
    return PickingScore(
        len(picks),
        len(truth_px) - len(picks),
        len(picked_px) - len(picks),
        float(error.mean()) if len(error) else float("nan"),
    )


def average_precision(
    picked_px: NDArray[np.float64],
    scores: NDArray[np.float64],
    truth_px: NDArray[np.float64],
    radius_px: float,
) -> float:
    """Return the area under precision against recall as the threshold falls.

    Picks are taken best first, each with the nearest true point that is still free.
    """
    from scipy.spatial.distance import cdist

    if not len(picked_px) or not len(truth_px):
        return 0.0
    distance = cdist(picked_px, truth_px)
    right = np.zeros(len(picked_px), dtype=bool)
    ranked = np.argsort(-scores, kind="stable")
    for rank, pick in enumerate(ranked):
        nearest = int(distance[pick].argmin())
        if distance[pick, nearest] <= radius_px:
            right[rank] = True
            distance[:, nearest] = np.inf
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    # Precision that only falls: the usual interpolation.
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[right].sum() / len(truth_px))
