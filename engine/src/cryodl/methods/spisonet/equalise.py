"""Undo strong attenuation of directions that were measured nevertheless.

A Wiener-like reconstruction, or a regularised one, leaves poorly sampled directions with less
amplitude than the molecule has.  The 3DFSC does not show it (phases are untouched), and data that
are consistent but far too weak would hold the filling near zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.core.fourier.transform import forward_centred, inverse_centred, power_spectrum
from cryodl.methods.spisonet.rays import along_rays
from cryodl.methods.spisonet.snr import EMPTY_POWER, SnrModel

_FULL = 0.1
_NONE = 0.3
_LOWEST = 1e-4
_COVERED = (0.15, 0.3)
_USABLE = 0.05
_LATERAL = 0.7


def _sum_along_rays(values: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.zeros_like(values)
    for _, share, moved in along_rays(values):
        moved *= np.float32(share)
        out += moved
    return out


def directional_gain(
    halves: Sequence[NDArray[np.float32]], snr: SnrModel, power: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Estimate the amplitude of each direction relative to the well-measured ones.

    The logarithm of the signal power is averaged along rays and compared with its shell's
    mean over covered directions.  Molecules differ by direction too, so nothing is changed above
    0.3 of the shell's power, everything below 0.1; and nothing where coverage is below 0.15,
    where there is only noise to amplify.

    Parameters
    ----------
    halves : sequence of np.ndarray
        (n, n, n), normalised.
    snr : SnrModel
        Of the half maps.
    power : np.ndarray
        (n//2 + 1,), signal power per shell.

    Returns
    -------
    np.ndarray
        (n, n, n) float32 in [0.01, 1], centred: divide the transform by it.
    """
    n = snr.rho.shape[0]
    top = n // 2
    shell = np.minimum(snr.shell, top)
    relative = power_spectrum(halves)
    relative /= (len(halves) * power).astype(np.float32)[shell]
    usable = (snr.rho > _USABLE) & (shell > 0) & (shell < top)
    usable &= relative > EMPTY_POWER  # nothing there, not something weak
    relative = np.log(np.maximum(relative * snr.rho, 1e-6))
    weight = np.where(usable, snr.rho, np.float32(0))
    den = _sum_along_rays(ndimage.gaussian_filter(weight, _LATERAL))
    num = _sum_along_rays(ndimage.gaussian_filter(weight * relative, _LATERAL))
    log_gain = num / np.maximum(den, 1e-6)
    covered = (weight * snr.coverage**2).ravel()
    total = np.bincount(shell.ravel(), covered * log_gain.ravel(), top + 1)
    mean = total / np.maximum(np.bincount(shell.ravel(), covered, top + 1), 1e-9)
    log_gain = np.where(den > 1e-3, log_gain - mean.astype(np.float32)[shell], np.float32(0))
    low, high = np.log(_FULL), np.log(_NONE)
    share = np.clip((high - log_gain) / (high - low), 0.0, 1.0)
    share = share * np.clip((snr.coverage - _COVERED[0]) / (_COVERED[1] - _COVERED[0]), 0.0, 1.0)
    gain2 = np.exp(np.clip(share * log_gain, np.log(_LOWEST), 0.0))
    result: NDArray[np.float32] = np.sqrt(gain2).astype(np.float32)
    return result


def apply_gain(half: NDArray[np.float32], gain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide the transform of a map by a centred gain; (n, n, n)."""
    if gain.min() >= 1:
        return half
    spectrum = forward_centred(half)
    spectrum /= gain
    return inverse_centred(spectrum)
