"""Half maps as unevenly sampled data give them, with everything about them known.

The model, per Fourier voxel k and half map::

    half(k) = gain(k) * truth(k) + noise(k) * gain_noise(k)

``noise`` is Gaussian, independent for each half, with a power that depends on the radius alone and
is what evenly sampled data would leave. Where the relative sampling is s(k), the three
reconstructions differ in

=============  =====================  ==============================
name           gain                   noise amplitude
=============  =====================  ==============================
``unweighted`` s                      sqrt(s)
``weighted``   1                      1 / sqrt(s)
``wiener``     w = s S / (s S + 1)    w / sqrt(s)
=============  =====================  ==============================

with S(|k|) the spectral signal-to-noise ratio of evenly sampled data, so that the variance per
weighted voxel is inverse to the sampling (Baldwin and Lyumkis 2020, Prog. Biophys. Mol. Biol. 150,
160). Both halves share one sampling, which random halves of a large data set nearly do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.grids import radius_grid_px, shell_index
from cryodl.core.simulation.sampling import (
    ViewDistribution,
    central_slice_sampling,
    draw_view_directions,
    even_out_shells,
)
from cryodl.errors import ConfigError, InputError

FloatVolume = NDArray[np.float32]
Reconstruction = Literal["unweighted", "weighted", "wiener"]

UNMEASURED_SAMPLING = 1e-3
"""Relative sampling below which a voxel counts as not measured: dividing by it makes speckle."""


@dataclass(frozen=True)
class SimulatedHalfMaps:
    """Half maps and what is true about them; all volumes ``(n, n, n)`` float32 (z, y, x).

    Attributes
    ----------
    half1, half2
        The half maps, unmasked.
    truth
        The density they are of, as given.
    sampling
        Relative sampling, centred: 1 = as evenly sampled data, 0 = not measured or beyond Nyquist.
    mask
        Soft solvent mask of the truth, 0 to 1.
    cone
        1 in the double cone that a score calls "inside", centred.
    pixel_size_angstrom
        Pixel size of all volumes.
    """

    half1: FloatVolume
    half2: FloatVolume
    truth: FloatVolume
    sampling: FloatVolume
    mask: FloatVolume
    cone: FloatVolume
    pixel_size_angstrom: float


@dataclass(frozen=True)
class NoiseModel:
    """How noisy a half map is, and how it was reconstructed.

    Attributes
    ----------
    snr
        Variance of the truth inside the mask over the variance of the noise that even sampling
        would leave in a half map. Above 0; infinity for no noise.
    exponent
        Noise power falls with the radius to this power: 0 white, 1 pink; negative rises.
    reconstruction
        ``wiener``, ``weighted`` or ``unweighted``; see the module.
    """

    snr: float = 1.0
    exponent: float = 0.0
    reconstruction: Reconstruction = "wiener"

    def __post_init__(self) -> None:
        if not self.snr > 0:
            raise ConfigError(f"snr: found {self.snr}, expected above 0")
        if not np.isfinite(self.exponent):
            raise ConfigError(f"noise exponent: found {self.exponent}, expected a finite number")
        if self.reconstruction not in ("unweighted", "weighted", "wiener"):
            raise ConfigError(
                f"reconstruction: found {self.reconstruction!r}, "
                "expected unweighted, weighted or wiener"
            )


def simulate_missing_cone(
    truth: FloatVolume,
    pixel_size_angstrom: float,
    *,
    half_angle_degrees: float,
    axis_xyz: Sequence[float] = (0.0, 0.0, 1.0),
    attenuation: float = 0.1,
    noise: NoiseModel | None = None,
    seed: int = 0,
) -> SimulatedHalfMaps:
    """Simulate half maps whose sampling drops inside a double cone.

    Parameters
    ----------
    truth
        Density, ``(n, n, n)`` (z, y, x), finite, not constant.
    pixel_size_angstrom
        Its pixel size, above 0.
    half_angle_degrees
        Angle between the axis and the cone's surface, above 0 and at most 90.
    axis_xyz
        Axis of the cone (x, y, z), any length.
    attenuation
        Relative sampling inside the cone, 0 (nothing measured) to 1. In an unweighted
        reconstruction this is the factor on the signal's amplitude.
    noise
        None: SNR 1, white noise, and no weighting, so that ``attenuation`` is what the cone loses.
    seed
        Same seed, same bytes.

    Returns
    -------
    SimulatedHalfMaps
        With ``sampling`` equal to ``attenuation`` inside the cone and 1 elsewhere up to Nyquist.

    Raises
    ------
    InputError
        If the truth is not a finite, varying cube.
    ConfigError
        If a parameter is out of range.
    """
    n = _checked_box_size(truth, pixel_size_angstrom)
    if not 0.0 <= attenuation <= 1.0:
        raise ConfigError(f"attenuation: found {attenuation}, expected 0 to 1")
    cone = double_cone_region(n, axis_xyz, half_angle_degrees)
    within = np.asarray(shell_index(n)) <= n // 2
    sampling = (np.where(cone, attenuation, 1.0) * within).astype(np.float32)
    noise = noise or NoiseModel(reconstruction="unweighted")
    return _simulate(truth, pixel_size_angstrom, sampling, cone, noise, seed)


def simulate_preferred_orientation(
    truth: FloatVolume,
    pixel_size_angstrom: float,
    *,
    number_views: int = 500,
    distribution: ViewDistribution = "top",
    axis_xyz: Sequence[float] = (0.0, 0.0, 1.0),
    spread_degrees: float = 15.0,
    uniform_fraction: float = 0.02,
    cone_half_angle_degrees: float = 30.0,
    noise: NoiseModel | None = None,
    seed: int = 0,
) -> SimulatedHalfMaps:
    """Simulate half maps from views that prefer an axis of the particle.

    Parameters
    ----------
    truth, pixel_size_angstrom, axis_xyz, seed
        As for :func:`simulate_missing_cone`; the axis is the preferred one.
    number_views
        Central slices drawn; it sets how grainy the sampling is, not the SNR.
    distribution, spread_degrees, uniform_fraction
        How views are drawn, see :func:`~cryodl.core.simulation.sampling.draw_view_directions`.
        ``top`` leaves a cone about the axis nearly empty.
    cone_half_angle_degrees
        The double cone about the axis that scores call "inside"; it changes nothing else.
    noise
        None: SNR 1, white noise, Wiener reconstruction.

    Returns
    -------
    SimulatedHalfMaps
        With ``sampling`` of mean 1 on each shell up to Nyquist.

    Raises
    ------
    InputError
        If the truth is not a finite, varying cube.
    ConfigError
        If a parameter is out of range.
    """
    n = _checked_box_size(truth, pixel_size_angstrom)
    cone = double_cone_region(n, axis_xyz, cone_half_angle_degrees)
    views = draw_view_directions(
        number_views,
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,))),
        distribution,
        axis_xyz,
        spread_degrees,
        uniform_fraction,
    )
    sampling = even_out_shells(central_slice_sampling(n, views))
    return _simulate(truth, pixel_size_angstrom, sampling, cone, noise or NoiseModel(), seed)


def soft_mask(
    density: FloatVolume, threshold: float = 0.15, lowpass_px: float = 1.5, edge_px: float = 2.0
) -> FloatVolume:
    """Make a soft solvent mask from a density.

    The density is blurred, cut at a fraction of its maximum, and the cut is blurred again in such a
    way that it stays 1 inside and falls to 0 outside.

    Parameters
    ----------
    density
        ``(n, n, n)`` (z, y, x), bright = matter.
    threshold
        Fraction of the blurred maximum, above 0 and below 1.
    lowpass_px, edge_px
        Standard deviations of the two Gaussian blurs; the edge is about 2 ``edge_px`` wide.

    Returns
    -------
    numpy.ndarray
        float32, same shape, 0 to 1.

    Raises
    ------
    ConfigError
        If the threshold is out of range.
    InputError
        If the density is not a finite, varying cube.
    """
    _checked_box_size(density, 1.0)
    if not 0.0 < threshold < 1.0:
        raise ConfigError(f"mask threshold: found {threshold}, expected between 0 and 1")
    smooth = _gaussian_blur(density, lowpass_px)
    binary = (smooth > threshold * float(smooth.max())).astype(np.float32)
    # the blurred step is 1/2 at the edge: doubled and clipped, the fall lies wholly outside the
    # edge
    fall = np.clip(2.0 * _gaussian_blur(binary, edge_px) - 0.02, 0.0, 1.0)
    # the blur also dips inside thin parts, which must stay whole
    ramp = np.maximum(0.5 - 0.5 * np.cos(np.pi * fall), binary)
    return ramp.astype(np.float32)


def shell_noise_profile(box_size_px: int, exponent: float) -> FloatVolume:
    """Return the amplitude of coloured noise per Fourier voxel, relative to white noise.

    Parameters
    ----------
    box_size_px
        Edge n of the cubic box.
    exponent
        Power falls as radius to this power; the origin counts as radius 1.

    Returns
    -------
    numpy.ndarray
        float32, ``(n, n, n)``, centred, 0 beyond the Nyquist sphere; the mean square over the whole
        grid is 1, so that filtered white noise keeps its variance.
    """
    n = box_size_px
    radius = np.maximum(np.asarray(radius_grid_px(n), dtype=np.float64), 1.0)
    amplitude = radius ** (-exponent / 2) * (np.asarray(shell_index(n)) <= n // 2)
    return (amplitude / np.sqrt(np.mean(amplitude**2))).astype(np.float32)


def _simulate(
    truth: FloatVolume,
    pixel_size_angstrom: float,
    sampling: FloatVolume,
    cone: NDArray[np.bool_],
    noise: NoiseModel,
    seed: int,
) -> SimulatedHalfMaps:
    n = truth.shape[0]
    truth = np.ascontiguousarray(truth, dtype=np.float32)
    mask = soft_mask(truth)
    noise_sd = float(np.std(truth[mask > 0.5], dtype=np.float64)) / np.sqrt(noise.snr)
    amplitude = noise_sd * shell_noise_profile(n, noise.exponent).astype(np.float64)
    spectrum = fft.rfftn(truth.astype(np.float64))
    ratio = _spectral_snr(spectrum, amplitude)
    gain, noise_gain = _gains(sampling.astype(np.float64), ratio, noise.reconstruction)
    signal = spectrum * _half_layout(gain)
    noise_filter = _half_layout(noise_gain * amplitude)
    halves = []
    for index in range(2):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        white = fft.rfftn(rng.standard_normal(truth.shape))
        half = fft.irfftn(signal + white * noise_filter, s=truth.shape)
        halves.append(half.astype(np.float32))
    return SimulatedHalfMaps(
        half1=halves[0],
        half2=halves[1],
        truth=truth,
        sampling=sampling,
        mask=mask,
        cone=cone.astype(np.float32),
        pixel_size_angstrom=float(pixel_size_angstrom),
    )


def _gains(
    sampling: NDArray[np.float64], ratio: NDArray[np.float64], reconstruction: Reconstruction
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factors on signal and on noise; see the table at the top of the module."""
    measured = sampling > UNMEASURED_SAMPLING
    safe = np.where(measured, sampling, 1.0)
    if reconstruction == "unweighted":
        return sampling, np.sqrt(sampling)
    if reconstruction == "weighted":
        return measured.astype(np.float64), measured / np.sqrt(safe)
    # 1 / (1 + 1 / (s S)) holds for S = infinity (no noise) and for S = 0 (no signal) alike
    with np.errstate(divide="ignore"):
        wiener = measured / (1.0 + 1.0 / (safe * ratio))
    return wiener, wiener / np.sqrt(safe)


def _spectral_snr(
    spectrum: NDArray[np.complex128], amplitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the shell mean of signal power over noise power, spread over the centred grid."""
    n = amplitude.shape[0]
    shells = np.asarray(shell_index(n)).ravel()
    half_shells = _half_layout(np.asarray(shell_index(n))).ravel()
    # the half layout holds one of each Friedel pair, which is enough for a mean
    power = _shell_means(half_shells, (spectrum * spectrum.conj()).real.ravel())
    # white noise of variance 1 has Fourier power n^3
    noise_power = _shell_means(shells, amplitude.ravel() ** 2) * n**3
    ratio = np.full(len(noise_power), np.inf)
    np.divide(power, noise_power, out=ratio, where=noise_power > 0)
    return ratio[shells].reshape(amplitude.shape)


def _shell_means(shells: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.bincount(shells, weights=values).astype(np.float64)
    return sums / np.maximum(np.bincount(shells), 1)


def _half_layout(centred: NDArray) -> NDArray:
    """Cut a centred volume with Friedel symmetry to the layout of ``rfftn``."""
    return fft.ifftshift(centred)[..., : centred.shape[-1] // 2 + 1]


def _gaussian_blur(volume: FloatVolume, sigma_px: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian, periodically."""
    n = volume.shape[0]
    square = (np.asarray(radius_grid_px(n), dtype=np.float64) / n) ** 2
    filtered = fft.rfftn(volume.astype(np.float64)) * _half_layout(
        np.exp(-2.0 * np.pi**2 * sigma_px**2 * square)
    )
    blurred: NDArray[np.float64] = fft.irfftn(filtered, s=volume.shape)
    return blurred


def _checked_box_size(volume: FloatVolume, pixel_size_angstrom: float) -> int:
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise InputError(f"truth: found shape {volume.shape}, expected a cube; pad it first")
    if volume.shape[0] < 8:
        raise InputError(f"truth: found a box of {volume.shape[0]} px, expected 8 or more")
    if not np.all(np.isfinite(volume)):
        raise InputError("truth: found values that are not finite, expected a density")
    if float(np.ptp(volume)) == 0.0:
        raise InputError("truth: found one value everywhere, expected a density")
    if not (np.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise ConfigError(f"pixel size: found {pixel_size_angstrom} A, expected above 0")
    return int(volume.shape[0])
