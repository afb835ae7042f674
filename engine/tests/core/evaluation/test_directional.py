"""Scores by direction."""

import numpy as np
import pytest
from scipy import fft

from cryodl.core.evaluation.directional import (
    band_mean,
    compare_direction,
    power_ratio,
    region_fsc,
    score_direction,
)
from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.grids import shell_index
from cryodl.errors import ConfigError, InputError

N = 16
RNG = np.random.default_rng(0)
MAP1 = RNG.standard_normal((N, N, N)).astype(np.float32)
MAP2 = (MAP1 + RNG.standard_normal((N, N, N))).astype(np.float32)
CONE = double_cone_region(N, (0, 1, 1), 40.0)


def filtered(volume, gain):
    """Multiply the centred spectrum by a Friedel-symmetric gain."""
    spectrum = fft.fftshift(fft.fftn(volume.astype(np.float64))) * gain
    return fft.ifftn(fft.ifftshift(spectrum)).real.astype(np.float32)


@pytest.mark.parametrize("n", [8, 9])
def test_region_fsc_agrees_with_a_direct_loop(n):
    first, second = MAP1[:n, :n, :n], MAP2[:n, :n, :n]
    region = double_cone_region(n, (1, 2, 0), 50.0)
    one = np.fft.fftshift(np.fft.fftn(first))
    two = np.fft.fftshift(np.fft.fftn(second))
    sums = np.zeros((n // 2 + 1, 3))
    for index in np.argwhere(region):
        shell = int(np.rint(np.linalg.norm(index - n // 2)))
        if shell <= n // 2:
            a, b = one[tuple(index)], two[tuple(index)]
            sums[shell] += (a * np.conj(b)).real, abs(a) ** 2, abs(b) ** 2
    curve = region_fsc(first, second, region)
    assert curve.shape == (n // 2 + 1,)
    assert np.isnan(curve[0])  # a cone has no origin
    expected = sums[1:, 0] / np.sqrt(sums[1:, 1] * sums[1:, 2])
    np.testing.assert_allclose(curve[1:], expected, atol=1e-6)


def test_equal_maps_give_one_and_scale_does_not_matter():
    np.testing.assert_allclose(region_fsc(MAP1, MAP1, CONE)[1:], 1.0, atol=1e-9)
    np.testing.assert_allclose(region_fsc(MAP1, -3 * MAP1, CONE)[1:], -1.0, atol=1e-6)
    np.testing.assert_allclose(
        region_fsc(MAP1, 5 * MAP2, CONE)[1:], region_fsc(MAP1, MAP2, CONE)[1:], atol=1e-6
    )


def test_empty_spectrum_gives_zero():
    np.testing.assert_array_equal(region_fsc(MAP1, np.zeros_like(MAP1), CONE)[1:], 0.0)


def test_noise_inside_the_cone_is_seen_there_alone():
    noise = RNG.standard_normal((N, N, N))
    damaged = filtered(MAP1, ~CONE) + filtered(noise, CONE)
    np.testing.assert_allclose(region_fsc(damaged, MAP1, ~CONE), 1.0, atol=1e-5)
    assert abs(np.nanmean(region_fsc(damaged, MAP1, CONE)[3:])) < 0.2


def test_band_mean_skips_undefined_shells():
    curve = np.array([np.nan, 1.0, np.nan, 0.5, 0.2])
    assert band_mean(curve, 1, 3) == pytest.approx(0.75)
    assert band_mean(curve, 4, 4) == pytest.approx(0.2)
    assert np.isnan(band_mean(curve, 0, 0))


def test_power_ratio_is_the_squared_gain():
    gain = np.where(CONE, 0.5, 1.0)
    weak = filtered(MAP1, gain)
    assert power_ratio(weak, MAP1, CONE, 1, 7) == pytest.approx(0.25, rel=1e-4)
    assert power_ratio(weak, MAP1, ~CONE, 1, 7) == pytest.approx(1.0, rel=1e-4)
    assert np.isnan(power_ratio(weak, np.zeros_like(MAP1), CONE, 1, 7))


def test_bands_and_regions_are_told_apart():
    shells = shell_index(N)
    gain = np.where(CONE & (shells > 3), 0.0, 1.0)
    score = score_direction(filtered(MAP1, gain), MAP1, CONE, split_shell=3, limit_shell=6)
    assert score.fsc_inside_low == pytest.approx(1, abs=1e-5)
    assert score.fsc_inside_high == pytest.approx(0, abs=0.05)
    assert score.power_inside_high == pytest.approx(0, abs=1e-5)
    assert score.fsc_outside_low == pytest.approx(1, abs=1e-5)
    assert score.power_outside_high == pytest.approx(1, abs=1e-4)
    assert (score.split_shell, score.limit_shell) == (3, 6)


def test_default_bands_are_thirds_of_nyquist():
    score = score_direction(MAP2, MAP1, CONE)
    assert (score.split_shell, score.limit_shell) == (3, 5)
    tiny = double_cone_region(4, (0, 0, 1), 45.0)
    small = MAP1[:4, :4, :4]
    assert score_direction(small, small, tiny).limit_shell == 2


def test_mask_is_applied_to_both():
    mask = np.zeros((N, N, N), dtype=np.float32)
    mask[4:12, 4:12, 4:12] = 1
    outside_differs = np.where(mask > 0, MAP1, 7.0).astype(np.float32)
    score = score_direction(outside_differs, MAP1, CONE, mask=mask)
    assert score.fsc_inside_high == pytest.approx(1, abs=1e-5)
    assert score.power_outside_low == pytest.approx(1, abs=1e-5)


def test_comparison_tells_gain_and_harm():
    hurt = filtered(MAP1, ~CONE) + filtered(RNG.standard_normal((N, N, N)), CONE)
    healed = compare_direction(hurt, MAP1, MAP1, CONE)
    assert healed.gain("fsc_inside_low") > 0.3
    assert healed.improves("low")
    assert healed.improves("high")
    assert not compare_direction(MAP1, hurt, MAP1, CONE).improves()
    # better inside, much worse outside: not an improvement
    traded = filtered(MAP1, CONE) + filtered(RNG.standard_normal((N, N, N)), ~CONE)
    assert not compare_direction(hurt, traded, MAP1, CONE).improves()


def test_bad_input():
    with pytest.raises(InputError, match="cube"):
        region_fsc(MAP1[:-1], MAP1[:-1], CONE)
    with pytest.raises(InputError, match="one shape"):
        region_fsc(MAP1, MAP1, CONE[:8, :8, :8])
    with pytest.raises(InputError, match="finite"):
        region_fsc(MAP1, np.full_like(MAP1, np.inf), CONE)
    with pytest.raises(ConfigError, match="band"):
        band_mean(np.ones(5), 3, 2)
    with pytest.raises(ConfigError, match="band"):
        power_ratio(MAP1, MAP1, CONE, 0, 9)
    with pytest.raises(ConfigError, match="split"):
        score_direction(MAP1, MAP1, CONE, split_shell=5, limit_shell=5)
    with pytest.raises(InputError, match="mask"):
        score_direction(MAP1, MAP1, CONE, mask=np.ones((2, 2, 2), np.float32))
    with pytest.raises(ConfigError, match="fsc_inside_low"):
        compare_direction(MAP1, MAP1, MAP1, CONE).gain("beauty")
