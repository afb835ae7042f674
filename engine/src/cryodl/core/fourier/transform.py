"""Fourier transforms of real cubic volumes, single precision, any box size.

The *centred* pair places the origin at voxel ``n // 2`` in both spaces, so that a symmetric blob
on the centre voxel has a real transform. The *half* pair is the plain real transform (origin at
voxel 0), which is enough, and twice as cheap, wherever only a filter is applied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryodl.errors import InputError


def cubic_box_size(volume: NDArray, name: str = "volume") -> int:
    """Return the edge of a cubic volume.

    Raises
    ------
    InputError
        If `volume` is not three-dimensional and cubic.
    """
    if volume.ndim != 3 or len(set(volume.shape)) != 1:
        raise InputError(f"{name}: shape {volume.shape}, but a cubic box is needed; pad it first")
    return int(volume.shape[0])


def forward_half(volume: ArrayLike, *, workers: int | None = None) -> NDArray[np.complex64]:
    """Transform a real cubic volume to the half layout.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values, axes (z, y, x).
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n // 2 + 1) complex64
        Unnormalised transform with its origin at voxel (0, 0, 0).
    """
    real = np.asarray(volume, dtype=np.float32)
    cubic_box_size(real)
    return scipy.fft.rfftn(real, workers=workers or 1)


def inverse_half(
    transform: NDArray[np.complexfloating], n: int, *, workers: int | None = None
) -> NDArray[np.float32]:
    """Invert `forward_half`: (n, n, n // 2 + 1) complex to (n, n, n) float32.

    Raises
    ------
    InputError
        If the shape of `transform` does not belong to a box of `n` px.
    """
    if transform.shape != (n, n, n // 2 + 1):
        raise InputError(
            f"half transform: shape {transform.shape}, expected {(n, n, n // 2 + 1)} for a box of "
            f"{n} px"
        )
    single = transform.astype(np.complex64, copy=False)
    return scipy.fft.irfftn(single, s=(n, n, n), workers=workers or 1)


def forward_centred(volume: ArrayLike, *, workers: int | None = None) -> NDArray[np.complex64]:
    """Transform a real cubic volume to the centred layout.

    Parameters
    ----------
    volume : (n, n, n) array
        Real values, axes (z, y, x), origin at voxel ``n // 2``.
    workers : int, optional
        Threads of the transform; 1 by default.

    Returns
    -------
    ndarray, (n, n, n) complex64
        Unnormalised transform, zero frequency at voxel ``n // 2``.
    """
    real = np.asarray(volume, dtype=np.float32)
    cubic_box_size(real)
    full = scipy.fft.fftn(scipy.fft.ifftshift(real), workers=workers or 1)
    return scipy.fft.fftshift(full)


def power_spectrum(volumes: Sequence[ArrayLike]) -> NDArray[np.float32]:
    """Return the sum of ``|F|^2`` of cubic volumes in the centred layout, (n, n, n) float32."""
    power = np.zeros(np.shape(volumes[0]), dtype=np.float32)
    for volume in volumes:
        transform = forward_centred(volume)
        power += transform.real**2
        power += transform.imag**2
    return power


def inverse_centred(
    transform: NDArray[np.complexfloating], *, workers: int | None = None
) -> NDArray[np.float32]:
    """Invert `forward_centred`; the real part is kept, (n, n, n) float32."""
    cubic_box_size(transform, "transform")
    shifted = scipy.fft.ifftshift(transform.astype(np.complex64, copy=False))
    real = scipy.fft.ifftn(shifted, workers=workers or 1, overwrite_x=True).real
    return scipy.fft.fftshift(real)


def centred_to_half(weight: NDArray) -> NDArray:
    """Reorder a centred real weight into the half layout.

    Parameters
    ----------
    weight : (n, n, n) array
        Real weights, zero frequency at voxel ``n // 2``. Only the Friedel-symmetric part acts on
        a real volume, so opposite frequencies are averaged.

    Returns
    -------
    ndarray, (n, n, n // 2 + 1)
        The symmetric part, same type.
    """
    n = cubic_box_size(weight, "weight")
    shifted = scipy.fft.ifftshift(weight)
    opposite = -np.arange(n) % n
    half = shifted[:, :, : n // 2 + 1]
    mirrored = shifted[np.ix_(opposite, opposite, opposite[: n // 2 + 1])]
    return (half + mirrored) * weight.dtype.type(0.5)


def half_to_centred(half: NDArray, n: int) -> NDArray:
    """Expand Friedel-symmetric real values of the half layout to the centred (n, n, n) layout."""
    if half.shape != (n, n, n // 2 + 1):
        raise InputError(f"half values: shape {half.shape}, expected {(n, n, n // 2 + 1)}")
    out = np.empty((n, n, n), dtype=half.dtype)
    middle, columns = n // 2, (n + 1) // 2
    shifted = scipy.fft.fftshift(half, axes=(0, 1))
    out[:, :, middle:] = shifted[:, :, :columns]
    if n % 2 == 0:
        out[:, :, 0] = shifted[:, :, n // 2]
    # Frequency -k of the z and y axes, as an index of the centred layout.
    opposite = (2 * middle - np.arange(n)) % n
    negative = np.arange(middle - columns + 1, middle)
    out[:, :, negative] = shifted[np.ix_(opposite, opposite, middle - negative)]
    return out


def friedel_mate(volume: NDArray) -> NDArray:
    """Return a centred Fourier volume read at the opposite frequencies.

    Parameters
    ----------
    volume
        ``(n, n, n)``, centred (DC at ``n//2``).

    Returns
    -------
    numpy.ndarray
        Same shape; voxel k holds the input's value at -k (modulo n).
    """
    flipped = volume[::-1, ::-1, ::-1]
    if volume.shape[0] % 2 == 0:
        flipped = np.roll(flipped, 1, axis=(0, 1, 2))
    return flipped


def friedel_average(volume: NDArray) -> NDArray:
    """Average a centred Fourier volume (n, n, n) with its inversion through zero frequency."""
    return (volume + friedel_mate(volume)) / 2
