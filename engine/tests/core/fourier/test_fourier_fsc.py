import numpy as np
import pytest

from cryodl.core.fourier import fsc, grids
from cryodl.errors import ConfigError, InputError


@pytest.mark.parametrize("n", [10, 13])
def test_fsc_equals_a_direct_loop(n):
    rng = np.random.default_rng(7)
    shared = rng.normal(size=(n, n, n))
    a, b = (shared + rng.normal(size=(n, n, n)) for _ in range(2))
    fa, fb = (np.fft.fftshift(np.fft.fftn(v)) for v in (a, b))
    index = grids.shell_index(n)
    expected = []
    for shell in range(n // 2 + 1):
        pa, pb = fa[index == shell], fb[index == shell]
        norm = np.sqrt((abs(pa) ** 2).sum() * (abs(pb) ** 2).sum())
        expected.append((pa * pb.conj()).sum().real / norm)
    np.testing.assert_allclose(fsc.fourier_shell_correlation(a, b), expected, atol=1e-5)


def test_fsc_ignores_scale_and_offset_beyond_zero_frequency():
    rng = np.random.default_rng(7)
    a, b = (rng.normal(size=(12, 12, 12)) for _ in range(2))
    plain = fsc.fourier_shell_correlation(a, b)
    scaled = fsc.fourier_shell_correlation(3 * a, 0.5 * b + 0.1)
    np.testing.assert_allclose(scaled[1:], plain[1:], atol=1e-5)
    np.testing.assert_allclose(fsc.fourier_shell_correlation(a, a), 1, atol=1e-6)


def test_empty_volume_gives_zero():
    blank = np.zeros((8, 8, 8))
    assert (fsc.fourier_shell_correlation(blank, blank) == 0).all()


def test_resolution_is_interpolated():
    curve = [1, 1, 0.8, 0.343, 0.043, 0.5]
    # 0.143 lies at two thirds between shells 3 and 4.
    assert fsc.crossing_shell(curve, 0.143) == pytest.approx(3 + 2 / 3)
    assert fsc.resolution_at(curve, 0.143, 100, 2.0) == pytest.approx(200 / (3 + 2 / 3))
    assert fsc.resolution_at(curve, 0.9, 100, 2.0) == pytest.approx(200 / 1.5)


def test_resolution_at_the_ends_of_the_curve():
    assert fsc.resolution_at([1, 0.9, 0.8, 0.7], 0.143, 6, 1.5) == pytest.approx(3.0)
    assert fsc.resolution_at([1, 0.1, 0.8, 0.7], 0.143, 6, 1.5) == pytest.approx(9.0)
    assert fsc.resolution_at([-1, 0.9, 0.0], 0.45, 6, 1.0) == pytest.approx(4.0)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="same box"):
        fsc.fourier_shell_correlation(np.zeros((8, 8, 8)), np.zeros((9, 9, 9)))
    with pytest.raises(InputError, match="FSC curve"):
        fsc.resolution_at([1, np.nan, 0], 0.143, 8, 1.0)
    with pytest.raises(ConfigError, match="pixel size"):
        fsc.resolution_at([1, 0.5, 0], 0.143, 8, 0.0)
