"""The directional weight, brought from the box to a training cube."""

import numpy as np
import pytest

from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.transform import friedel_mate
from cryodl.methods.spisonet.published import cube_weight

AXES = {"z": (0.0, 0.0, 1.0), "y": (0.0, 1.0, 0.0), "x": (1.0, 0.0, 0.0)}


@pytest.mark.parametrize("cube", [32, 48, 64])
@pytest.mark.parametrize("box", [48, 63, 64, 100, 128])
def test_symmetric_bounded_and_one_at_zero_frequency(box, cube):
    weight = np.random.default_rng(box + cube).uniform(-0.5, 1.0, (box,) * 3).astype(np.float32)
    found = cube_weight(weight, cube)
    assert found.shape == (cube,) * 3 and found.dtype == np.float32
    np.testing.assert_array_equal(found, friedel_mate(found))
    assert found[cube // 2, cube // 2, cube // 2] == 1.0
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("cube", [16, 32])
@pytest.mark.parametrize("box", [48, 63])
@pytest.mark.parametrize("along", AXES)
def test_a_cone_stays_where_it_is(box, cube, along):
    """The weight of a cone in the box is that of the same cone in the cube, not half a voxel off.

    The published program shifts zero frequency by up to half a voxel.
    """
    weight = 1.0 - double_cone_region(box, AXES[along], 35).astype(np.float32)
    found = cube_weight(weight, cube)
    expected = 1.0 - double_cone_region(cube, AXES[along], 35).astype(np.float32)
    axis = np.arange(cube) - cube // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    compared = (radius > 3) & (radius < cube // 2 - 1)

    def fit(candidate):
        return float(np.corrcoef(candidate[compared], expected[compared])[0, 1])

    assert fit(found) > 0.85
    for step in (-1, 1):
        for moved in range(3):
            assert fit(np.roll(found, step, moved)) < fit(found)
    centre = np.argwhere(found < 0.5) - cube // 2
    np.testing.assert_allclose(centre[(np.abs(centre) < cube // 2).all(1)].mean(0), 0, atol=1e-9)


def test_the_same_size_changes_nothing():
    box = 32
    weight = 1.0 - double_cone_region(box, AXES["z"], 30).astype(np.float32)
    np.testing.assert_allclose(cube_weight(weight, box), weight, atol=1e-6)


def test_rescaling_is_asked_for():
    weight = np.linspace(0.2, 0.6, 32, dtype=np.float32)[:, None, None] * np.ones((1, 32, 32))
    weight = (weight + friedel_mate(weight)) / 2
    assert cube_weight(weight, 16).max(initial=0, where=~_centre(16)) < 0.65
    stretched = cube_weight(weight, 16, rescale=True)
    assert stretched.min() == 0.0 and stretched.max() == 1.0
    flat = cube_weight(np.full((32,) * 3, 0.4, np.float32), 16, rescale=True)
    np.testing.assert_allclose(flat[~_centre(16)], 0.4, atol=1e-6)


def test_values_out_of_range_are_cut():
    weight = np.full((24,) * 3, 7.0, np.float32)
    weight[:12] = -3.0
    found = cube_weight(weight, 16)
    assert found.min() >= 0 and found.max() == 1.0


def _centre(cube):
    mark = np.zeros((cube,) * 3, bool)
    mark[cube // 2, cube // 2, cube // 2] = True
    return mark
