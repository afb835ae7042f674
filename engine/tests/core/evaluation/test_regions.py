"""Double cones in Fourier space."""

import numpy as np
import pytest

from cryodl.core.evaluation.regions import double_cone_region, unit_axis_xyz
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import friedel_mate
from cryodl.errors import ConfigError


@pytest.mark.parametrize(("axis", "place"), [((3, 0, 0), 2), ((0, -2, 0), 1), ((0, 0, 1), 0)])
def test_axis_order_is_xyz(axis, place):
    cone = np.moveaxis(double_cone_region(16, axis, 20.0), place, 0)
    line = np.arange(16) != 8
    np.testing.assert_array_equal(cone[:, 8, 8], line)
    assert not cone[8].any()


@pytest.mark.parametrize("half_angle_degrees", [20.0, 45.0, 60.0])
def test_volume_is_the_solid_angle(half_angle_degrees):
    n = 48
    cone = double_cone_region(n, (1, 2, 3), half_angle_degrees)
    ball = (shell_index(n) < n // 2) & (shell_index(n) > 0)
    expected = 1 - np.cos(np.radians(half_angle_degrees))
    assert cone[ball].mean() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("n", [12, 13])
def test_mates_are_together_and_the_origin_is_out(n):
    cone = double_cone_region(n, (1, -1, 0.3), 40.0)
    np.testing.assert_array_equal(cone, friedel_mate(cone))
    assert not cone[n // 2, n // 2, n // 2]


def test_right_angle_is_everything_but_the_origin():
    assert double_cone_region(8, (0, 0, 1), 90.0).sum() == 8**3 - 1


def test_axis_is_scaled_to_one():
    np.testing.assert_allclose(unit_axis_xyz((0, 3, 4)), [0, 0.6, 0.8])


@pytest.mark.parametrize("axis", [(0, 0, 0), (1, 2), (np.nan, 0, 1)])
def test_bad_axis(axis):
    with pytest.raises(ConfigError, match="axis"):
        unit_axis_xyz(axis)


@pytest.mark.parametrize(("n", "angle"), [(16, 0.0), (16, 91.0), (16, float("nan")), (1, 30.0)])
def test_bad_cone(n, angle):
    with pytest.raises(ConfigError):
        double_cone_region(n, (0, 0, 1), angle)
