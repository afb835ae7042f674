"""Joining a correction to RELION's own map by direction."""

import numpy as np
import pytest

from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import forward_centred, inverse_centred
from cryodl.methods.spisonet.relion.measured import keep_measured
from cryodl.methods.spisonet.snr import SnrModel

N = 24


def model(coverage):
    return SnrModel(coverage, coverage, shell_index(N).astype(np.int64))


@pytest.fixture
def cone():
    """Coverage: nothing is measured within 40 degrees of z."""
    z, y, x = np.indices((N, N, N)) - N // 2
    return np.where(np.abs(z) > np.hypot(x, y) * np.tan(np.radians(50)), 0.0, 1.0).astype("f4")


def noise(seed, sd=1.0):
    values = np.random.default_rng(seed).normal(0, sd, (N, N, N))
    return values.astype(np.float32)


def power(volume, where):
    inside = where & (shell_index(N) > 3) & (shell_index(N) < N // 2)
    return np.mean(np.abs(forward_centred(volume))[inside] ** 2)


def test_well_measured_everywhere_gives_relions_own_map():
    own = {half: noise(half) for half in (1, 2)}
    everywhere = model(np.ones((N, N, N), np.float32))
    result = keep_measured(own, {1: noise(5), 2: noise(6)}, everywhere)
    for half in (1, 2):
        np.testing.assert_allclose(result[half], own[half], atol=1e-5)


def test_only_badly_measured_directions_come_from_the_correction(cone):
    signal = noise(0)
    empty = inverse_centred(forward_centred(signal) * cone)
    own = dict.fromkeys((1, 2), empty)
    result = keep_measured(own, dict.fromkeys((1, 2), signal), model(cone))
    # Same power and perfect agreement: all of it is taken.
    np.testing.assert_allclose(power(result[1], cone == 0), power(signal, cone == 0), rtol=0.05)
    measured = cone == 1
    found, expected = (forward_centred(v)[measured] for v in (result[1], empty))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("loud", [1.0, 3.0])
def test_no_more_power_than_in_measured_directions(cone, loud):
    signal = noise(0)
    own = {half: inverse_centred(forward_centred(0.5 * signal) * cone) for half in (1, 2)}
    result = keep_measured(own, dict.fromkeys((1, 2), loud * signal), model(cone))
    ratio = power(result[1], cone == 0) / power(own[1], cone == 1)
    assert 0.9 < ratio < 1.1


def test_what_the_halves_do_not_share_is_left_out(cone):
    signal = noise(0)
    own = {half: inverse_centred(forward_centred(signal) * cone) for half in (1, 2)}
    result = keep_measured(own, {1: noise(11), 2: noise(12)}, model(cone))
    assert power(result[1], cone == 0) < 0.1 * power(signal, cone == 0)
    # A half alone cannot be judged so, and is only bounded.
    single = keep_measured({1: own[1]}, {1: noise(11)}, model(cone))
    assert power(single[1], cone == 0) > 0.8 * power(signal, cone == 0)
