"""What latents and poses foretell of each other is found where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.opus_tomo.gauge import foretold, latent_features, view_features

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
