"""Views and the sampling they give."""

import numpy as np
import pytest

from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.grids import radius_grid_px, shell_index
from cryodl.core.fourier.transform import friedel_mate
from cryodl.core.simulation.sampling import (
    central_slice_sampling,
    draw_view_directions,
    even_out_shells,
)
from cryodl.errors import ConfigError

AXIS = np.array([1.0, -2.0, 2.0]) / 3


def test_views_follow_their_distribution():
    rng = np.random.default_rng(1)
    top = draw_view_directions(4000, rng, "top", AXIS, 10.0) @ AXIS
    # two Gaussian tilts of 10 degrees: mean of the angle is 10 sqrt(pi / 2)
    assert np.degrees(np.arccos(top)).mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.03)
    side = draw_view_directions(4000, rng, "side", AXIS, 5.0)
    assert np.degrees(np.arccos(side @ AXIS)).mean() == pytest.approx(90, abs=0.5)
    assert np.degrees(np.arccos(side @ AXIS)).std() == pytest.approx(5, rel=0.05)
    assert np.linalg.norm(side.mean(axis=0)) < 0.05
    even = draw_view_directions(4000, rng, "uniform", AXIS)
    np.testing.assert_allclose(even.T @ even / 4000, np.eye(3) / 3, atol=0.02)


def test_uniform_fraction_mixes():
    views = draw_view_directions(4000, np.random.default_rng(2), "top", AXIS, 3.0, 0.25)
    far = np.abs(views @ AXIS) < 0.5  # half of all uniform directions
    assert far.mean() == pytest.approx(0.125, abs=0.02)
    np.testing.assert_allclose(np.linalg.norm(views, axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(("view", "plane"), [((1, 0, 0), 2), ((0, 1, 0), 1), ((0, 0, 1), 0)])
def test_one_view_fills_the_plane_across_it(view, plane):
    sampling = central_slice_sampling(12, np.array([view], dtype=float))
    filled = np.moveaxis(sampling, plane, 0)
    disc = shell_index(12)[6] <= 6
    np.testing.assert_array_equal(filled[6], disc)
    assert not filled[:6].any()
    assert not filled[7:].any()


@pytest.mark.parametrize("n", [12, 13])
def test_sampling_agrees_with_a_direct_loop(n):
    views = draw_view_directions(7, np.random.default_rng(3), "uniform")
    found = central_slice_sampling(n, views)
    radius = radius_grid_px(n)
    for z, y, x in np.ndindex(n, n, n):
        if shell_index(n)[z, y, x] > n // 2 or (n % 2 == 0 and min(z, y, x) == 0):
            continue
        point = np.array([x, y, z]) - n // 2
        expected = sum(max(0.0, 1 - abs(point @ view)) for view in views)
        assert found[z, y, x] == pytest.approx(expected, abs=1e-4), radius[z, y, x]


@pytest.mark.parametrize("n", [16, 17])
def test_sampling_has_friedel_symmetry_and_the_known_shell_mean(n):
    views = draw_view_directions(300, np.random.default_rng(4), "top", AXIS, 20.0)
    sampling = central_slice_sampling(n, views)
    np.testing.assert_array_equal(sampling, friedel_mate(sampling))
    assert sampling[n // 2, n // 2, n // 2] == 300
    for shell in range(3, n // 2):
        chosen = shell_index(n) == shell
        mean_radius = (1 / radius_grid_px(n)[chosen]).mean()
        assert sampling[chosen].mean() == pytest.approx(150 * mean_radius, rel=0.15)


def test_top_views_leave_a_cone_about_the_axis():
    views = draw_view_directions(500, np.random.default_rng(5), "top", (0, 1, 0), 15.0)
    relative = even_out_shells(central_slice_sampling(24, views))
    cone = double_cone_region(24, (0, 1, 0), 30.0) & (shell_index(24) >= 4)
    cone &= shell_index(24) <= 12
    assert relative[cone].mean() < 0.02
    across = double_cone_region(24, (1, 0, 0), 20.0) & (shell_index(24) >= 4)
    across &= shell_index(24) <= 12
    assert relative[across].mean() > 1.2


def test_shells_are_evened_out():
    volume = np.random.default_rng(6).random((16, 16, 16)).astype(np.float32)
    volume[shell_index(16) == 5] = 0
    relative = even_out_shells(volume)
    for shell in (0, 1, 4, 8):
        assert relative[shell_index(16) == shell].mean() == pytest.approx(1, rel=1e-4)
    assert not relative[shell_index(16) == 5].any()


def test_bad_input():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="number of views"):
        draw_view_directions(0, rng)
    with pytest.raises(ConfigError, match="top, side or uniform"):
        draw_view_directions(1, rng, "tilted")
    with pytest.raises(ConfigError, match="spread"):
        draw_view_directions(1, rng, spread_degrees=0)
    with pytest.raises(ConfigError, match="fraction"):
        draw_view_directions(1, rng, uniform_fraction=2)
    with pytest.raises(ConfigError, match="axis"):
        draw_view_directions(1, rng, axis_xyz=(0, 0, 0))
    with pytest.raises(ConfigError, match="unit"):
        central_slice_sampling(8, np.array([[1.0, 1.0, 0.0]]))
    with pytest.raises(ConfigError, match="shape"):
        central_slice_sampling(8, np.zeros((0, 3)))
    with pytest.raises(ConfigError, match="box size"):
        central_slice_sampling(1, np.eye(3))
    with pytest.raises(ConfigError, match="cube"):
        even_out_shells(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ConfigError, match="negative"):
        even_out_shells(-np.ones((4, 4, 4), np.float32))
