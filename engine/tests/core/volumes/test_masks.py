from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.io.mrc import read_volume
from cryodl.core.volumes.masks import estimate_mask, soft_edge, soft_sphere
from cryodl.errors import ConfigError, InputError

SHARED = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "densities_5A"
DENSITIES = ["groel_groes", "haemoglobin", "proteasome_20s", "rubisco"]


def density(name):
    with files("cryodl.data").joinpath(f"{name}.mrc.gz") as path:
        return read_volume(path)


def with_noise(volume, snr, seed=0):
    sd = volume.std() / np.sqrt(snr)
    return volume + np.random.default_rng(seed).normal(0, sd, volume.shape).astype(np.float32)


def matter(volume):
    """Say where matter is: at a fifth of the typical density of the clean map."""
    return volume > 0.2 * np.median(volume[volume > 0.3 * volume.max()])


def share_covered(mask, region):
    return mask[region].sum() / region.sum()


@pytest.mark.parametrize("n", [31, 32])
def test_soft_sphere_is_round_about_the_centre_voxel(n):
    sphere = soft_sphere(n, 8, 4)
    zyx = np.indices((n, n, n)) - n // 2
    radius = np.sqrt((zyx**2).sum(axis=0))
    assert (sphere[radius <= 8] == 1).all()
    assert (sphere[radius >= 12] == 0).all()
    np.testing.assert_allclose(sphere[radius == 10], 0.5, atol=1e-6)
    edge = (radius > 8) & (radius < 12)
    np.testing.assert_allclose(
        sphere[edge], 0.5 + 0.5 * np.cos(np.pi * (radius[edge] - 8) / 4), atol=1e-6
    )
    assert sphere.dtype == np.float32
    assert set(np.unique(soft_sphere(n, 8, 0))) == {0, 1}


def test_soft_edge_falls_from_the_region_outwards():
    region = np.zeros((20, 20, 20))
    region[5:10, 5:10, 5:10] = 1
    mask = soft_edge(region, 4)
    assert (mask[region == 1] == 1).all()
    np.testing.assert_allclose(mask[7, 7, 9:15], [1, 0.853553, 0.5, 0.146447, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(soft_edge(region, 0), region)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("snr", [100, 1, 0.3])
def test_the_mask_covers_the_matter_and_little_else(name, snr):
    volume = density(name)
    region = matter(volume.data)
    noisy = with_noise(volume.data, snr)
    tight = estimate_mask(noisy, volume.pixel_size_angstrom, extend_px=0, edge_px=0)
    assert share_covered(tight, region) > 0.95
    assert tight.mean() < 2.2 * region.mean()
    wide = estimate_mask(noisy, volume.pixel_size_angstrom)
    assert (wide[tight == 1] == 1).all()
    assert share_covered(wide, region) > 0.99
    assert wide.min() == 0 and wide.max() == 1


def test_the_mask_does_not_depend_on_scale_offset_or_axis():
    volume = density("rubisco")
    noisy = with_noise(volume.data, 1)
    mask = estimate_mask(noisy, 4.0)
    np.testing.assert_allclose(estimate_mask(noisy * 7 + 100, 4.0), mask, atol=1e-5)
    turned = estimate_mask(noisy.transpose(2, 0, 1), 4.0)
    np.testing.assert_allclose(turned, mask.transpose(2, 0, 1), atol=1e-5)


def test_weak_domains_stay_and_specks_and_holes_go():
    box, pixel = 48, 4.0
    ball = soft_sphere(box, 9, 2)
    ball[20:28, 20:28, 20:28] = 0  # a cavity
    weak = 0.4 * np.roll(soft_sphere(box, 6, 2), 15, axis=2)
    speck = np.zeros((box,) * 3, np.float32)
    speck[4:6, 4:6, 4:6] = 2
    mask = estimate_mask(ball + weak + speck, pixel, extend_px=0, edge_px=0)
    assert mask[24, 24, 24] == 1
    assert mask[24, 24, 24 + 15] == 1
    assert mask[:8, :8, :8].max() == 0


def test_a_box_that_is_no_cube():
    volume = density("rubisco").data[10:54, 4:60, :]
    mask = estimate_mask(with_noise(volume, 1), 4.0)
    assert mask.shape == volume.shape
    assert share_covered(mask, matter(volume)) > 0.98


def test_a_map_that_a_sphere_was_cut_from():
    volume = density("rubisco")
    noisy = with_noise(volume.data, 0.3) * soft_sphere(64, 28, 3)
    mask = estimate_mask(noisy, 4.0)
    assert share_covered(mask, matter(volume.data)) > 0.98
    assert mask.mean() < 0.3


@pytest.mark.parametrize("n", [16, 32, 48])
def test_noise_alone_has_no_mask(n):
    for seed in range(3):
        with pytest.raises(InputError, match="no density stands out"):
            estimate_mask(np.random.default_rng(seed).normal(size=(n, n, n)), 4.0)


def test_bad_input_is_named():
    volume = density("rubisco").data
    with pytest.raises(InputError, match="finite"):
        estimate_mask(np.where(volume == volume.max(), np.nan, volume), 4.0)
    with pytest.raises(InputError, match="no density stands out"):
        estimate_mask(np.ones((16, 16, 16)), 4.0)
    with pytest.raises(InputError, match="shape"):
        estimate_mask(volume[0], 4.0)
    with pytest.raises(ConfigError, match="pixel size 0"):
        estimate_mask(volume, 0.0)
    with pytest.raises(ConfigError, match="extension -1 px"):
        estimate_mask(volume, 4.0, extend_px=-1)
    with pytest.raises(ConfigError, match="edge -1 px"):
        soft_sphere(8, 2, -1)
    with pytest.raises(ConfigError, match="radius nan px"):
        soft_sphere(8, float("nan"), 1)
    with pytest.raises(InputError, match="region is empty"):
        soft_edge(np.zeros((4, 4, 4)), 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the developer data are not here")
@pytest.mark.parametrize("name", ["4v4r_30S", "3j9i"])
def test_developer_densities(name):
    volume = read_volume(SHARED / f"{name}.mrc")
    mask = estimate_mask(with_noise(volume.data, 0.3), volume.pixel_size_angstrom)
    assert share_covered(mask, matter(volume.data)) > 0.98
    assert mask.mean() < 0.25
