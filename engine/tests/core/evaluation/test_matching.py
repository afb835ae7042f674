"""Picks against truth."""

from __future__ import annotations

import numpy as np
import pytest

from cryodl.core.evaluation.matching import average_precision, match_points, score_points
from cryodl.errors import InputError

TRUTH = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0]])


def test_the_radius_is_a_distance():
    assert score_points(TRUTH[:1] + [0, 5.0, 0], TRUTH[:1], 5).found == 1
    assert score_points(TRUTH[:1] + [0, 5.01, 0], TRUTH[:1], 5).found == 0


def test_each_point_is_used_once_and_as_many_pairs_as_can_be_are_made():
    picked = np.array([[5.0, 0, 0], [-5, 0, 0]])  # the first is as near to two true points
    picks, truths = match_points(picked, TRUTH, 5)
    assert sorted(zip(picks, truths, strict=True)) == [(0, 1), (1, 0)]


def test_counts_and_means():
    picked = np.array([[1.0, 0, 0], [10, 2, 0], [50, 0, 0]])
    score = score_points(picked, TRUTH, 5)
    assert (score.found, score.missed, score.extra) == (2, 1, 1)
    assert score.precision == score.recall == score.f1 == pytest.approx(2 / 3)
    assert score.f_beta(4) == pytest.approx(17 * (2 / 3) ** 2 / (17 * 2 / 3))
    assert score.mean_error_px == pytest.approx(1.5)


def test_average_precision_falls_with_a_wrong_pick_in_front():
    picked = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [70, 0, 0]])
    good = average_precision(picked, np.array([0.9, 0.8, 0.7, 0.1]), TRUTH, 3)
    bad = average_precision(picked, np.array([0.9, 0.8, 0.7, 1.0]), TRUTH, 3)
    assert good == 1.0
    assert bad == pytest.approx(0.75)


def test_nothing_is_not_a_crash():
    none = np.empty((0, 3))
    assert score_points(none, TRUTH, 5).recall == 0
    assert score_points(TRUTH, none, 5).precision == 0
    assert average_precision(none, np.empty(0), TRUTH, 5) == 0
    with pytest.raises(InputError, match="--radius"):
        match_points(TRUTH, TRUTH, 0)
