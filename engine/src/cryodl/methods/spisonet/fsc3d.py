"""Fourier shell correlation by direction (3DFSC) of two half maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import hyp2f1

from cryodl.core.fourier.filters import radius_of_resolution_px, sphere
from cryodl.core.fourier.fsc import correlate_half_transforms, resolution_at
from cryodl.core.fourier.grids import half_multiplicity, half_shell_index
from cryodl.core.fourier.shells import shell_mean
from cryodl.core.fourier.transform import cubic_box_size, forward_half, half_to_centred
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet.cones import ShellCones, iterate_cones, last_complete_shell
from cryodl.methods.spisonet.sphericity import directional_limits_px, sphericity_of

if TYPE_CHECKING:
    import pandas as pd

Estimator = Literal["mean-cosine", "fsc"]
FSC_THRESHOLD = 0.143
SPHERICITY_THRESHOLD = 0.5


@dataclass(frozen=True)
class ShellStatistics:
    """Spread of the 3DFSC over the directions of each shell; all arrays have one entry a shell.

    Attributes
    ----------
    shell : ndarray of int
        Radius in Fourier px, from 1.
    resolution_angstrom : ndarray
        ``n * a / shell``.
    minimum, mean, maximum, sd : ndarray
        Over the voxels of the shell.
    fraction_below_0143 : ndarray
        Part of the voxels whose value is below that which an FSC of 0.143 gives (for the
        mean-cosine estimator that is 0.112, see `mean_cosine_of_correlation`).
    cone_voxels : ndarray
        Mean number of voxels in a cone, Friedel mates of others included.
    """

    shell: NDArray[np.int64]
    resolution_angstrom: NDArray[np.float64]
    minimum: NDArray[np.float64]
    mean: NDArray[np.float64]
    maximum: NDArray[np.float64]
    sd: NDArray[np.float64]
    fraction_below_0143: NDArray[np.float64]
    cone_voxels: NDArray[np.float64]


@dataclass(frozen=True)
class Fsc3D:
    """A 3DFSC and the numbers that sum it up.

    Attributes
    ----------
    volume : (n, n, n) float32 ndarray
        Values in [-1, 1], zero frequency (value 1) at voxel ``n // 2``, axes (z, y, x).
    global_fsc : (n // 2 + 1,) ndarray
        Ordinary FSC of the masked half maps.
    resolution_angstrom : float
        Where `global_fsc` first falls below 0.143, interpolated.
    limit_resolution_angstrom : float
        As given; else that of the first shell whose mean cosine is below 0.143, taken one shell
        farther, as published settings were tuned with.
    limit_shell : int
        First shell that was not computed; the volume is 0 from there on.
    shells : ShellStatistics
        Spread over directions.
    sphericity : float
        Of the surface where the 3DFSC falls below 0.5, somewhat smoothed: 1 for the same
        resolution in all directions, less otherwise (`sphericity_of`).
    best_resolution_angstrom, worst_resolution_angstrom : float
        5th and 95th percentile over directions of the resolution at FSC 0.5, at best that of the
        last computed shell.
    estimator : str
        Which average the volume holds.
    """

    volume: NDArray[np.float32]
    global_fsc: NDArray[np.float64]
    resolution_angstrom: float
    limit_resolution_angstrom: float
    limit_shell: int
    shells: ShellStatistics
    sphericity: float
    best_resolution_angstrom: float
    worst_resolution_angstrom: float
    estimator: Estimator

    def table(self) -> pd.DataFrame:
        """Return the shells as a table with STAR column names."""
        import pandas as pd

        shells = self.shells
        return pd.DataFrame(
            {
                "cdlShell": shells.shell,
                "cdlResolution": shells.resolution_angstrom,
                "cdlFsc": self.global_fsc[shells.shell],
                "cdlMinimum": shells.minimum,
                "cdlMean": shells.mean,
                "cdlMaximum": shells.maximum,
                "cdlStandardDeviation": shells.sd,
                "cdlFractionBelow0143": shells.fraction_below_0143,
                "cdlConeVoxels": shells.cone_voxels,
            }
        )


def mean_cosine_of_correlation(correlation: float) -> float:
    """Mean cosine of the phase difference of two complex normal variables.

    Parameters
    ----------
    correlation : float
        Their correlation, in [-1, 1]: the FSC at that frequency.

    Returns
    -------
    float
        ``pi / 4 * c * 2F1(1/2, 1/2; 2; c^2)``: 0 at 0, 0.112 at 0.143, 0.406 at 0.5, 1 at 1.

    References
    ----------
    The mean over the phase density of Lee et al. (1994), IEEE Transactions on Geoscience and
    Remote Sensing 32, 1017, for one look.
    """
    return float(math.pi / 4 * correlation * hyp2f1(0.5, 0.5, 2, correlation**2))


def compute_fsc3d(
    half1: ArrayLike,
    half2: ArrayLike,
    mask: ArrayLike | None,
    pixel_size_angstrom: float,
    *,
    limit_resolution_angstrom: float | None = None,
    cone_half_angle_degrees: float = 10.0,
    mode: Literal["fast", "exact"] = "fast",
    estimator: Estimator = "mean-cosine",
    keep_high_resolution: bool = False,
    progress: Callable[[float], None] | None = None,
    workers: int | None = None,
) -> Fsc3D:
    """Compute the 3DFSC of two half maps.

    Each voxel p of shell r (rounded radius) gets an average over its cone, the voxels q of the
    same shell with ``|p - q| <= 2 r sin(theta / 2)``. No cone is approximated, in either mode.

    Parameters
    ----------
    half1, half2 : (n, n, n) arrays
        Half maps, axes (z, y, x).
    mask : (n, n, n) array or None
        Factor applied to both maps after their mean was taken off; None for the whole box.
    pixel_size_angstrom : float
        Positive.
    limit_resolution_angstrom : float, optional
        Highest resolution computed, from two pixels to the box edge. By default the published
        rule, see `Fsc3D`.
    cone_half_angle_degrees : float
        theta, above 0, up to 180.
    mode : {"fast", "exact"}
        Sums in single or in double precision, the latter a tenth slower. Both keep to the
        definition: against a direct evaluation the error is below 3e-6 (1e-7 r.m.s.) in boxes of
        64 to 360 px. On one core, process start and reading included: 1.2 s and 0.2 GB for
        128 px, 6 s and 0.6 GB for 256 px, 16 s and 1.4 GB for 360 px (benchmarks/bench_fsc3d.py).
    estimator : {"mean-cosine", "fsc"}
        Mean over the cone of the cosine of the phase difference, which ignores amplitudes; or the
        ratio ``sum Re(F1 conj F2) / sqrt(sum|F1|^2 sum|F2|^2)``. Where a transform is 0 both
        count as 0.
    keep_high_resolution : bool
        Raise the volume to ``1 - sphere(limit_shell - 2)``, so that it is 1 beyond the limit.
    progress : callable, optional
        Called with the fraction done, in [0, 1].
    workers : int, optional
        Threads of the Fourier transforms; 1 by default.

    Returns
    -------
    Fsc3D

    Raises
    ------
    InputError
        If boxes differ, or a map or the mask is constant (mask: zero) or not finite.
    ConfigError
        If the limit is not between two pixels and the box edge, or another setting is unknown.

    Notes
    -----
    Shells of which a part lies outside the box, ``r > (n - 1) // 2``, are always 0.

    References
    ----------
    Tan et al. (2017), Nature Methods 14, 793, for the ratio in cones.
    """
    _check_settings(estimator, mode)
    first, second = _masked_transforms(half1, half2, mask, workers)
    n = first.shape[0]
    box_edge_angstrom = radius_of_resolution_px(1.0, n, pixel_size_angstrom)
    global_fsc = correlate_half_transforms(first, second, n)
    terms = _correlation_terms(first, second)
    del first, second
    cosine = _cosine(terms)
    if limit_resolution_angstrom is None:
        limit_resolution_angstrom = box_edge_angstrom / _published_limit_px(cosine, n)
    limit_shell = _limit_shell(limit_resolution_angstrom, n, pixel_size_angstrom)

    averaged = [cosine] if estimator == "mean-cosine" else terms
    cones = iterate_cones(
        [half_to_centred(values, n) for values in averaged],
        limit_shell - 1,
        cone_half_angle_degrees,
        double_precision=mode == "exact",
    )
    del averaged, terms, cosine
    volume, shells = _fill_volume(cones, n, limit_shell, estimator, box_edge_angstrom, progress)
    limits_px = directional_limits_px(
        volume, limit_shell - 1, _as_estimated(SPHERICITY_THRESHOLD, estimator)
    )
    best, worst = np.percentile(box_edge_angstrom / limits_px, (5, 95))
    if keep_high_resolution:
        np.maximum(volume, 1 - sphere(n, limit_shell - 2), out=volume)
    return Fsc3D(
        volume=volume,
        global_fsc=global_fsc,
        resolution_angstrom=resolution_at(global_fsc, FSC_THRESHOLD, n, pixel_size_angstrom),
        limit_resolution_angstrom=float(limit_resolution_angstrom),
        limit_shell=limit_shell,
        shells=shells,
        sphericity=sphericity_of(limits_px),
        best_resolution_angstrom=float(best),
        worst_resolution_angstrom=float(worst),
        estimator=estimator,
    )


def _check_settings(estimator: str, mode: str) -> None:
    for name, value, known in (
        ("estimator", estimator, ("mean-cosine", "fsc")),
        ("mode", mode, ("fast", "exact")),
    ):
        if value not in known:
            raise ConfigError(f"{name}: {value!r} is unknown; give {known[0]} or {known[1]}")


def _masked_transforms(
    half1: ArrayLike, half2: ArrayLike, mask: ArrayLike | None, workers: int | None
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Check, standardise, mask and transform both maps."""
    maps = [np.asarray(half, dtype=np.float32) for half in (half1, half2)]
    n = cubic_box_size(maps[0], "half map 1")
    factor = None if mask is None else np.asarray(mask, dtype=np.float32)
    for name, volume in (("half map 2", maps[1]), ("mask", factor)):
        if volume is not None and volume.shape != (n, n, n):
            raise InputError(
                f"{name}: box {volume.shape}, but half map 1 has {maps[0].shape}; give maps of one "
                "refinement"
            )
    if factor is not None and not (np.isfinite(factor).all() and factor.any()):
        raise InputError("mask: is empty or holds values that are not finite; give another mask")
    transforms = []
    for name, volume in zip(("half map 1", "half map 2"), maps):
        mean, sd = volume.mean(dtype=np.float64), float(volume.std(dtype=np.float64))
        if not math.isfinite(sd) or sd <= 1e-7 * abs(mean):
            raise InputError(
                f"{name}: standard deviation {sd:g}, expected a map with density and finite values"
            )
        standard = (volume - np.float32(mean)) / np.float32(sd)
        if factor is not None:
            standard *= factor
        transforms.append(forward_half(standard, workers=workers))
    return transforms[0], transforms[1]


def _correlation_terms(
    first: NDArray[np.complex64], second: NDArray[np.complex64]
) -> list[NDArray[np.float32]]:
    """Return Re(F1 conj F2), |F1|^2 and |F2|^2 in the half layout."""
    return [
        first.real * second.real + first.imag * second.imag,
        first.real**2 + first.imag**2,
        second.real**2 + second.imag**2,
    ]


def _cosine(terms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    # The root of each factor first: the product of two powers may leave single precision.
    norm = np.sqrt(terms[1]) * np.sqrt(terms[2])
    cosine = np.divide(terms[0], norm, out=np.zeros_like(norm), where=norm > 0)
    return np.clip(cosine, -1, 1, out=cosine)


def _published_limit_px(cosine: NDArray[np.float32], n: int) -> float:
    """Radius of the published resolution: one beyond the first truncated shell below 0.143."""
    index = half_shell_index(n, truncate=True)
    means = shell_mean(cosine, index, n // 2, half_multiplicity(n))
    # Zero frequency says nothing about resolution; the published rule looks at it too.
    below = np.flatnonzero(means[1:] < FSC_THRESHOLD) + 1
    return min(float(below[0] + 1), n / 2) if below.size else n / 2


def _limit_shell(limit_resolution_angstrom: float, n: int, pixel_size_angstrom: float) -> int:
    radius_px = radius_of_resolution_px(limit_resolution_angstrom, n, pixel_size_angstrom)
    if not 1 - 1e-6 <= radius_px <= n / 2 * (1 + 1e-6):
        raise ConfigError(
            f"limit resolution: {limit_resolution_angstrom:g} Angstrom; give a value from "
            f"{2 * pixel_size_angstrom:g} (two pixels) to {n * pixel_size_angstrom:g} (the box)"
        )
    return min(int(radius_px + 1 + 1e-6), last_complete_shell(n) + 1)


def _as_estimated(fsc: float, estimator: Estimator) -> float:
    return mean_cosine_of_correlation(fsc) if estimator == "mean-cosine" else fsc


def _estimate(cones: ShellCones, estimator: Estimator) -> NDArray[np.float64]:
    if estimator == "mean-cosine":
        values = cones.sums[0] / cones.cone_size[:, None]
    else:
        norm = np.sqrt(cones.sums[1]) * np.sqrt(cones.sums[2])
        values = np.divide(cones.sums[0], norm, out=np.zeros_like(norm), where=norm > 0)
    return np.asarray(np.clip(values, -1, 1), dtype=np.float64)


def _fill_volume(
    cones: Iterator[ShellCones],
    n: int,
    limit_shell: int,
    estimator: Estimator,
    box_edge_angstrom: float,
    progress: Callable[[float], None] | None,
) -> tuple[NDArray[np.float32], ShellStatistics]:
    """Write every shell's averages into a volume and collect their statistics."""
    volume = np.zeros((n, n, n), dtype=np.float32)
    volume[n // 2, n // 2, n // 2] = 1
    flat = volume.reshape(-1)
    threshold = _as_estimated(FSC_THRESHOLD, estimator)
    rows = []
    for shell in cones:
        values = _estimate(shell, estimator)
        flat[shell.voxels] = values
        flat[shell.mates] = values
        weight = np.repeat(shell.multiplicity / shell.multiplicity.sum() / 24, 24)
        each = values.ravel()
        mean = each @ weight
        rows.append(
            (
                each.min(),
                mean,
                each.max(),
                math.sqrt((each - mean) ** 2 @ weight),
                (each < threshold) @ weight,
                shell.cone_size @ shell.multiplicity / shell.multiplicity.sum(),
            )
        )
        if progress is not None:
            # Pairs of voxels on a shell grow with the fourth power of its radius.
            progress((shell.shell / (limit_shell - 1)) ** 5)
    radius = np.arange(1, limit_shell)
    return volume, ShellStatistics(radius, box_edge_angstrom / radius, *np.array(rows).T)
