import numpy as np
import pytest

from cryodl.core.fourier import grids, shells
from cryodl.errors import InputError


@pytest.mark.parametrize("n", [8, 11])
def test_shell_mean_equals_a_direct_loop(n):
    values = np.random.default_rng(0).normal(size=(n, n, n)).astype(np.float32)
    index = grids.shell_index(n)
    expected = [values[index == shell].mean() for shell in range(n // 2 + 1)]
    np.testing.assert_allclose(shells.shell_mean(values, index, n // 2 + 1), expected, atol=1e-6)


def test_empty_shells_give_zero_and_far_ones_are_left_out():
    values, index = np.array([2.0, 4.0, 9.0]), np.array([1, 1, 5])
    np.testing.assert_array_equal(shells.shell_mean(values, index, 4), [0, 3, 0, 0])


@pytest.mark.parametrize("n", [10, 13])
@pytest.mark.parametrize("truncate", [False, True])
def test_amplitude_spectrum_equals_the_whole_transform(n, truncate):
    volume = np.random.default_rng(5).normal(size=(n, n, n))
    amplitude = np.abs(np.fft.fftshift(np.fft.fftn(volume)))
    index = grids.shell_index(n, truncate=truncate)
    expected = [amplitude[index == shell].mean() for shell in range(n // 2 + 1)]
    found = shells.amplitude_spectrum(volume, truncate=truncate)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_shapes_must_agree():
    with pytest.raises(InputError, match="shell index"):
        shells.shell_mean(np.zeros((4, 4, 4)), grids.shell_index(5), 3)
