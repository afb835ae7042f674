"""Compare a map with the truth inside and outside a region of Fourier space."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.core.evaluation.regions import BoolVolume
from cryodl.core.fourier.grids import shell_index
from cryodl.errors import ConfigError, InputError

FloatVolume = NDArray[np.float32]


@dataclass(frozen=True)
class DirectionalScore:
    """How well a map agrees with the truth, inside and outside a region.

    Attributes
    ----------
    fsc_inside_low, fsc_inside_high, fsc_outside_low, fsc_outside_high
        Mean over the shells of a band of the FSC with the truth, -1 to 1.
    power_inside_low, power_inside_high, power_outside_low, power_outside_high
        Power of the map over power of the truth in the band; 1 is full recovery.
    split_shell, limit_shell
        The low band is shells 1 to ``split_shell``, the high band the next up to ``limit_shell``.
    """

    fsc_inside_low: float
    fsc_inside_high: float
    fsc_outside_low: float
    fsc_outside_high: float
    power_inside_low: float
    power_inside_high: float
    power_outside_low: float
    power_outside_high: float
    split_shell: int
    limit_shell: int


@dataclass(frozen=True)
class DirectionalComparison:
    """Scores of a map before and after a correction."""

    before: DirectionalScore
    after: DirectionalScore

    def gain(self, name: str) -> float:
        """Return after minus before of one of the score's figures.

        Parameters
        ----------
        name
            An attribute of :class:`DirectionalScore`, such as ``fsc_inside_low``.

        Returns
        -------
        float
            Positive where the figure rose.

        Raises
        ------
        ConfigError
            If there is no such figure.
        """
        names = [field.name for field in fields(DirectionalScore)]
        if name not in names:
            raise ConfigError(f"score: found {name!r}, expected one of {', '.join(names)}")
        return float(getattr(self.after, name) - getattr(self.before, name))

    def improves(self, band: str = "low", tolerance_outside: float = 0.05) -> bool:
        """Tell whether the FSC inside rose and no band outside fell by more than a tolerance.

        Parameters
        ----------
        band
            ``low`` or ``high``: where the FSC inside has to rise.
        tolerance_outside
            Fall of the FSC that is forgiven outside, in either band.

        Returns
        -------
        bool
            False also where a figure is not defined.
        """
        falls = [-self.gain("fsc_outside_low"), -self.gain("fsc_outside_high")]
        return self.gain(f"fsc_inside_{band}") > 0 and all(f <= tolerance_outside for f in falls)


def region_fsc(map1: FloatVolume, map2: FloatVolume, region: BoolVolume) -> NDArray[np.float64]:
    """Fourier shell correlation over the voxels of a region alone.

    Parameters
    ----------
    map1, map2
        ``(n, n, n)`` (z, y, x), finite.
    region
        Boolean (or 0 and 1), ``(n, n, n)``, centred (DC at ``n//2``).

    Returns
    -------
    numpy.ndarray
        float64, ``(n//2 + 1,)``, shell r (rounded radius) at index r. NaN where the region has no
        voxel in the shell; 0 where either map has no power there.

    Raises
    ------
    InputError
        If shapes differ, or values are not finite.

    References
    ----------
    Harauz and van Heel 1986, Optik 73, 146; the sums are restricted to the region.
    """
    chosen = _checked_region(region, map1, map2)
    first, second = _centred_spectrum(map1)[chosen], _centred_spectrum(map2)[chosen]
    n = map1.shape[0]
    shells = np.asarray(shell_index(n))[chosen]
    cross = _shell_sums(shells, (first * second.conj()).real, n)
    power1 = _shell_sums(shells, np.abs(first) ** 2, n)
    power2 = _shell_sums(shells, np.abs(second) ** 2, n)
    count = _shell_sums(shells, np.ones(len(shells)), n)
    product = np.sqrt(power1 * power2)
    curve = np.where(count > 0, 0.0, np.nan)
    np.divide(cross, product, out=curve, where=product > 0)
    return curve


def band_mean(curve: NDArray[np.floating], low_shell: int, high_shell: int) -> float:
    """Mean of a curve over shells, both ends included, undefined shells left out.

    Parameters
    ----------
    curve
        One value per shell, index = shell.
    low_shell, high_shell
        First and last shell, ``0 <= low_shell <= high_shell < len(curve)``.

    Returns
    -------
    float
        The mean; NaN if no shell of the band is defined.

    Raises
    ------
    ConfigError
        If the band is empty or leaves the curve.
    """
    if not 0 <= low_shell <= high_shell < len(curve):
        raise ConfigError(
            f"band: found shells {low_shell} to {high_shell}, "
            f"expected an increasing pair within 0 to {len(curve) - 1}"
        )
    values = np.asarray(curve[low_shell : high_shell + 1], dtype=np.float64)
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def power_ratio(
    volume: FloatVolume, truth: FloatVolume, region: BoolVolume, low_shell: int, high_shell: int
) -> float:
    """Power of a map over power of the truth, in a region and a band of shells.

    Parameters
    ----------
    volume, truth
        ``(n, n, n)`` (z, y, x), on one grey scale.
    region
        Boolean, ``(n, n, n)``, centred.
    low_shell, high_shell
        First and last shell, both included, within 0 to n//2.

    Returns
    -------
    float
        1 for full power, 0 for none; NaN if the truth has no power there.

    Raises
    ------
    InputError
        If shapes differ, or values are not finite.
    ConfigError
        If the band is empty or leaves the box.
    """
    chosen = _checked_region(region, volume, truth)
    n = volume.shape[0]
    if not 0 <= low_shell <= high_shell <= n // 2:
        raise ConfigError(
            f"band: found shells {low_shell} to {high_shell}, "
            f"expected an increasing pair within 0 to {n // 2}"
        )
    shells = np.asarray(shell_index(n))
    chosen = chosen & (shells >= low_shell) & (shells <= high_shell)
    expected = float(np.sum(np.abs(_centred_spectrum(truth)[chosen]) ** 2))
    found = float(np.sum(np.abs(_centred_spectrum(volume)[chosen]) ** 2))
    return found / expected if expected > 0 else float("nan")


def score_direction(
    volume: FloatVolume,
    truth: FloatVolume,
    region: BoolVolume,
    *,
    mask: FloatVolume | None = None,
    split_shell: int | None = None,
    limit_shell: int | None = None,
) -> DirectionalScore:
    """Score a map against the truth, inside a Fourier region and outside it.

    Parameters
    ----------
    volume, truth
        ``(n, n, n)`` (z, y, x). Powers are compared, so both must be on one grey scale.
    region
        Boolean, ``(n, n, n)``, centred; outside is its complement.
    mask
        Real-space mask for both maps, or None. A mask mixes neighbouring Fourier voxels, so that a
        little of the outside appears inside.
    split_shell
        Last shell of the low band; None is a third of Nyquist.
    limit_shell
        Last shell of the high band; None is two thirds of Nyquist.

    Returns
    -------
    DirectionalScore
        FSC and power of both bands on both sides.

    Raises
    ------
    InputError
        If shapes differ, or values are not finite.
    ConfigError
        If not ``1 <= split_shell < limit_shell <= n//2``.
    """
    inside = _checked_region(region, volume, truth)
    nyquist = volume.shape[0] // 2
    split = max(1, round(nyquist / 3)) if split_shell is None else split_shell
    limit = max(split + 1, round(2 * nyquist / 3)) if limit_shell is None else limit_shell
    if not 1 <= split < limit <= nyquist:
        raise ConfigError(
            f"shells: found split {split} and limit {limit}, "
            f"expected 1 <= split < limit <= {nyquist} (Nyquist)"
        )
    if mask is not None:
        if mask.shape != volume.shape:
            raise InputError(f"mask: found shape {mask.shape}, expected {volume.shape}")
        volume, truth = volume * mask, truth * mask
    figures: dict[str, float] = {}
    for side, chosen in (("inside", inside), ("outside", ~inside)):
        curve = region_fsc(volume, truth, chosen)
        for band, low, high in (("low", 1, split), ("high", split + 1, limit)):
            figures[f"fsc_{side}_{band}"] = band_mean(curve, low, high)
            figures[f"power_{side}_{band}"] = power_ratio(volume, truth, chosen, low, high)
    return DirectionalScore(**figures, split_shell=split, limit_shell=limit)


def compare_direction(
    before: FloatVolume,
    after: FloatVolume,
    truth: FloatVolume,
    region: BoolVolume,
    *,
    mask: FloatVolume | None = None,
    split_shell: int | None = None,
    limit_shell: int | None = None,
) -> DirectionalComparison:
    """Score a map before and after a correction against the same truth.

    Parameters
    ----------
    before, after, truth
        ``(n, n, n)`` (z, y, x), on one grey scale.
    region, mask, split_shell, limit_shell
        As for :func:`score_direction`.

    Returns
    -------
    DirectionalComparison
        Both scores.

    Raises
    ------
    InputError, ConfigError
        As for :func:`score_direction`.
    """
    scores = [
        score_direction(
            volume, truth, region, mask=mask, split_shell=split_shell, limit_shell=limit_shell
        )
        for volume in (before, after)
    ]
    return DirectionalComparison(before=scores[0], after=scores[1])


def _checked_region(region: BoolVolume, map1: FloatVolume, map2: FloatVolume) -> BoolVolume:
    for name, volume in (("first map", map1), ("second map", map2)):
        if volume.ndim != 3 or len(set(volume.shape)) != 1:
            raise InputError(f"{name}: found shape {volume.shape}, expected a cube; pad it first")
        if not np.all(np.isfinite(volume)):
            raise InputError(f"{name}: found values that are not finite, expected a density")
    if map1.shape != map2.shape or map1.shape != region.shape:
        raise InputError(
            f"shapes: found maps {map1.shape} and {map2.shape} with a region {region.shape}, "
            "expected one shape; resample to one box"
        )
    return np.asarray(region).astype(bool)


def _centred_spectrum(volume: FloatVolume) -> NDArray[np.complex128]:
    spectrum: NDArray[np.complex128] = fft.fftshift(fft.fftn(volume.astype(np.float64)))
    return spectrum


def _shell_sums(
    shells: NDArray[np.integer], values: NDArray[np.floating], box_size_px: int
) -> NDArray[np.float64]:
    """Sum values per shell; shells beyond Nyquist are dropped."""
    length = box_size_px // 2 + 1
    return np.bincount(shells, weights=values, minlength=length)[:length].astype(np.float64)
