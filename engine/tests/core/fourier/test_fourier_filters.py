import numpy as np
import pytest

from cryodl.core.fourier import filters, grids
from cryodl.errors import ConfigError, InputError


def wave(n, frequency_xyz):
    axis = np.arange(n)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    phase = frequency_xyz[0] * x + frequency_xyz[1] * y + frequency_xyz[2] * z
    return np.cos(2 * np.pi * phase / n + 0.3).astype(np.float32)


def test_sphere_has_the_published_values():
    line = filters.sphere(32, 12)[16, 16, 16:]
    # 1 up to r = 6; from 7 = R - soft the ramp (12 - r) / 6, so a step from 1 to 5/6; 0 from 12 on.
    expected = [1] * 7 + [5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6] + [0] * 4
    np.testing.assert_allclose(line, expected, rtol=1e-6)


@pytest.mark.parametrize("n", [15, 16])
def test_sphere_depends_on_the_rounded_radius_alone(n):
    volume, index = filters.sphere(n, 6.5, 3), grids.shell_index(n)
    for shell in range(index.max() + 1):
        inside = volume[index == shell]
        assert (inside == inside[0]).all()
    assert volume[n // 2, n // 2, n // 2] == 1
    assert volume[0, 0, 0] == 0


@pytest.mark.parametrize("n", [24, 25])
def test_low_pass_keeps_slow_waves_and_removes_fast_ones(n):
    slow, fast = wave(n, (2, 0, -1)), wave(n, (3, 8, 2))
    # 3 A pixels: radius 7 px is n * 3 / 7 A; the edge of 3 px starts at 4 px.
    filtered = filters.low_pass(slow + fast, n * 3 / 7, 3.0)
    np.testing.assert_allclose(filtered, slow, atol=1e-5)


def test_low_pass_beyond_the_corners_changes_nothing():
    volume = np.random.default_rng(2).normal(size=(12, 12, 12)).astype(np.float32)
    np.testing.assert_allclose(filters.low_pass(volume, 0.1, 1.0), volume, atol=1e-5)


@pytest.mark.parametrize("n", [12, 13])
def test_transfer_acts_on_the_right_axis(n):
    along_x, along_z = wave(n, (3, 0, 0)), wave(n, (0, 0, 3))
    frequency = grids.frequency_grid_xyz_px(n)
    weight = (np.abs(frequency[..., 0]) < 2).astype(np.float32)
    found = filters.apply_transfer(along_x + along_z, weight)
    np.testing.assert_allclose(found, along_z, atol=1e-5)


@pytest.mark.parametrize("n", [12, 13])
def test_transfer_with_any_weight_equals_the_real_part_of_the_full_transform(n):
    rng = np.random.default_rng(8)
    volume = rng.normal(size=(n, n, n)).astype(np.float32)
    weight = rng.random((n, n, n)).astype(np.float32)
    full = np.fft.fftn(volume) * np.fft.ifftshift(weight)
    np.testing.assert_allclose(
        filters.apply_transfer(volume, weight), np.fft.ifftn(full).real, atol=1e-5
    )


@pytest.mark.parametrize("truncate", [False, True])
def test_shell_profile_scales_each_shell_and_the_rest(truncate):
    n = 12
    volume = np.random.default_rng(4).normal(size=(n, n, n)).astype(np.float32)
    profile = np.array([1, 2, 0, 0.5])
    found = filters.apply_shell_profile(volume, profile, beyond=3, truncate=truncate)
    index = grids.shell_index(n, truncate=truncate)
    factor = np.where(index < 4, profile[np.minimum(index, 3)], 3)
    full = np.fft.fftn(volume) * np.fft.ifftshift(factor)
    np.testing.assert_allclose(found, np.fft.ifftn(full).real, atol=1e-5)


def test_bad_parameters_are_refused():
    volume = np.zeros((8, 8, 8), dtype=np.float32)
    with pytest.raises(ConfigError, match="resolution"):
        filters.low_pass(volume, 0, 1.0)
    with pytest.raises(ConfigError, match="pixel size"):
        filters.low_pass(volume, 5, -1.0)
    with pytest.raises(ConfigError, match="sphere"):
        filters.sphere(8, 3, -1)
    with pytest.raises(InputError, match="transfer"):
        filters.apply_transfer(volume, np.ones((9, 9, 9), dtype=np.float32))
