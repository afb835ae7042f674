"""Gold-standard FSC whose mask is corrected for by phase randomisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.filters import apply_shell_profile
from cryodl.core.fourier.fsc import crossing_shell, fourier_shell_correlation, resolution_at
from cryodl.core.fourier.grids import half_shell_index
from cryodl.core.fourier.transform import cubic_box_size, forward_half, inverse_half
from cryodl.errors import ConfigError, InputError

# Phases are exchanged from the first shell on at which the unmasked maps agree less than this.
_RANDOMISE_BELOW = 0.8
# The correction begins this many shells after it: the mask mixes neighbouring shells.
_SHELLS_OF_MIXING = 2


@dataclass(frozen=True)
class MaskedFsc:
    """Curves over shells 0 to n // 2, float64.

    Attributes
    ----------
    unmasked, masked : ndarray
        Of the maps as they are, and multiplied by the mask.
    randomised : ndarray
        Of the masked maps whose phases beyond `randomised_from` are random: what the mask alone
        makes equal.
    corrected : ndarray
        ``(masked - randomised) / (1 - randomised)`` beyond, the masked curve before.
    randomised_from : int
        Shell from which phases were random.
    resolution_angstrom : float
        Where the corrected curve falls below `threshold`.
    threshold : float
    """

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]
    randomised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    randomised_from: int
    resolution_angstrom: float
    threshold: float


def masked_fsc(
    half1: ArrayLike,
    half2: ArrayLike,
    mask: ArrayLike,
    pixel_size_angstrom: float,
    *,
    threshold: float = 0.143,
    seed: int = 0,
) -> MaskedFsc:
    """Correlate half maps within a mask, and take out what the mask itself correlates.

    Parameters
    ----------
    half1, half2 : (n, n, n) arrays
        Independent half maps.
    mask : (n, n, n) array
        Soft, 0 to 1.
    pixel_size_angstrom : float
        Positive.
    threshold : float
        For the resolution.
    seed : int
        Of the random phases.

    Returns
    -------
    MaskedFsc

    Raises
    ------
    InputError
        Boxes that differ, or a mask that is empty or not within 0 to 1.
    ConfigError
        A threshold that is not within 0 to 1.

    References
    ----------
    Chen et al. (2013), Ultramicroscopy 135, 24.
    """
    first, second = (np.asarray(half, dtype=np.float32) for half in (half1, half2))
    region = np.asarray(mask, dtype=np.float32)
    n = cubic_box_size(first, "half map")
    if region.shape != first.shape or second.shape != first.shape:
        raise InputError(
            f"half maps and mask: shapes {first.shape}, {second.shape} and {region.shape}; give "
            "three of one box"
        )
    if not (region.min() >= -1e-3 and 0 < region.max() <= 1 + 1e-3):
        raise InputError(
            f"mask: values from {region.min():g} to {region.max():g}, expected 0 to 1 and not all "
            "0; give a soft mask"
        )
    if not 0 < threshold < 1:
        raise ConfigError(f"FSC threshold: {threshold}, expected between 0 and 1; give 0.143")
    unmasked = fourier_shell_correlation(first, second)
    masked = fourier_shell_correlation(first * region, second * region)
    crossing = crossing_shell(unmasked, _RANDOMISE_BELOW)
    start = n // 2 + 1 if crossing is None else max(int(np.ceil(crossing)), 1)
    generator = np.random.default_rng(seed)
    noise = [randomise_phases(half, start, generator) for half in (first, second)]
    randomised = fourier_shell_correlation(noise[0] * region, noise[1] * region)
    corrected = masked.copy()
    beyond = slice(min(start + _SHELLS_OF_MIXING, n // 2 + 1), None)
    random = randomised[beyond]
    # Where the mask explains more than the maps show there is nothing left.
    corrected[beyond] = np.where(
        random < masked[beyond], (masked[beyond] - random) / np.maximum(1 - random, 1e-6), 0.0
    )
    return MaskedFsc(
        unmasked=unmasked,
        masked=masked,
        randomised=randomised,
        corrected=corrected,
        randomised_from=start,
        resolution_angstrom=resolution_at(corrected, threshold, n, pixel_size_angstrom),
        threshold=threshold,
    )


def randomise_phases(
    volume: ArrayLike, first_shell: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Give all frequencies from a shell on random phases; amplitudes stay.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values.
    first_shell : int
        First (rounded) shell whose phases change.
    generator : numpy.random.Generator
        Of the phases.

    Returns
    -------
    ndarray, (n, n, n) float32
    """
    transform = forward_half(volume)
    n = transform.shape[0]
    # The phases of a real white map are random and belong to a real map.
    white = forward_half(generator.standard_normal((n, n, n), dtype=np.float32))
    amplitude = np.abs(white)
    phases = np.where(amplitude > 0, white / np.maximum(amplitude, 1e-20), 1)
    beyond = half_shell_index(n) >= first_shell
    return inverse_half(np.where(beyond, np.abs(transform) * phases, transform), n)


def regularised_weight(fsc: ArrayLike) -> NDArray[np.float64]:
    """Return ``sqrt(2 FSC / (1 + FSC))``: the correlation of the average with the truth.

    Parameters
    ----------
    fsc : (k,) array
        Of half maps; negative values count as 0. From the first of them on all are 0.

    References
    ----------
    Rosenthal and Henderson (2003), J. Mol. Biol. 333, 721.
    """
    curve = np.clip(np.asarray(fsc, dtype=np.float64), 0, 1)
    if curve.ndim != 1 or not np.isfinite(curve).all():
        raise InputError(f"FSC curve: shape {curve.shape}, expected finite values in one row")
    # A curve that has fallen to 0 only scatters afterwards.
    alive = np.cumprod(np.concatenate([[1], curve[1:] > 0]))[: curve.size]
    return np.asarray(np.sqrt(2 * curve / (1 + curve)) * alive)


def fsc_filtered(volume: ArrayLike, fsc: ArrayLike) -> NDArray[np.float32]:
    """Weight the shells of an average of two halves by how well they are known.

    Parameters
    ----------
    volume : (n, n, n) array
        Average of the half maps.
    fsc : (n // 2 + 1,) array
        Of the half maps.

    Returns
    -------
    ndarray, (n, n, n) float32
        0 beyond Nyquist.
    """
    return apply_shell_profile(volume, regularised_weight(fsc))
