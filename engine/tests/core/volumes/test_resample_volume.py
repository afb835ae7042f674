"""Another grid for a volume, at any ratio of pixel sizes."""

import numpy as np
import pytest
from scipy import fft

from cryodl.core.volumes.boxes import resample_volume
from cryodl.errors import ConfigError


def smooth_volume(n, seed=0, cutoff=0.6):
    """A random volume without power near or beyond Nyquist."""
    rng = np.random.default_rng(seed)
    line = fft.fftfreq(n)
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    spectrum = fft.fftn(rng.standard_normal((n, n, n))) * (radius < cutoff / 2)
    return fft.ifftn(spectrum).real.astype(np.float32)


@pytest.mark.parametrize(("n", "m"), [(24, 16), (24, 17), (21, 16), (21, 15), (16, 24), (15, 20)])
def test_resampling_equals_a_fourier_crop_or_pad(n, m):
    volume = smooth_volume(n, cutoff=0.9 * min(1, m / n))
    # numpy's own crop or pad of the centred spectrum, origin moved to the centre voxel and back
    spectrum = fft.fftshift(fft.fftn(fft.ifftshift(volume.astype(np.float64))))
    wanted = np.zeros((m, m, m), dtype=complex)
    low = min(n, m) // 2
    high = min(n, m) - low
    new = slice(m // 2 - low, m // 2 + high)
    old = slice(n // 2 - low, n // 2 + high)
    wanted[new, new, new] = spectrum[old, old, old]
    expected = fft.fftshift(fft.ifftn(fft.ifftshift(wanted)).real) * (m / n) ** 3
    found = resample_volume(volume, 1.0, m, n / m)
    # an odd box ends half a voxel away from the even one: compare where both have data
    inside = slice(2, m - 2)
    np.testing.assert_allclose(
        found[inside, inside, inside], expected[inside, inside, inside], atol=1e-5
    )


def test_any_ratio_of_pixels_gives_the_wave_at_its_place():
    n, wave = 24, 3
    x = np.arange(n) - n // 2
    volume = np.broadcast_to(np.cos(2 * np.pi * wave * (x - 0.3) / n), (n, n, n))
    found = resample_volume(volume, 2.0, 20, 2.0 * 0.7371)
    expected = np.cos(2 * np.pi * wave * ((np.arange(20) - 10) * 0.7371 - 0.3) / n)
    np.testing.assert_allclose(found[10, 10], expected, atol=1e-6)
    np.testing.assert_allclose(found[3, 16], expected, atol=1e-6)


def test_axes_keep_their_order():
    volume = smooth_volume(16, seed=3)
    found = resample_volume(volume, 1.0, 16, 1.0)
    np.testing.assert_allclose(found, volume, atol=1e-6)
    finer = resample_volume(volume, 1.0, 32, 0.5)
    np.testing.assert_allclose(finer[::2, ::2, ::2], volume, atol=1e-6)


def test_what_cannot_be_resampled():
    with pytest.raises(ConfigError, match="cube"):
        resample_volume(np.zeros((4, 4, 5), np.float32), 1.0, 4, 1.0)
    with pytest.raises(ConfigError, match="box size"):
        resample_volume(np.zeros((4, 4, 4), np.float32), 1.0, 0, 1.0)
