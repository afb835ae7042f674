"""k-means: known clusters, order, repeatability, and what it refuses."""

import numpy as np
import pytest

from cryodl.core.clustering.kmeans import by_size, kmeans
from cryodl.errors import InputError


def blobs(seed=0, counts=(50, 20, 5)):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(counts)), counts)
    return rng.normal(size=(len(truth), 4)) + 12 * np.eye(4)[truth], truth


def test_separate_clusters_are_found_largest_first():
    points, truth = blobs()
    order = np.random.default_rng(1).permutation(len(points))
    found = kmeans(points[order], 3, seed=3)
    assert np.array_equal(found.labels, truth[order])
    assert np.allclose(found.centres[2], points[truth == 2].mean(axis=0))
    assert found.inertia == pytest.approx(np.square(found.distances).sum())


def test_offset_changes_nothing_and_a_seed_repeats():
    points, _ = blobs(2, (30, 30))
    first, again = kmeans(points, 5, seed=1), kmeans(points + 1e4, 5, seed=1)
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.centres, kmeans(points, 5, seed=1).centres)


def test_as_many_clusters_as_points_and_equal_points():
    found = kmeans(np.arange(6.0)[:, None], 6)
    assert sorted(found.labels) == list(range(6)) and found.inertia == 0
    equal = kmeans(np.ones((4, 2)), 3)
    assert len(np.unique(equal.labels)) == 3


def test_by_size_orders_by_count_then_by_place():
    assert by_size(np.array([7, 3, 3, 9, 9, 9])).tolist() == [2, 1, 1, 0, 0, 0]
    assert by_size(np.array([5, 2])).tolist() == [0, 1]


@pytest.mark.parametrize("count", [0, 5])
def test_impossible_numbers_are_refused(count):
    with pytest.raises(InputError, match="expected 1 to 4"):
        kmeans(np.eye(4), count)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        kmeans([[np.nan, 1.0]], 1)
