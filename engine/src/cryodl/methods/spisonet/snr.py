"""Signal-to-noise model of the half maps from the 3DFSC volume.

The 3DFSC is a noisy estimate: away from the shells near DC an angular cap holds a few dozen
independent values.  Everything that follows (which directions are missing, how far a measured
Fourier coefficient may be trusted) depends on it, so it is regularised first, using that the
sampling of Fourier space by single-particle views changes slowly along a ray through DC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from cryodl.core.fourier.grids import shell_index, squared_radius_px
from cryodl.core.fourier.transform import friedel_average, power_spectrum
from cryodl.methods.spisonet.rays import along_rays

Volume = NDArray[np.float32]

_RAY_START = 2.0
_RAY_FULL = 6.0
_POWER_SMOOTH = 1.5
_LEAST_POWER = 0.1
EMPTY_POWER = 1e-3
_LEAST_TRUST = 1e-6
_LEAST_CORRELATION = 0.1


@dataclass(frozen=True)
class SnrModel:
    """Regularised directional quality of a half map.

    Attributes
    ----------
    rho : array, shape (N, N, N), float32, centred
        Correlation of the two half maps per Fourier voxel, signal / (signal + noise), in [0, 1].
        It is the Wiener weight of one half map.
    coverage : array, shape (N, N, N), float32, centred
        `rho` relative to the best-measured directions of its shell, in [0, 1]: 0 = missing
        direction, 1 = fully measured.
    shell : int array, shape (N, N, N), centred
        Rounded radius in Fourier voxels.
    """

    rho: Volume
    coverage: Volume
    shell: NDArray[np.int32]


def correlation_from_cosine(cosine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn a mean cosine of the phase difference into a correlation.

    For complex Gaussian signal and noise with correlation rho the mean cosine is
    ``pi/4 rho 2F1(1/2, 1/2; 2; rho^2)``, a few per cent to a fifth below rho.
    """
    rho = np.linspace(0.0, 1.0, 401)
    mean = np.pi / 4 * rho * special.hyp2f1(0.5, 0.5, 2.0, rho**2)
    result: NDArray[np.float64] = np.interp(cosine, mean, rho)
    return result


def _ray_average(
    smooth: Volume, profile: NDArray[np.float64], squared: NDArray[np.int32]
) -> Volume:
    """Fit ``smooth(k) = D(k) * profile(|k|)`` with D constant over a piece of each ray."""
    # Voxels have few different radii: those of all whole numbers are looked up.
    radii, index = np.sqrt(np.arange(squared.max() + 1)), np.arange(profile.size)
    num = np.zeros_like(smooth)
    den = np.full_like(smooth, 1e-4)
    for scale, share, value in along_rays(smooth):
        here = np.interp(radii * scale, index, profile).astype(np.float32)
        value *= (np.float32(share) * here)[squared]
        num += value
        den += (np.float32(share) * here**2)[squared]
    num /= den
    return np.clip(num, 0.0, 1.3, out=num)


def measured_share(
    halves: Sequence[NDArray[np.floating]],
    fsc3d: NDArray[np.floating],
    unmasked: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Find directions that hold next to nothing, whatever their correlation says.

    A mask lets well measured directions leak into empty ones, which then correlate between the
    half maps. Two things give them away: less than a tenth of the power of the shell, and no
    correlation without the mask. Weak directions that do correlate are kept: they are attenuated,
    not empty.

    Parameters
    ----------
    halves : sequence of np.ndarray
        (n, n, n) each, unmasked.
    fsc3d : np.ndarray
        (n, n, n), centred: tells which directions of a shell to compare with.
    unmasked : np.ndarray
        (n, n, n), centred: 3DFSC of the half maps without a mask.

    Returns
    -------
    np.ndarray
        (n, n, n), centred, in [0, 1]: 1 where there is power as elsewhere, falling to 0.
    """
    n = halves[0].shape[0]
    power = power_spectrum(halves)
    shell = np.minimum(shell_index(n), n // 2)
    trust = (np.clip(fsc3d, 0.0, 1.0).astype(np.float64) ** 2 + _LEAST_TRUST).ravel()
    mean = np.bincount(shell.ravel(), trust * power.ravel()) / np.bincount(shell.ravel(), trust)
    relative = power / np.maximum(mean[shell], 1e-30)
    # Near zero frequency neighbouring voxels are neighbouring resolutions: nothing to average.
    near = shell < _RAY_FULL
    relative = np.where(near, relative, ndimage.gaussian_filter(relative, _POWER_SMOOTH))
    powerful = np.clip(relative / _LEAST_POWER, 0.0, 1.0)
    coherent = np.clip(unmasked, 0.0, 1.0) / np.maximum(fsc3d, _LEAST_CORRELATION)
    coherent[relative < EMPTY_POWER] = 0.0
    return friedel_average(np.clip(np.maximum(powerful, coherent), 0.0, 1.0))


def snr_model(
    fsc3d: NDArray[np.floating],
    *,
    threshold: float = 0.03,
    mean_cosine: bool = True,
) -> SnrModel:
    """Regularise a 3DFSC volume.

    Parameters
    ----------
    fsc3d : array, shape (N, N, N), centred
        Output of ``cryodl spisonet fsc3d``; values in [-1, 1].
    threshold : float
        Values below are taken as noise: ``W <- (W - threshold) / (1 - threshold)``, clipped.
    mean_cosine : bool
        Whether the volume holds mean cosines (the default estimator) and not correlations.

    Returns
    -------
    SnrModel
    """
    n = fsc3d.shape[0]
    top = n // 2
    w = friedel_average(np.clip(fsc3d, -1.0, 1.0).astype(np.float32))
    squared = squared_radius_px(n)
    radius = np.sqrt(squared, dtype=np.float32)
    shell = shell_index(n)
    inside = radius < top
    smooth = ndimage.gaussian_filter(w, 0.7, mode="nearest")
    d = np.ones_like(w)
    profile = np.zeros(top + 1)
    for _ in range(2):
        s, dd, dw = shell[inside], d[inside] ** 2, (d * w)[inside]
        size = top + 2
        fit = np.bincount(s, dw, size) / np.maximum(np.bincount(s, dd, size), 1e-6)
        profile = np.clip(ndimage.gaussian_filter1d(fit[: top + 1], 0.7), 0.0, 1.0)
        profile[0], profile[top] = 1.0, 0.0
        d = _ray_average(smooth, profile, squared)
    # Rays are too short near DC: use the volume itself there.
    blend = np.clip((radius - _RAY_START) / (_RAY_FULL - _RAY_START), 0.0, 1.0)
    ray = d * profile.astype(np.float32)[np.minimum(shell, top)]
    model = np.clip((1 - blend) * w + blend * ray, 0.0, 1.0)
    model = np.clip((model - threshold) / (1 - threshold), 0.0, 1.0)
    model = friedel_average(model)  # smoothing an even box is not quite symmetric
    model[~inside] = 0.0
    model[top, top, top] = 1.0
    rho = correlation_from_cosine(model) if mean_cosine else model
    return SnrModel(rho.astype(np.float32), _coverage(rho, shell, top).astype(np.float32), shell)


def _coverage(rho: NDArray[np.float64], shell: NDArray[np.int32], top: int) -> NDArray[np.float64]:
    """Return `rho` divided by the 80th percentile of its shell (smoothed over shells)."""
    best = np.zeros(top + 1)
    for r in range(1, top):
        best[r] = np.quantile(rho[shell == r], 0.8)
    best[0] = 1.0
    best[1:top] = ndimage.gaussian_filter1d(best[1:top], 1.0)
    ref = best[np.minimum(shell, top)]
    # Where nothing is measured in any direction there is no anisotropy to speak of.
    return np.where(ref > 1e-3, np.clip(rho / np.maximum(ref, 1e-3), 0.0, 1.0), 0.0)
