import numpy as np
import pytest

from cryodl.core.fourier.grids import frequency_grid_xyz_px, radius_grid_px
from cryodl.core.fourier.transform import friedel_mate
from cryodl.core.fourier.wedge import (
    missing_wedge,
    rotate_wedge,
    tilt_rotations,
    tilt_sampling,
)
from cryodl.errors import ConfigError, InputError

BOXES = [15, 16]
AXES = [0.0, 90.0, 84.7]


def across(n, tilt_axis_degrees):
    """Return the frequency across the tilt axis (towards x for an axis along y), and along z."""
    k = frequency_grid_xyz_px(n).astype(float)
    angle = np.deg2rad(tilt_axis_degrees)
    return k[..., 0] * np.sin(angle) - k[..., 1] * np.cos(angle), k[..., 2]


def interior(n):
    """Return the frequencies whose opposite is in the box."""
    return (np.abs(frequency_grid_xyz_px(n)) < n / 2 - 0.25).all(axis=-1)


def test_a_tilt_about_y_is_that_of_imod():
    c, s = np.cos(np.deg2rad(30)), np.sin(np.deg2rad(30))
    np.testing.assert_allclose(
        tilt_rotations([30])[0], [[c, 0, s], [0, 1, 0], [-s, 0, c]], atol=1e-15
    )
    along_x = tilt_rotations([30], 0.0)[0]
    np.testing.assert_allclose(along_x, [[1, 0, 0], [0, c, -s], [0, s, c]], atol=1e-15)


@pytest.mark.parametrize("n", BOXES)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("limits", [(-60, 60), (-40, 65), (10, 50)])
def test_the_hard_wedge_is_the_range_of_slopes(n, axis, limits):
    a, z = across(n, axis)
    slope = np.rad2deg(np.arctan2(np.where(a < 0, -z, z), np.abs(a)))
    found = missing_wedge(n, *limits, tilt_axis_degrees=axis, edge_px=0)
    clear = interior(n) & (np.minimum(*(np.abs(slope - t) for t in limits)) > 1e-3)
    clear &= (np.hypot(a, z) > 1e-6) & (np.abs(a) > 1e-6)
    expected = (slope > limits[0]) & (slope < limits[1])
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert found[n // 2, n // 2, n // 2] == 1


def test_the_wedge_of_the_selfalign_set():
    # +-60 degrees about y: 51.95 % ones within the cylinder, none along z.
    n = 32
    a, z = across(n, 90)
    wedge = missing_wedge(n, -60, 60, edge_px=0) * (np.hypot(a, z) <= 16)
    assert (wedge == 1).mean() == pytest.approx(0.5195, abs=0.015)
    assert wedge[16, :, 16].min() == 1
    assert wedge[17:, :, 16].max() == 0


@pytest.mark.parametrize("n", BOXES)
@pytest.mark.parametrize("axis", AXES)
def test_opposite_frequencies_are_equal_and_values_weights(n, axis):
    rng = np.random.default_rng(0)
    tilts = rng.uniform(-60, 60, 9)
    for weight in (
        missing_wedge(n, -50, 61, tilt_axis_degrees=axis),
        missing_wedge(n, -50, 61, tilt_axis_degrees=axis, edge_px=0),
        tilt_sampling(n, tilts, tilt_axis_degrees=axis),
        rotate_wedge(missing_wedge(n, -50, 61), tilt_rotations([37], 20)[0]),
    ):
        assert weight.dtype == np.float32 and weight.shape == (n, n, n)
        np.testing.assert_array_equal(weight, friedel_mate(weight))
        assert weight.min() >= 0 and weight.max() <= 1
        assert weight[n // 2, n // 2, n // 2] == 1


@pytest.mark.parametrize("n", BOXES)
def test_the_edge_falls_from_the_border_outwards(n):
    wedge = missing_wedge(n, -45, 45, edge_px=2.0)
    line = wedge[n // 2 :, n // 2, n // 2 + 3]  # kx = 3, kz from 0
    np.testing.assert_allclose(line[:4], 1)
    np.testing.assert_allclose(line[4:6], [1 - 0.5 / np.sqrt(2), 1 - 1 / np.sqrt(2)], atol=1e-6)
    assert line[6] == 0


@pytest.mark.parametrize("n", BOXES)
@pytest.mark.parametrize("slab", ["triangle", "sinc"])
def test_one_tilt_is_a_slab_about_its_plane(n, slab):
    a, z = across(n, 84.7)
    t = np.deg2rad(25)
    depth = np.abs(z * np.cos(t) - a * np.sin(t))
    expected = np.clip(1 - depth, 0, 1) if slab == "triangle" else np.sinc(np.minimum(depth, 1))
    expected *= radius_grid_px(n) <= n / 2
    found = tilt_sampling(n, [25], tilt_axis_degrees=84.7, slab=slab)
    inside = interior(n)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-6)


def test_a_fine_series_covers_what_its_range_does():
    n = 24
    dense = tilt_sampling(n, np.arange(-60, 60.5, 1))
    wedge = missing_wedge(n, -60, 60, edge_px=1, nyquist_limit=True)
    np.testing.assert_allclose(dense[wedge == 1], 1, atol=1e-6)
    assert dense[wedge == 0].max() == 0


def test_weights_of_tilts_and_shells_scale_the_slabs():
    n, angles = 16, [0, 60]
    both = tilt_sampling(n, angles, combine="sum", weights=[2.0, 0.5])
    one, two = (tilt_sampling(n, [t], combine="sum") for t in angles)
    np.testing.assert_allclose(both, 2 * one + 0.5 * two, atol=1e-6)
    profile = np.stack([np.arange(9.0), np.zeros(9)])
    weighted = tilt_sampling(n, angles, combine="sum", weights=profile)
    np.testing.assert_allclose(weighted[8, 8, 8:], np.arange(8), atol=1e-6)


@pytest.mark.parametrize("n", BOXES)
def test_a_wedge_turned_with_the_specimen_is_that_of_another_tilt(n):
    # Turning the specimen by 20 degrees about the tilt axis moves the range by as much.
    turned = rotate_wedge(missing_wedge(n, -60, 30, edge_px=3), tilt_rotations([20])[0])
    expected = missing_wedge(n, -80, 10, edge_px=3)
    other = missing_wedge(n, -40, 50, edge_px=3)
    inside = radius_grid_px(n) < n / 2 - 1
    difference = np.abs(turned - expected)[inside]
    assert difference.mean() < 0.02 and difference.max() < 0.35
    assert np.abs(turned - other)[inside].mean() > 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: missing_wedge(16, 60, -60), "tilt range"),
        (lambda: missing_wedge(16, -91, 60), "within -90"),
        (lambda: missing_wedge(16, float("nan"), 60), "finite"),
        (lambda: missing_wedge(16, -60, 60, edge_px=-1), "edge"),
        (lambda: missing_wedge(1, -60, 60), "box size"),
        (lambda: tilt_sampling(16, []), "tilt angles"),
        (lambda: tilt_sampling(16, [0, np.nan]), "1 not finite"),
        (lambda: tilt_sampling(16, [0, 1], weights=[1]), "tilt weights"),
        (lambda: tilt_sampling(16, [0, 1], weights=[1, -1]), "negative"),
        (lambda: tilt_sampling(16, [0], slab="gauss"), "unknown"),
        (lambda: tilt_sampling(16, [0], thickness_px=0), "thickness"),
    ],
)
def test_bad_parameters_are_refused(call, words):
    with pytest.raises(ConfigError, match=words):
        call()


def test_bad_arrays_are_refused():
    with pytest.raises(InputError, match="wedge"):
        rotate_wedge(np.ones((4, 4, 5)), np.eye(3))
    with pytest.raises(InputError, match="rotation"):
        rotate_wedge(np.ones((4, 4, 4)), 2 * np.eye(3))
