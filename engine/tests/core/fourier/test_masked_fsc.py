import numpy as np
import pytest

from cryodl.core.fourier.filters import apply_shell_profile
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.fourier.masked_fsc import (
    fsc_filtered,
    masked_fsc,
    randomise_phases,
    regularised_weight,
)
from cryodl.core.fourier.shells import amplitude_spectrum
from cryodl.core.volumes.masks import soft_sphere
from cryodl.errors import ConfigError, InputError


def halves(n, limit_shell, noise=0.1, seed=0):
    """Return noisy maps of a random object within a sphere, with signal to a shell."""
    rng = np.random.default_rng(seed)
    mask = soft_sphere(n, n / 5, 4)
    profile = np.zeros(n)
    profile[: limit_shell + 1] = 1
    signal = apply_shell_profile(rng.normal(size=(n,) * 3) * soft_sphere(n, n / 6, 2), profile)
    made = [signal + noise * rng.normal(size=(n,) * 3) for _ in range(2)]
    return (*made, mask)


@pytest.mark.parametrize("n", [31, 32])
def test_a_mask_does_not_make_noise_agree(n):
    # The same tight mask on pure noise correlates neighbouring shells; corrected it must not count.
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, n, n, n))
    mask = soft_sphere(n, 3, 1)
    found = masked_fsc(first, second, mask, 2.0)
    assert np.abs(found.corrected[3:]).mean() < 0.15
    # Where all phases are random the curve is again what noise gives.
    assert found.randomised_from == 1
    offset = [half + 5 for half in (first, second)]  # a background makes the mask itself agree
    shown = masked_fsc(*offset, mask, 2.0)
    assert shown.masked[3:8].mean() > 0.5
    assert shown.corrected[4:9].mean() < 0.4 * shown.masked[4:9].mean()


def test_signal_is_found_to_its_limit():
    n, limit = 40, 10
    first, second, mask = halves(n, limit)
    found = masked_fsc(first, second, mask, 2.0)
    np.testing.assert_allclose(found.unmasked, fourier_shell_correlation(first, second))
    assert found.masked[limit - 2] > found.unmasked[limit - 2]
    assert n * 2.0 / (limit + 4) < found.resolution_angstrom < n * 2.0 / (limit - 1)
    most = np.maximum(found.masked, 0) + np.maximum(-found.randomised, 0)
    assert (found.corrected <= most + 1e-12).all()
    np.testing.assert_array_equal(
        found.corrected[: found.randomised_from + 2], found.masked[: found.randomised_from + 2]
    )
    assert np.abs(found.corrected[limit + 5 :]).mean() < 0.2


def test_the_same_seed_gives_the_same_curve():
    first, second, mask = halves(24, 6)
    one, two, other = (masked_fsc(first, second, mask, 2.0, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.randomised, two.randomised)
    assert (one.randomised != other.randomised).any()


def test_equal_maps_have_no_shell_to_randomise():
    first, _, mask = halves(16, 5)
    found = masked_fsc(first, first, mask, 3.0)
    np.testing.assert_allclose(found.corrected, 1, atol=1e-6)
    assert found.resolution_angstrom == pytest.approx(6.0)


@pytest.mark.parametrize("n", [15, 16])
def test_random_phases_keep_amplitudes_and_low_shells(n):
    volume = np.random.default_rng(4).normal(size=(n,) * 3)
    found = randomise_phases(volume, 4, np.random.default_rng(5))
    np.testing.assert_allclose(amplitude_spectrum(found), amplitude_spectrum(volume), rtol=1e-3)
    curve = fourier_shell_correlation(volume, found)
    np.testing.assert_allclose(curve[:4], 1, atol=1e-5)
    assert np.abs(curve[4:]).max() < 0.5


def test_regularised_weights():
    np.testing.assert_allclose(
        regularised_weight([1, 0.5, 1 / 3, -0.1, 0.2]), [1, np.sqrt(2 / 3), np.sqrt(0.5), 0, 0]
    )
    volume = np.random.default_rng(6).normal(size=(8, 8, 8))
    found = amplitude_spectrum(fsc_filtered(volume, [1, 1, 0.5, 0.2, 0]))
    expected = amplitude_spectrum(volume) * regularised_weight([1, 1, 0.5, 0.2, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_bad_input_is_refused():
    first, second, mask = halves(12, 3)
    with pytest.raises(InputError, match="one box"):
        masked_fsc(first, second, mask[:-1], 2.0)
    with pytest.raises(InputError, match="mask"):
        masked_fsc(first, second, 0 * mask, 2.0)
    with pytest.raises(InputError, match="mask"):
        masked_fsc(first, second, 3 * mask, 2.0)
    with pytest.raises(ConfigError, match="threshold"):
        masked_fsc(first, second, mask, 2.0, threshold=1.5)
    with pytest.raises(InputError, match="FSC curve"):
        regularised_weight([[1.0]])
