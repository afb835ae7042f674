"""Join maps in Fourier space: low resolution of one, high resolution of another."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cryodl.core.fourier.filters import apply_shell_profile, radius_of_resolution_px, sphere
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.shells import amplitude_spectrum, shell_count, shell_sum
from cryodl.core.fourier.transform import forward_centred, inverse_centred
from cryodl.methods.spisonet.problem import Volume

Match = Literal["sampled", "shell"]

_SMALLEST_AMPLITUDE = 1e-7
_HARDLY_MEASURED = 1e-3
_TINY = 1e-30


def combine(
    low: Volume,
    high: Volume,
    threshold_angstrom: float,
    pixel_size_angstrom: float,
    *,
    mask: Volume | None = None,
    weight: Volume | None = None,
    match: Match = "sampled",
) -> Volume:
    """Take `low` up to a resolution and `high` beyond it, with matched amplitudes.

    Parameters
    ----------
    low, high : np.ndarray
        (n, n, n).
    threshold_angstrom : float
        Where the maps are joined, by a sphere with a soft edge of 5 shells.
    pixel_size_angstrom : float
        Of both maps.
    mask : np.ndarray, optional
        (n, n, n): amplitudes are compared inside it.
    weight : np.ndarray, optional
        (n, n, n), centred: how well each Fourier voxel was measured, for ``sampled``.
    match : str
        ``sampled`` compares amplitudes only where `weight` says that there is signal; ``shell``
        is the published rule, which compares whole shells and then matches standard deviations,
        and so lowers a map with empty directions by about its coverage.

    Returns
    -------
    np.ndarray
        (n, n, n) float32 on the grey scale of `high`.
    """
    n = len(low)
    ball = sphere(n, radius_of_resolution_px(threshold_angstrom, n, pixel_size_angstrom))
    if match == "shell":
        return _combine_by_shells(low, high, ball, mask)
    matched = match_amplitudes(low, high, mask=mask, weight=weight)
    joined = ball * forward_centred(matched) + (1 - ball) * forward_centred(high)
    return inverse_centred(joined)


def match_amplitudes(
    low: Volume, high: Volume, *, mask: Volume | None = None, weight: Volume | None = None
) -> Volume:
    """Scale the shells of `low` to the amplitudes of `high`, compared where both hold signal."""
    n = len(low)
    shells = shell_index(n)
    count = int(shells.max()) + 1
    trust = np.ones((n, n, n), np.float32) if weight is None else np.clip(weight, 0.0, 1.0)
    total = shell_sum(trust, shells, count)
    means = []
    for volume in (low, high):
        spectrum = np.abs(forward_centred(volume if mask is None else volume * mask))
        means.append(
            shell_sum(spectrum * trust, shells, count) / np.maximum(total, _HARDLY_MEASURED)
        )
    measured = total > _HARDLY_MEASURED * shell_count(shells, count)
    smallest = _SMALLEST_AMPLITUDE * max(float(means[0].max()), _TINY)
    ratio = np.where(measured, means[1] / np.maximum(means[0], smallest), 1.0)
    return inverse_centred(forward_centred(low) * ratio[shells].astype(np.float32))


def join_beyond(
    corrected: Volume, original: Volume, limit_angstrom: float, pixel_size_angstrom: float
) -> Volume:
    """Keep the original beyond a resolution limit; both maps have one grey scale.

    The seam is three shells wide and ends at the limit.
    """
    n = len(corrected)
    radius = radius_of_resolution_px(limit_angstrom, n, pixel_size_angstrom)
    ball = sphere(n, radius, soft_px=3)
    return inverse_centred(
        ball * forward_centred(corrected) + (1 - ball) * forward_centred(original)
    )


def with_reference(
    half: Volume,
    reference: Volume,
    fsc3d: Volume,
    resolution_angstrom: float,
    pixel_size_angstrom: float,
    *,
    mask: Volume | None = None,
    match: Match = "sampled",
) -> tuple[Volume, Volume]:
    """Put a reference's low resolution into a half map and mark it as measured.

    Returns
    -------
    half, fsc3d : np.ndarray
        (n, n, n) each. Below the resolution both half maps then hold the reference, so their FSC
        there says nothing.
    """
    n = len(half)
    joined = combine(
        reference,
        half,
        resolution_angstrom,
        pixel_size_angstrom,
        mask=mask,
        weight=fsc3d,
        match=match,
    )
    ball = sphere(n, radius_of_resolution_px(resolution_angstrom, n, pixel_size_angstrom))
    return joined, np.maximum(fsc3d, ball)


def _combine_by_shells(low: Volume, high: Volume, ball: Volume, mask: Volume | None) -> Volume:
    amplitudes = [
        amplitude_spectrum(volume if mask is None else volume * mask, truncate=True)
        for volume in (low, high)
    ]
    ratio = amplitudes[1] / np.maximum(amplitudes[0], _SMALLEST_AMPLITUDE)
    matched = apply_shell_profile(low, ratio[: (len(low) + 1) // 2], beyond=0.0, truncate=True)
    high_low = inverse_centred(ball * forward_centred(high))
    part = _with_moments(inverse_centred(ball * forward_centred(matched)), high_low)
    joined = part + inverse_centred((1 - ball) * forward_centred(high))
    return _with_moments(joined, high)


def _with_moments(volume: Volume, like: Volume) -> Volume:
    """Give a map the mean and standard deviation of another."""
    deviation = float(volume.std())
    scaled = (volume - volume.mean()) / (deviation or 1.0)
    return np.asarray(scaled * like.std() + like.mean(), dtype=np.float32)
