"""Simulated half maps: what is put in is what is found."""

import numpy as np
import pytest
from scipy import fft

from cryodl.core.evaluation.directional import power_ratio, region_fsc
from cryodl.core.fourier.grids import shell_index
from cryodl.core.simulation.densities import load_density
from cryodl.core.simulation.half_maps import (
    NoiseModel,
    shell_noise_profile,
    simulate_missing_cone,
    simulate_preferred_orientation,
    soft_mask,
)
from cryodl.errors import ConfigError, InputError

N = 24
SILENT = NoiseModel(snr=np.inf, reconstruction="unweighted")


def spectrum(volume):
    return fft.fftshift(fft.fftn(volume.astype(np.float64)))


@pytest.fixture(scope="module")
def truth():
    density, _ = load_density("groel_groes", N)
    # without corners beyond Nyquist, so that a full sampling gives the truth back
    kept = np.where(shell_index(N) <= N // 2 - 1, spectrum(density), 0)
    return fft.ifftn(fft.ifftshift(kept)).real.astype(np.float32)


def test_full_sampling_without_noise_is_the_truth(truth):
    result = simulate_missing_cone(truth, 2.0, half_angle_degrees=30, attenuation=1.0, noise=SILENT)
    np.testing.assert_allclose(result.half1, truth, atol=1e-6)
    np.testing.assert_array_equal(result.half1, result.half2)
    assert result.pixel_size_angstrom == 2.0


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, -1)])
def test_signal_is_attenuated_in_the_cone_alone(truth, axis):
    result = simulate_missing_cone(
        truth, 2.0, half_angle_degrees=30, axis_xyz=axis, attenuation=0.25, noise=SILENT
    )
    cone = result.cone.astype(bool)
    found, expected = spectrum(result.half1), spectrum(truth)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[cone] / scale, 0.25 * expected[cone] / scale, atol=1e-6)
    np.testing.assert_allclose(found[~cone] / scale, expected[~cone] / scale, atol=1e-6)
    assert power_ratio(result.half1, truth, cone, 2, 8) == pytest.approx(0.0625, rel=1e-4)


def test_noise_has_the_asked_variance_and_is_independent(truth):
    result = simulate_missing_cone(
        truth,
        2.0,
        half_angle_degrees=30,
        attenuation=1.0,
        noise=NoiseModel(snr=0.5, reconstruction="unweighted"),
    )
    noise1, noise2 = result.half1 - truth, result.half2 - truth
    wanted = np.var(truth[result.mask > 0.5]) / 0.5
    assert np.var(noise1) == pytest.approx(wanted, rel=0.05)
    assert np.var(noise2) == pytest.approx(wanted, rel=0.05)
    assert abs(np.corrcoef(noise1.ravel(), noise2.ravel())[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("reconstruction", "signal", "noise_power"), [("unweighted", 0.25, 0.25), ("weighted", 1, 4)]
)
def test_sampling_sets_signal_and_noise(truth, reconstruction, signal, noise_power):
    def simulate(attenuation, snr):
        return simulate_missing_cone(
            truth,
            2.0,
            half_angle_degrees=45,
            attenuation=attenuation,
            noise=NoiseModel(snr=snr, reconstruction=reconstruction),
        )

    clean, noisy, even = simulate(0.25, np.inf), simulate(0.25, 1.0), simulate(1.0, 1.0)
    cone = clean.cone.astype(bool)
    assert power_ratio(clean.half1, truth, cone, 2, 8) == pytest.approx(signal**2, rel=1e-4)
    # the same seed: the noise differs by its weight alone
    ratio = power_ratio(noisy.half1 - clean.half1, even.half1 - truth, cone, 2, 11)
    assert ratio == pytest.approx(noise_power, rel=1e-3)


def test_wiener_is_the_best_of_the_three(truth):
    errors = {}
    for name in ("wiener", "weighted", "unweighted"):
        result = simulate_preferred_orientation(
            truth, 2.0, number_views=200, noise=NoiseModel(snr=1.0, reconstruction=name)
        )
        errors[name] = np.mean((result.half1 - truth) ** 2)
    assert errors["wiener"] < errors["unweighted"]
    assert errors["wiener"] < 0.5 * errors["weighted"]


def test_preferred_views_hurt_inside_the_cone(truth):
    result = simulate_preferred_orientation(
        truth, 2.0, axis_xyz=(0, 1, 0), noise=NoiseModel(snr=1.0), seed=3
    )
    cone = result.cone.astype(bool)
    inside = region_fsc(result.half1, result.half2, cone)[3:9].mean()
    outside = region_fsc(result.half1, result.half2, ~cone)[3:9].mean()
    assert outside > inside + 0.3
    for shell in (2, 6, 11):
        chosen = shell_index(N) == shell
        assert result.sampling[chosen].mean() == pytest.approx(1, rel=1e-3)


def test_weighted_noise_variance_is_inverse_to_the_sampling(truth):
    keywords = {"number_views": 300, "spread_degrees": 30.0, "seed": 5}
    noisy = simulate_preferred_orientation(
        truth, 2.0, noise=NoiseModel(1.0, 0.0, "weighted"), **keywords
    )
    clean = simulate_preferred_orientation(
        truth, 2.0, noise=NoiseModel(np.inf, 0.0, "weighted"), **keywords
    )
    power = np.abs(spectrum(noisy.half1 - clean.half1)) ** 2 * np.where(
        noisy.sampling > 0.05, noisy.sampling, 0
    )
    low = (noisy.sampling > 0.05) & (noisy.sampling < 0.5)
    high = noisy.sampling > 1.2
    assert power[low].mean() == pytest.approx(power[high].mean(), rel=0.1)


@pytest.mark.parametrize("simulate", [simulate_missing_cone, simulate_preferred_orientation])
def test_same_seed_same_bytes(truth, simulate):
    keywords = {"half_angle_degrees": 30} if simulate is simulate_missing_cone else {}
    first = simulate(truth, 2.0, seed=7, **keywords)
    again = simulate(truth, 2.0, seed=7, **keywords)
    other = simulate(truth, 2.0, seed=8, **keywords)
    for name in ("half1", "half2", "truth", "sampling", "mask", "cone"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
        assert getattr(first, name).dtype == np.float32
        assert getattr(first, name).shape == (N, N, N)
    assert first.half1.tobytes() != other.half1.tobytes()
    assert first.half1.tobytes() != first.half2.tobytes()


@pytest.mark.parametrize("n", [16, 17])
def test_noise_profile_has_unit_power_and_its_slope(n):
    profile = shell_noise_profile(n, 1.5)
    assert np.mean(profile**2) == pytest.approx(1, rel=1e-4)
    half = n // 2
    ratio = profile[half, half, half + 2] / profile[half, half, half + 6]
    assert ratio == pytest.approx(3**0.75, rel=1e-4)
    assert not profile[shell_index(n) > half].any()


def test_mask_covers_the_density_and_falls_softly():
    line = np.arange(32) - 16
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    ball = (radius < 7).astype(np.float32)
    mask = soft_mask(ball)
    assert mask[radius < 6].min() == 1
    assert mask[radius > 14].max() == 0
    assert mask.min() >= 0
    assert mask.max() <= 1
    # falls along a line without a step
    assert np.abs(np.diff(mask[16, 16, 16:])).max() < 0.5
    assert np.all(np.diff(mask[16, 16, 16:]) <= 1e-6)


def test_odd_boxes_work():
    density, pixel = load_density("p97", 17)
    for result in (
        simulate_missing_cone(density, pixel, half_angle_degrees=20),
        simulate_preferred_orientation(density, pixel, number_views=50),
    ):
        assert np.all(np.isfinite(result.half1))
        assert result.half1.std() > 0


def test_bad_input(truth):
    with pytest.raises(InputError, match="cube"):
        simulate_missing_cone(truth[:-1], 2.0, half_angle_degrees=30)
    with pytest.raises(InputError, match="one value"):
        simulate_missing_cone(np.zeros_like(truth), 2.0, half_angle_degrees=30)
    with pytest.raises(InputError, match="finite"):
        simulate_preferred_orientation(np.full_like(truth, np.nan), 2.0)
    with pytest.raises(InputError, match="8 or more"):
        soft_mask(truth[:4, :4, :4])
    with pytest.raises(ConfigError, match="pixel size"):
        simulate_preferred_orientation(truth, 0.0)
    with pytest.raises(ConfigError, match="half-angle"):
        simulate_missing_cone(truth, 2.0, half_angle_degrees=0)
    with pytest.raises(ConfigError, match="attenuation"):
        simulate_missing_cone(truth, 2.0, half_angle_degrees=30, attenuation=1.5)
    with pytest.raises(ConfigError, match="snr"):
        NoiseModel(snr=0)
    with pytest.raises(ConfigError, match="exponent"):
        NoiseModel(exponent=np.nan)
    with pytest.raises(ConfigError, match="reconstruction"):
        NoiseModel(reconstruction="best")
    with pytest.raises(ConfigError, match="threshold"):
        soft_mask(truth, threshold=1.0)
