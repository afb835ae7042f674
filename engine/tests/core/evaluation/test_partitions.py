"""Agreement of partitions: textbook values, invariance to names, bad input."""

import numpy as np
import pytest

from cryodl.core.evaluation.partitions import (
    adjusted_rand_index,
    homogeneity,
    normalised_mutual_information,
    recall_of_classes,
    silhouette,
)
from cryodl.errors import InputError


def test_rand_index_of_known_partitions():
    # Hand-counted: two pairs together in both; 2 * 3 / 15 expected.
    assert adjusted_rand_index([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(0.571428, abs=1e-5)
    assert adjusted_rand_index([0, 0, 1, 1], [5, 5, 3, 3]) == 1
    assert adjusted_rand_index([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(-0.5)


def test_unrelated_partitions_agree_by_chance_alone():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 4000), rng.integers(0, 4, 4000)
    assert abs(adjusted_rand_index(a, b)) < 0.01
    assert normalised_mutual_information(a, b) < 0.01


def test_finer_clusters_are_homogeneous_but_do_not_agree():
    truth, fine = np.repeat([0, 1], 8), np.repeat([0, 1, 2, 3], 4)
    assert homogeneity(truth, fine) == pytest.approx(1)
    assert homogeneity(fine, truth) == pytest.approx(0.5)
    assert normalised_mutual_information(truth, fine) == pytest.approx(2 / 3)


def test_recall_counts_clusters_that_a_class_leads():
    truth = [1] * 6 + [2] * 4
    found = [0] * 6 + [0, 1, 1, 1]
    assert recall_of_classes(truth, found) == {1: 1.0, 2: 0.75}


def test_silhouette_of_two_pairs():
    # (10.05 - 0.1) / 10.05 and so on, by hand.
    points = np.array([[0.0], [0.1], [10.0], [10.1]])
    assert silhouette(points, [0, 0, 1, 1]) == pytest.approx(0.98999, abs=1e-4)
    assert silhouette(points, [0, 1, 0, 1]) < 0
    assert silhouette(points, [0, 0, 0, 0]) == 0


def test_different_lengths_are_refused():
    with pytest.raises(InputError, match="as many"):
        adjusted_rand_index([0, 1], [0])
    with pytest.raises(InputError, match="as many"):
        silhouette(np.eye(3), [0, 1])
