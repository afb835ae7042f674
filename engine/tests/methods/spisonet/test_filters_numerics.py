import numpy as np
import pytest

from cryodl.core.fourier import grids
from cryodl.core.fourier.filters import sphere
from cryodl.core.fourier.shells import amplitude_spectrum, shell_mean
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet import filters, sphere_cells


def noise(n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, n, n)).astype(np.float32)


def centred_transform(volume):
    return np.fft.fftshift(np.fft.fftn(volume))


def falling(n):
    """Noise whose amplitude falls off with the radius."""
    weight = np.exp(-grids.radius_grid_px(n) / 5)
    return np.fft.ifftn(np.fft.fftn(noise(n)) * np.fft.ifftshift(weight)).real


@pytest.mark.parametrize("n", [32, 33])
@pytest.mark.parametrize("scale", [1, 1e-5])
def test_whitening_flattens_the_band_and_leaves_the_rest(n, scale):
    volume = falling(n) * scale
    # Radii 4 and 12 px: shells 5 to 11 are scaled to the amplitude of shell 4.
    found = filters.whiten(
        volume, 1.0, low_resolution_angstrom=n / 4, high_resolution_angstrom=n / 12
    )
    before, after = amplitude_spectrum(volume), amplitude_spectrum(found)
    np.testing.assert_allclose(after[5:12], before[4], rtol=2e-3)
    index = grids.shell_index(n)
    ratio = centred_transform(found) / centred_transform(volume)
    outside = (index < 5) | ((index >= 12) & (index < n // 2))
    np.testing.assert_allclose(ratio[outside], 1, atol=1e-3)
    # Corners are kept: the published filter empties them.
    corner = index > n // 2
    kept = np.abs(centred_transform(found))[corner].mean()
    assert kept == pytest.approx(np.abs(centred_transform(volume))[corner].mean(), rel=0.02)


def test_whitening_is_measured_within_the_mask_and_applied_to_all():
    n = 24
    volume = falling(n) + 0.05 * noise(n, 3)
    mask = sphere(n, 9, 3)
    found = filters.whiten(
        volume, 1.0, mask=mask, low_resolution_angstrom=n / 3, high_resolution_angstrom=n / 9
    )
    spectrum = amplitude_spectrum(volume * mask)
    ratio = np.abs(centred_transform(found)) / np.abs(centred_transform(volume))
    gain = shell_mean(ratio, grids.shell_index(n), 12)
    expected = np.ones(12)
    expected[4:9] = spectrum[3] / (spectrum[4:9] + 1e-4 * spectrum[3])
    np.testing.assert_allclose(gain, expected, rtol=1e-4)


def test_whitening_refuses_bad_bands_and_boxes():
    volume = noise(16)
    with pytest.raises(ConfigError, match="empty"):
        filters.whiten(volume, 1.0, low_resolution_angstrom=3, high_resolution_angstrom=5)
    with pytest.raises(ConfigError, match="holds no shell"):
        filters.whiten(volume, 1.0, low_resolution_angstrom=4, high_resolution_angstrom=3.9)
    with pytest.raises(ConfigError, match="Nyquist"):
        filters.whiten(volume, 1.0, low_resolution_angstrom=8, high_resolution_angstrom=1.5)
    with pytest.raises(InputError, match="mask"):
        filters.whiten(
            volume, 1.0, low_resolution_angstrom=8, high_resolution_angstrom=3, mask=noise(8)
        )
    with pytest.raises(InputError, match="mean amplitude"):
        filters.whiten(0 * volume, 1.0, low_resolution_angstrom=8, high_resolution_angstrom=3)


@pytest.mark.parametrize("n", [16, 17])
def test_weight_profile_is_the_truncated_mean_not_below_zero(n):
    fsc3d = np.random.default_rng(2).uniform(-1, 1, (n, n, n)).astype(np.float32)
    index = grids.shell_index(n, truncate=True)
    fsc3d[index == 5] = -0.5
    profile = filters.fsc_weight_profile(fsc3d)
    assert len(profile) == (n + 1) // 2
    for shell in range((n + 1) // 2):
        mean = fsc3d[index == shell].mean()
        assert profile[shell] == pytest.approx(max(mean, 0), abs=1e-6)
    assert profile[5] == 0


@pytest.mark.parametrize("n", [16, 17])
def test_weighting_multiplies_shells_and_removes_the_corners(n):
    volume = noise(n)
    index = grids.shell_index(n, truncate=True)
    fsc3d = np.where(index < 4, 1, np.where(index < 6, 0.25, 0)).astype(np.float32)
    found = filters.fsc_weighting(volume, fsc3d)
    expected = np.fft.ifftn(np.fft.ifftshift(centred_transform(volume) * fsc3d)).real
    np.testing.assert_allclose(found, expected, atol=1e-5)
    ones = filters.fsc_weighting(volume, np.ones_like(fsc3d))
    assert np.abs(centred_transform(ones))[index >= (n + 1) // 2].max() < 1e-3
    with pytest.raises(InputError, match="3DFSC"):
        filters.fsc_weighting(volume, np.ones((8, 8, 8), np.float32))


def test_cells_share_opposite_directions_and_have_equal_areas():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200_000, 3)).astype(np.float32)
    vectors[:1000, 2] = 0
    vectors[:300, 1] = 0
    vectors[300:600, 0] = 0
    vectors[1000:1300, 1] = 0
    vectors[1200:1300, 0] = 0
    cells = sphere_cells.cell_of(*vectors.T)
    np.testing.assert_array_equal(cells, sphere_cells.cell_of(*-vectors.T))
    middles = sphere_cells.cell_directions_xyz()
    np.testing.assert_array_equal(
        sphere_cells.cell_of(*middles.T), np.arange(sphere_cells.CELL_COUNT)
    )
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = np.abs((unit * middles[cells]).sum(axis=1))
    assert np.degrees(np.arccos(distance.min())) < 1.5
    counts = np.bincount(cells[1300:], minlength=sphere_cells.CELL_COUNT)
    mean = counts.mean()
    # Poisson spread plus less than a tenth for the areas.
    assert counts.std() < np.sqrt(mean + (0.1 * mean) ** 2)


def test_cone_matrix_counts_the_cells_of_a_cone():
    cones = sphere_cells.cone_matrix(5.0)
    assert abs(cones - cones.T).max() == 0
    expected = sphere_cells.CELL_COUNT * 2 * np.sin(np.radians(2.5)) ** 2
    assert cones.sum(axis=1).mean() == pytest.approx(expected, rel=0.06)
    middles = sphere_cells.cell_directions_xyz()
    for row in (0, 40, 5000):
        near = np.abs(middles @ middles[row]) >= np.cos(np.radians(5))
        np.testing.assert_array_equal(np.flatnonzero(near), np.sort(cones[row].indices))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("n", [40, 41])
def test_angular_whitening_evens_out_a_weak_direction(axis, n):
    radius = grids.radius_grid_px(n)
    along = np.moveaxis(np.abs(grids.frequency_grid_xyz_px(n)[..., 2]), 0, axis)
    cosine = along / np.maximum(radius, 1)
    weak = cosine > np.cos(np.radians(30))
    weight = np.where(weak, 0.2, 1.0)
    volume = np.fft.ifftn(np.fft.fftn(noise(n)) * np.fft.ifftshift(weight)).real * 3 + 7
    found = filters.angular_whiten(
        volume, 1.0, low_resolution_angstrom=n / 8, high_resolution_angstrom=n / 18
    )
    before, after = np.abs(centred_transform(volume)), np.abs(centred_transform(found))
    band = (radius > 8) & (radius < 18)
    inside, outside = band & (cosine > np.cos(np.radians(24))), band & (cosine < 0.8)
    assert before[inside].mean() / before[outside].mean() == pytest.approx(0.2, rel=0.1)
    assert after[inside].mean() / after[outside].mean() == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(after[~band], before[~band], rtol=1e-3, atol=0.1)
    assert found.mean() == pytest.approx(volume.mean(), rel=1e-5)
    assert found.std() == pytest.approx(volume.std(), rel=1e-4)


def test_angular_whitening_leaves_an_even_map_nearly_alone():
    volume = noise(40)
    found = filters.angular_whiten(
        volume, 1.0, low_resolution_angstrom=8, high_resolution_angstrom=2
    )
    assert np.corrcoef(found.ravel(), volume.ravel())[0, 1] > 0.98


def test_angular_whitening_refuses_empty_bands():
    volume = noise(16)
    with pytest.raises(ConfigError, match="no voxel"):
        filters.angular_whiten(
            volume, 1.0, low_resolution_angstrom=16 / 2.3, high_resolution_angstrom=16 / 2.4
        )
    with pytest.raises(ConfigError, match="empty"):
        filters.angular_whiten(volume, 1.0, low_resolution_angstrom=3, high_resolution_angstrom=3)
    with pytest.raises(InputError, match="no signal"):
        filters.angular_whiten(
            0 * volume, 1.0, low_resolution_angstrom=8, high_resolution_angstrom=3
        )
