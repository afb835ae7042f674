"""RELION's own map where directions are well measured, the correction where they are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.core.fourier.shells import shell_sum
from cryodl.core.fourier.transform import forward_centred, inverse_centred
from cryodl.methods.spisonet.snr import SnrModel

Maps = dict[int, NDArray[np.float32]]

_SHELL_SMOOTH = 1.0
_TINY = 1e-30


def keep_measured(own: Maps, corrected: Maps, snr: SnrModel) -> Maps:
    """Join the correction to RELION's own maps by direction.

    RELION's map is a Wiener estimate with one prior for each shell. It is as good as an estimate
    can be where a shell is well measured, and too small elsewhere. So only the badly measured
    directions are taken from the correction, with no more power than RELION gives to the well
    measured ones of the shell, and less where the half maps agree less about them: what is put in
    beyond that would let particles align to its noise.

    Parameters
    ----------
    own : dict
        Half to RELION's map, (n, n, n).
    corrected : dict
        Half to corrected map on the same grey scale, (n, n, n).
    snr : SnrModel
        Tells how well each direction is measured, by its `coverage`.

    Returns
    -------
    dict
        Half to map, (n, n, n) float32.
    """
    halves = sorted(corrected)
    plain = {half: forward_centred(own[half]) for half in halves}
    filled = {half: forward_centred(corrected[half]) for half in halves}
    covered, missing = snr.coverage, 1 - snr.coverage
    count = int(snr.shell.max()) + 1

    def by_shell(values: NDArray) -> NDArray[np.float64]:
        return ndimage.gaussian_filter1d(
            shell_sum(values, snr.shell, count), _SHELL_SMOOTH, mode="nearest"
        )

    def mean_power(maps: dict[int, NDArray[np.complex64]], share: NDArray) -> NDArray[np.float64]:
        power = np.mean([np.abs(maps[half]) ** 2 for half in halves], axis=0)
        return by_shell(share**2 * power) / np.maximum(by_shell(share**2), _TINY)

    gain2 = mean_power(plain, covered) / np.maximum(mean_power(filled, missing), _TINY)
    if len(halves) == 2:

        def agreement(maps: dict[int, NDArray[np.complex64]], share: NDArray) -> NDArray:
            first, second = (maps[half] for half in halves)
            cross = by_shell(share**2 * (first * second.conj()).real)
            powers = [by_shell(share**2 * np.abs(values) ** 2) for values in (first, second)]
            return np.clip(cross / np.maximum(np.sqrt(powers[0] * powers[1]), _TINY), 0.0, 1.0)

        reliability = agreement(filled, missing) / np.maximum(agreement(plain, covered), _TINY)
        gain2 = gain2 * np.minimum(reliability, 1.0)
    gain = np.sqrt(np.minimum(gain2, 1.0)).astype(np.float32)[snr.shell]
    return {
        half: inverse_centred(covered * plain[half] + missing * gain * filled[half])
        for half in halves
    }
