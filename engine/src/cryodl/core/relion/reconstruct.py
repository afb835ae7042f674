"""RELION's reconstruction from its own accumulated Fourier transform, without gridding.

Measured against RELION 3.1.3, 4.0.2 and 5.0.1: equal to 1e-7 of the standard deviation for a run
that does not grid, which is the rule from RELION 4 on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryodl.core.fourier.grids import centred_axis_px, fft_axis_px
from cryodl.errors import InputError

MINRES_MAP_DEFAULT = 5
_EDGE_PX = 3
_WEIGHT_FLOOR = 1e-3
_SMALLEST_WEIGHT = 1e-20
_FSC_RANGE = (0.001, 0.999)
# Half a unit of the last digit RELION writes; numbers below a thousandth get all their digits.
_LAST_DIGIT = 5e-7
_SMALLEST_FIXED = 9.9e-4


@dataclass(frozen=True)
class Prior:
    """The spectral prior of a regularised (MAP) reconstruction.

    Attributes
    ----------
    tau2 : ndarray, (box // 2 + 1,)
        Power of the signal by shell.
    fudge : float
        Factor of `tau2`.
    minres_shell : int
        First shell it acts on: 5 in relion_refine (``--minres_map``), 0 in
        relion_external_reconstruct.
    """

    tau2: NDArray[np.float64]
    fudge: float = 1.0
    minres_shell: int = MINRES_MAP_DEFAULT


def reconstruct_map(
    data_real: NDArray,
    data_imag: NDArray,
    weight: NDArray,
    *,
    box_size_px: int,
    current_size_px: int,
    prior: Prior | None = None,
    keep_limit: bool = True,
    data_dimensionality: int = 2,
    workers: int | None = None,
) -> NDArray[np.float32]:
    """Make the map of accumulated data and weights as RELION does without gridding.

    Parameters
    ----------
    data_real, data_imag, weight : (p, p, p // 2 + 1) arrays
        In FFT order; p is a multiple of the box, the padding.
    box_size_px, current_size_px : int
        Box of the map; twice the Fourier radius used.
    prior : Prior, optional
        Regularise; without it the data are divided by the weights alone.
    keep_limit : bool
        Use the points at exactly the largest radius, as relion_refine does;
        relion_external_reconstruct does not.
    data_dimensionality : int
        2 where the particles were images, 3 where they were volumes, whose transforms RELION
        scales otherwise.
    workers : int, optional
        Threads of the Fourier transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) float32
        On RELION's absolute grey scale.

    Raises
    ------
    InputError
        The shapes do not belong together, or the dimensionality is neither 2 nor 3.
    """
    grid = _Grid.of(weight, box_size_px, current_size_px)
    for name, array in (("data_real", data_real), ("data_imag", data_imag)):
        if array.shape != weight.shape:
            raise InputError(
                f"{name}: shape {array.shape}, but the weights have {weight.shape}; give the "
                "arrays of one call"
            )
    floors = _shell_floors(weight, grid, prior)
    transform = np.zeros(weight.shape, dtype=np.complex128)
    for plane, r in grid.planes():
        w = _regularised(weight[plane].astype(np.float64), r, grid, prior)
        # Beyond the last complete shell its floor holds, which matters for points at the limit.
        shell = np.minimum(r // grid.padding, grid.n_shells - 1).astype(np.intp)
        divisor = np.maximum(w, floors[shell])
        kept = (r <= grid.limit_px if keep_limit else r < grid.limit_px) & (divisor > 0)
        numerator = data_real[plane] + 1j * data_imag[plane].astype(np.float64)
        np.divide(numerator, divisor, out=transform[plane], where=kept)
    volume = _to_map(transform, grid, workers)
    volume *= scale_of_data(box_size_px, data_dimensionality)
    return volume


def scale_of_data(box_size_px: int, data_dimensionality: int) -> int:
    """Return by how much the map of volumes is larger than that of images with the same sums.

    The box, as the transform of an image has one factor of it less than that of a volume. Measured
    with RELION 3.1.3, where relion_external_reconstruct takes all particles for images.
    """
    if data_dimensionality not in (2, 3):
        raise InputError(
            f"rlnDataDimensionality: found {data_dimensionality}, expected 2 or 3; the model file "
            "of the refinement is damaged"
        )
    return box_size_px if data_dimensionality == 3 else 1


def prior_attenuation(
    weight: NDArray, *, box_size_px: int, current_size_px: int, prior: Prior
) -> NDArray[np.float32]:
    """Give the share of signal that the sampling supports at each frequency of the box.

    This is ``w / (w + 1 / (padding^3 tau2))``: SSNR / (1 + SSNR) with the weights accumulated in
    that direction, 1 where there are many views and 0 where there are none.

    Parameters
    ----------
    weight : (p, p, p // 2 + 1) array
        RELION's weights, FFT order.
    box_size_px, current_size_px, prior
        As in `reconstruct_map`; `prior.minres_shell` is not used.

    Returns
    -------
    ndarray, (n, n, n // 2 + 1) float32
        FFT order, 0 beyond the current size, 1 at zero frequency.
    """
    grid = _Grid.of(weight, box_size_px, current_size_px)
    n, pad = grid.box_size_px, grid.padding
    per_axis = (fft_axis_px(n) * pad, fft_axis_px(n) * pad, np.arange(n // 2 + 1) * pad)
    z, y, x = per_axis
    sampled = weight[np.ix_(z, y, x)].astype(np.float64)
    r = np.sqrt((z**2)[:, None, None] + (y**2)[None, :, None] + (x**2)[None, None, :]) / pad
    shell = np.minimum(np.floor(r + 0.5).astype(np.intp), prior.tau2.size - 1)
    gain = sampled * pad**3 * prior.fudge * prior.tau2[shell]
    out = np.where(r <= grid.limit_px / pad, gain / (1 + gain), 0.0)
    out[0, 0, 0] = 1.0
    return out.astype(np.float32)


def sharpen_tau2(
    tau2: NDArray[np.float64],
    fsc: NDArray[np.float64],
    weight: NDArray,
    *,
    box_size_px: int,
    current_size_px: int,
    fudge: float,
) -> NDArray[np.float64]:
    """Recover digits of the prior that were lost when it was written as text.

    RELION writes six decimals, of which a small tau2 keeps two or three: its map then comes out
    wrong by 1e-3 of the standard deviation. RELION itself took tau2 from the FSC and the mean
    weight of the shell (``fudge * FSC / (1 - FSC) / mean weight``), which are known better there.

    Parameters
    ----------
    tau2, fsc : (k,) arrays
        As written.
    weight : (p, p, p // 2 + 1) array
        RELION's weights.
    box_size_px, current_size_px, fudge
        As in `reconstruct_map` and `Prior`.

    Returns
    -------
    ndarray, (k,) float64
        `tau2`, changed by no more than its last written digit, and not at all where it does not
        follow from the FSC (3D classification, joined halves).
    """
    grid = _Grid.of(weight, box_size_px, current_size_px)
    shells = box_size_px // 2 + 1
    total, count = np.zeros(shells), np.zeros(shells)
    for plane, r in grid.planes():
        inside = r < grid.limit_px
        shell = np.floor(r[inside] / grid.padding + 0.5).astype(np.intp)
        total += np.bincount(shell, weights=weight[plane][inside], minlength=shells)[:shells]
        count += np.bincount(shell, minlength=shells)[:shells]
    clipped = np.clip(fsc[:shells], *_FSC_RANGE)
    power = np.divide(count, grid.padding**3 * total, out=np.zeros(shells), where=total > 0)
    exact = fudge * clipped / (1 - clipped) * power
    written = tau2[:shells]
    uncertainty = np.where(fsc[:shells] == clipped, _LAST_DIGIT / (clipped * (1 - clipped)), 0.0)
    follows = np.abs(exact - written) <= 1.1 * _LAST_DIGIT + uncertainty * written
    better = follows & (uncertainty * written < _LAST_DIGIT) & (written >= _SMALLEST_FIXED)
    result = tau2.copy()
    result[:shells] = np.where(better, exact, written)
    return result


@dataclass(frozen=True)
class _Grid:
    box_size_px: int
    padding: int
    limit_px: int
    n_shells: int

    @classmethod
    def of(cls, weight: NDArray, box_size_px: int, current_size_px: int) -> _Grid:
        p = weight.shape[0]
        if weight.shape != (p, p, p // 2 + 1) or p % box_size_px:
            raise InputError(
                f"weight: shape {weight.shape}, expected (p, p, p // 2 + 1) with p a multiple of "
                f"the box, {box_size_px} px; give the arrays of one call"
            )
        padding, n_shells = p // box_size_px, current_size_px // 2
        return cls(box_size_px, padding, padding * n_shells, n_shells)

    def planes(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Go through the z planes that hold data, with the radius of each of their points."""
        p = self.box_size_px * self.padding
        axis = fft_axis_px(p).astype(np.int64)
        half = np.arange(p // 2 + 1, dtype=np.int64) ** 2
        flat = (axis**2)[:, None] + half[None, :]
        for plane in np.flatnonzero(np.abs(axis) <= self.limit_px):
            # Radii come from integers: a rounding error would put a whole shell wrong.
            yield int(plane), np.sqrt(flat + axis[plane] ** 2)


def _regularised(
    w: NDArray[np.float64], r: NDArray[np.float64], grid: _Grid, prior: Prior | None
) -> NDArray[np.float64]:
    if prior is None:
        return w
    pad = grid.padding
    shell = np.minimum(np.floor(r / pad + 0.5).astype(np.intp), prior.tau2.size - 1)
    tau2 = np.where(prior.tau2[shell] > 0, prior.fudge * prior.tau2[shell], 0.0)
    with np.errstate(divide="ignore"):
        inverse = 1.0 / (pad**3 * tau2)
        unknown = np.where(w > _SMALLEST_WEIGHT, 1.0 / (_WEIGHT_FLOOR * w), 0.0)
    added = np.where(tau2 > 0, inverse, unknown)
    return w + np.where((r < grid.limit_px) & (shell >= prior.minres_shell), added, 0.0)


def _shell_floors(weight: NDArray, grid: _Grid, prior: Prior | None) -> NDArray[np.float64]:
    """Return a thousandth of the mean weight of each (truncated) shell."""
    total, count = np.zeros(grid.n_shells), np.zeros(grid.n_shells)
    for plane, r in grid.planes():
        inside = r < grid.limit_px
        w = _regularised(weight[plane].astype(np.float64), r, grid, prior)[inside]
        shell = (r[inside] // grid.padding).astype(np.intp)
        total += np.bincount(shell, weights=w, minlength=grid.n_shells)
        count += np.bincount(shell, minlength=grid.n_shells)
    return _WEIGHT_FLOOR * total / np.maximum(count, 1)


def _to_map(
    transform: NDArray[np.complex128], grid: _Grid, workers: int | None
) -> NDArray[np.float32]:
    n, p = grid.box_size_px, grid.box_size_px * grid.padding
    padded = scipy.fft.irfftn(transform, s=(p, p, p), workers=workers or 1, overwrite_x=True)
    axis = centred_axis_px(n)
    volume = padded[np.ix_(axis % p, axis % p, axis % p)]
    volume *= p**3 / (grid.padding**3 * n)
    squares = axis.astype(np.int64) ** 2
    radius = np.sqrt(squares[:, None, None] + squares[None, :, None] + squares[None, None, :])
    _soften_corners(volume, radius, n)
    # Trilinear insertion of the views multiplied the map by sinc^2.
    volume /= np.sinc(radius / p) ** 2
    return volume.astype(np.float32)


def _soften_corners(volume: NDArray[np.float64], radius: NDArray[np.float64], n: int) -> None:
    """Bring what lies outside the inscribed sphere to its mean, in place."""
    start = n / 2
    ramp = 0.5 + 0.5 * np.cos(math.pi * np.clip((start + _EDGE_PX - radius) / _EDGE_PX, 0, 1))
    outside = np.where(radius > start, ramp, 0.0)
    total = float(outside.sum())
    if total > 0:
        mean = float((outside * volume).sum()) / total
        volume += outside * (mean - volume)
