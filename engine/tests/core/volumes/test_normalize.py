import numpy as np
import pytest

from cryodl.core.volumes.normalize import standardise, standardise_background
from cryodl.errors import InputError


def test_mean_zero_and_deviation_one_of_the_population():
    volume = np.random.default_rng(0).normal(1e4, 3, (6, 7, 8)).astype(np.float32)
    result = standardise(volume)
    assert result.dtype == np.float32
    assert result.mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert result.std(dtype=np.float64) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(standardise(volume * 5 - 2), result, atol=1e-3)  # of float32 input
    np.testing.assert_allclose(standardise(np.array([[[0.0, 4.0]]])), [[[-1, 1]]])


def test_inside_a_mask():
    volume = np.random.default_rng(0).normal(size=(6, 6, 6))
    volume[:3] = volume[:3] * 4 + 20
    mask = np.zeros((6, 6, 6))
    mask[:3] = 1
    result = standardise(volume, mask)
    assert result[:3].mean() == pytest.approx(0, abs=1e-6)
    assert result[:3].std() == pytest.approx(1, rel=1e-5)
    assert result[3:].mean() < -2


def test_what_cannot_be_scaled():
    good = np.random.default_rng(0).normal(size=(3, 3, 3))
    for bad in (np.ones((3, 3, 3)), np.zeros((3, 3, 3)), good * np.nan, good + np.inf):
        with pytest.raises(InputError, match="standard deviation"):
            standardise(bad)
    with pytest.raises(InputError, match=r"mask: shape \(3, 3, 2\)"):
        standardise(good, np.ones((3, 3, 2)))
    with pytest.raises(InputError, match=r"no voxel above 0\.5"):
        standardise(good, np.zeros((3, 3, 3)))


def test_background_is_standardised():
    rng = np.random.default_rng(0)
    volume = (5 + 3 * rng.standard_normal((16, 16, 16))).astype(np.float32)
    volume[8, 8, 8] += 1000
    found = standardise_background(volume)
    axis = np.arange(16) - 8
    outside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 > 64
    assert abs(float(found[outside].mean())) < 1e-3
    assert found[outside].std() == pytest.approx(1.0, abs=1e-3)
    # A background that was painted over tells nothing: the whole box does.
    painted = np.where(outside, np.float32(7), volume)
    assert standardise_background(painted).std() == pytest.approx(1.0, rel=1e-5)
