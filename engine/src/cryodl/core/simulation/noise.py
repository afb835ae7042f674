"""Noise of detectors, of ice, and plain smooth noise; all of unit variance before it is scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.errors import ConfigError

FloatArray = NDArray[np.float32]
NoiseStyle = Literal["detector", "smooth", "none"]
Statistics = Literal["gaussian", "poisson"]


@dataclass(frozen=True)
class NoiseSettings:
    """How noisy data are.

    Attributes
    ----------
    style
        ``detector``: drawn for every image of the series and reconstructed with it.
        ``smooth``: Gaussian noise of a correlation length, added to the finished volume.
        ``none``: no noise.
    snr
        Signal power over noise power, see `docs/simulation.md`. Above 0.
    exponent
        Power of the detector's noise falls with the frequency to this power: 0 white, 1 pink.
    statistics
        Of the detector: ``gaussian``, or ``poisson`` with the counts that the dose gives.
    correlation_px
        Standard deviation of the Gaussian that smooths ``smooth`` noise; 0 is white.
    """

    style: NoiseStyle = "detector"
    snr: float = 0.1
    exponent: float = 0.0
    statistics: Statistics = "gaussian"
    correlation_px: float = 1.0

    def __post_init__(self) -> None:
        if self.style not in ("detector", "smooth", "none"):
            raise ConfigError(f"noise: found {self.style!r}, expected detector, smooth or none")
        if not (np.isfinite(self.snr) and self.snr > 0):
            raise ConfigError(
                f"snr: found {self.snr}, expected above 0; noise 'none' leaves it out"
            )
        if self.statistics not in ("gaussian", "poisson"):
            raise ConfigError(
                f"noise statistics: found {self.statistics!r}, expected gaussian or poisson"
            )
        if not np.isfinite(self.exponent) or not self.correlation_px >= 0:
            raise ConfigError(
                f"noise: found exponent {self.exponent} and correlation {self.correlation_px} px, "
                "expected finite numbers, the second 0 or more"
            )


def coloured_images(
    shape: tuple[int, ...], exponent: float, rng: np.random.Generator
) -> FloatArray:
    """Draw Gaussian images (..., y, x) of unit variance whose power falls as a power of |k|."""
    white = rng.standard_normal(shape, dtype=np.float32)
    return colour(white, exponent)


def colour(images: FloatArray, exponent: float) -> FloatArray:
    """Give white images (..., y, x) a power that falls as |k| to `exponent`, same variance."""
    if exponent == 0:
        return images
    height, width = images.shape[-2:]
    y, x = fft.fftfreq(height)[:, None], fft.fftfreq(width)[None, :]
    radius = np.maximum(np.hypot(y, x), 1.0 / max(height, width))
    amplitude = radius ** (-exponent / 2)
    amplitude /= np.sqrt(np.mean(amplitude**2))
    half = amplitude[:, : width // 2 + 1].astype(np.float32)
    coloured: FloatArray = fft.irfft2(fft.rfft2(images) * half, s=(height, width))
    return coloured


def shot_noise(
    signal: FloatArray, noise_sd: float, counts_per_px: float, rng: np.random.Generator
) -> FloatArray:
    """Draw Poisson noise for images whose signal is weak, in units of its deviation.

    A pixel counts ``counts_per_px (1 + signal / (noise_sd sqrt(counts_per_px)))`` electrons in the
    mean, so that the counts, scaled, are the signal plus noise of deviation `noise_sd`.

    Parameters
    ----------
    signal
        Images in the units of `noise_sd`, bright = more electrons.
    noise_sd
        Deviation of the noise where there is no signal, above 0.
    counts_per_px
        Mean electrons of a pixel, above 0.
    rng
        Source of randomness.
    """
    root = np.sqrt(counts_per_px)
    rate = np.maximum(counts_per_px * (1.0 + signal / (noise_sd * root)), 0.0)
    return ((rng.poisson(rate) - rate) / root).astype(np.float32)


def smooth_volume(
    shape: tuple[int, ...], correlation_px: float, rng: np.random.Generator
) -> FloatArray:
    """Draw Gaussian noise (z, y, x) of unit variance, smoothed by a Gaussian (periodic).

    Parameters
    ----------
    shape
        Of the volume.
    correlation_px
        Standard deviation of the Gaussian; 0 leaves it white.
    rng
        Source of randomness.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    if correlation_px == 0:
        return white
    square = sum(
        (axis.reshape([-1 if i == k else 1 for i in range(len(shape))]) ** 2)
        for k, axis in enumerate([fft.fftfreq(n) for n in shape])
    )
    gain = np.exp(-2.0 * np.pi**2 * correlation_px**2 * np.asarray(square))
    gain /= np.sqrt(np.mean(gain**2))
    half = gain[..., : shape[-1] // 2 + 1].astype(np.float32)
    smooth: FloatArray = fft.irfftn(fft.rfftn(white) * half, s=shape)
    return smooth
