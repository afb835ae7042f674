"""What latents and poses foretell of each other is found where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.opus_tomo.gauge import (
    foretold,
    freed_of_views,
    latent_features,
    view_features,
)

COUNT = 200


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_the_part_of_a_motion_is_found(rng):
    latents = rng.standard_normal((COUNT, 3)) * [1, 0.5, 0.01]
    errors = 0.5 * rng.standard_normal((COUNT, 6))
    gauge = np.zeros((COUNT, 6))
    gauge[:, 0] = 0.8 * latents[:, 0] + 0.3 * (latents[:, 0] ** 2 - 1)
    found = foretold(errors + gauge, latent_features(latents))
    rest = found - gauge + gauge.mean(axis=0)
    assert np.abs(rest[:, 0]).mean() < 0.25 * np.abs(gauge[:, 0]).mean()
    assert np.abs(found[:, 1:]).max() < 0.25  # which are errors alone
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)


def test_nothing_is_found_where_nothing_is(rng):
    for _ in range(5):
        found = foretold(rng.standard_normal((COUNT, 6)), rng.standard_normal((COUNT, 4)))
        assert found.std() < 0.15
    assert not foretold(np.ones((COUNT, 6)), latent_features(np.zeros((COUNT, 2)))).any()
    assert not foretold(rng.standard_normal((8, 6)), rng.standard_normal((8, 2))).any()


def test_latents_that_follow_the_view_do_so_no_more(rng):
    views = random_rotations(COUNT, rng)[:, 2]
    states = rng.integers(0, 2, COUNT) * 4.0
    latents = (states + 3 * views[:, 0] * views[:, 2])[:, None]
    clean = latents - foretold(latents, view_features(views))
    assert abs(np.corrcoef(clean[:, 0], views[:, 0] * views[:, 2])[0, 1]) < 0.1
    assert np.corrcoef(clean[:, 0], states)[0, 1] > 0.97
    opposite = view_features(-views)
    np.testing.assert_allclose(opposite, view_features(views))


def tilted(rng, states):
    """Views of which those along z belong mostly to one state, those across it to the other."""
    views = random_rotations(4 * COUNT, rng)[:, 2]
    along = np.abs(views[:, 2]) > 0.6
    first = np.where(along, 0.9, 0.1) > rng.random(4 * COUNT)
    chosen = np.concatenate(
        [np.flatnonzero(first == (state == 0))[: (states == state).sum()] for state in (0, 1)]
    )
    order = np.argsort(np.concatenate([np.flatnonzero(states == state) for state in (0, 1)]))
    return views[chosen][order]


@pytest.mark.parametrize("leak", [0.0, 1.5])
def test_states_seen_from_different_sides_stay_apart(rng, leak):
    states = rng.integers(0, 2, COUNT)
    views = tilted(rng, states)
    assert abs(np.corrcoef(view_features(views)[:, 4], states)[0, 1]) > 0.5
    latents = rng.standard_normal((COUNT, 3)) * [0.4, 0.4, 0.1]
    latents[:, 0] += 4 * states + leak * views[:, 0] * views[:, 2]
    free, groups = freed_of_views(latents, views)
    assert groups == 2
    low, high = free[states == 0, 0], free[states == 1, 0]
    assert low.max() < high.min()
    for part, seen in ((low, views[states == 0]), (high, views[states == 1])):
        assert abs(np.corrcoef(part, seen[:, 0] * seen[:, 2])[0, 1]) < 0.25


def test_a_leak_alone_is_taken_off_whole(rng):
    views = random_rotations(COUNT, rng)[:, 2]
    latents = rng.standard_normal((COUNT, 3)) * [1, 0.5, 0.1]
    latents[:, 0] += 3 * (3 * views[:, 2] ** 2 - 1)
    free, groups = freed_of_views(latents, views)
    assert groups == 1
    assert abs(np.corrcoef(free[:, 0], views[:, 2] ** 2)[0, 1]) < 0.1


def test_even_clouds_and_few_particles_are_one_group(rng):
    views = random_rotations(COUNT, rng)[:, 2]
    assert freed_of_views(rng.standard_normal((COUNT, 4)), views)[1] == 1
    few = rng.standard_normal((6, 2))
    assert np.array_equal(freed_of_views(few, views[:6])[0], few)
