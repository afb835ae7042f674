import numpy as np
import pytest

from cryodl.core.fourier import transform
from cryodl.errors import InputError

SIZES = [8, 9, 14, 15]


@pytest.fixture
def noise(request):
    return np.random.default_rng(3).normal(size=(request.param,) * 3).astype(np.float32)


@pytest.mark.parametrize("noise", SIZES, indirect=True)
def test_pairs_are_inverse_and_single_precision(noise):
    n = noise.shape[0]
    centred, half = transform.forward_centred(noise), transform.forward_half(noise)
    assert centred.dtype == half.dtype == np.complex64
    for back in (transform.inverse_centred(centred), transform.inverse_half(half, n)):
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, noise, atol=2e-6)


@pytest.mark.parametrize("n", SIZES)
def test_centred_blob_has_a_flat_real_transform(n):
    point = np.zeros((n, n, n), dtype=np.float32)
    point[n // 2, n // 2, n // 2] = 2
    np.testing.assert_allclose(transform.forward_centred(point), 2, atol=1e-6)


@pytest.mark.parametrize("n", SIZES)
def test_shift_along_x_is_a_phase_ramp_along_x(n):
    point = np.zeros((n, n, n), dtype=np.float32)
    point[n // 2, n // 2, n // 2 + 1] = 1
    ramp = np.exp(-2j * np.pi * (np.arange(n) - n // 2) / n)
    expected = np.broadcast_to(ramp, (n, n, n))
    np.testing.assert_allclose(transform.forward_centred(point), expected, atol=1e-5)


@pytest.mark.parametrize("n", SIZES)
def test_layouts_convert_into_each_other(n):
    random = np.random.default_rng(1).normal(size=(n, n, n)).astype(np.float32)
    power = np.abs(transform.forward_centred(random))
    half = np.abs(transform.forward_half(random))
    np.testing.assert_allclose(transform.half_to_centred(half, n), power, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(transform.centred_to_half(power), half, rtol=1e-3, atol=1e-4)
    assert transform.half_to_centred(half, n)[n // 2, n // 2, n // 2] == half[0, 0, 0]


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match="cubic"):
        transform.forward_centred(np.zeros((4, 4, 5)))
    with pytest.raises(InputError, match="cubic"):
        transform.forward_half(np.zeros((4, 4)))
    with pytest.raises(InputError, match="half transform"):
        transform.inverse_half(np.zeros((6, 6, 4), dtype=np.complex64), 7)
    with pytest.raises(InputError, match="half values"):
        transform.half_to_centred(np.zeros((6, 6, 6), dtype=np.float32), 6)


def test_a_mate_is_the_opposite_frequency():
    volume = np.random.default_rng(0).standard_normal((6, 6, 6))
    spectrum = np.fft.fftshift(np.fft.fftn(volume))
    np.testing.assert_allclose(transform.friedel_mate(spectrum), spectrum.conj(), atol=1e-10)
    np.testing.assert_array_equal(transform.friedel_mate(transform.friedel_mate(volume)), volume)


@pytest.mark.parametrize("n", SIZES)
def test_an_average_of_mates_is_its_own_mate_and_leaves_symmetric_volumes_alone(n):
    volume = np.random.default_rng(1).standard_normal((n, n, n))
    average = transform.friedel_average(volume)
    np.testing.assert_array_equal(average, transform.friedel_mate(average))
    np.testing.assert_array_equal(average, transform.friedel_average(average))
    centre = (n // 2,) * 3
    assert average[centre] == volume[centre]
