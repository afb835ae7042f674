"""Rotate volumes on any device without blurring them (torch)."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as functional

_VOXELS_OF_A_SLAB = 2**22


def spline_coefficients(volume: Tensor) -> Tensor:
    """Return the periodic cubic B-spline coefficients of a volume, (n, n, n)."""
    spectrum = torch.fft.rfftn(volume)
    for axis, size in enumerate(volume.shape):
        frequency = torch.fft.rfftfreq(size) if axis == 2 else torch.fft.fftfreq(size)
        gain = (2 + torch.cos(2 * torch.pi * frequency)) / 3
        shape = [1, 1, 1]
        shape[axis] = -1
        spectrum = spectrum / gain.to(volume.device).reshape(shape)
    return torch.fft.irfftn(spectrum, s=volume.shape)


def rotate_spline(
    coefficients: Tensor, rotation: NDArray[np.float64], inside: Tensor | None = None
) -> Tensor:
    """Rotate a volume about its centre voxel ``n // 2`` with cubic B-splines.

    A trilinear look-up would damp everything above half of Nyquist. The 64 products of a tricubic
    B-spline are made of eight trilinear look-ups at shifted positions (Sigg and Hadwiger 2005,
    GPU Gems 2, chapter 20).

    Parameters
    ----------
    coefficients : Tensor
        (n, n, n), of `spline_coefficients`.
    rotation : np.ndarray
        (3, 3), acting on points (x, y, z): the voxel at p goes to R p.
    inside : Tensor, optional
        (n, n, n), where to compute it; 0 elsewhere.

    Returns
    -------
    Tensor
        (n, n, n); 0 where the source lies outside the box.
    """
    n, device = coefficients.shape[-1], coefficients.device
    if inside is not None:
        found = torch.zeros_like(coefficients)
        sources = _source_positions(n, rotation, device)
        found[inside] = _spline_values(coefficients, [s[inside][None, None] for s in sources])
        return found
    return torch.cat(
        [
            _spline_values(coefficients, _source_positions(n, rotation, device, planes=planes))
            for planes in _slabs(n)
        ]
    )


def _spline_values(coefficients: Tensor, positions: list[Tensor]) -> Tensor:
    """Evaluate cubic B-splines at voxel coordinates (z, y, x), each (a, b, c)."""
    low, high, weight = [], [], []
    for position in positions:
        base = torch.floor(position)
        f = position - base
        w0, w3 = (1 - f) ** 3 / 6, f**3 / 6
        w1 = (4 - 6 * f**2 + 3 * f**3) / 6
        g0 = w0 + w1
        low.append(base - 1 + w1 / g0)
        high.append(base + 1 + w3 / (1 - g0))
        weight.append(g0)
    result = torch.zeros_like(weight[0])
    for corner in product((0, 1), repeat=3):
        places = [(low, high)[side][axis] for axis, side in enumerate(corner)]
        w = [weight[axis] if side == 0 else 1 - weight[axis] for axis, side in enumerate(corner)]
        result += w[0] * w[1] * w[2] * _trilinear(coefficients, places)
    return result


def rotate_fourier_weight(
    weight: Tensor, rotation: NDArray[np.float64], size: int | None = None
) -> Tensor:
    """Rotate a centred Fourier weight and sample it for a cube of edge `size`.

    Parameters
    ----------
    weight : Tensor
        (n, n, n), centred, at least 0, smooth on the scale of n / size voxels.
    rotation : np.ndarray
        (3, 3), acting on (x, y, z); rotating a map by R rotates its transform by R.
    size : int, optional
        Edge c of the cube; by default n.

    Returns
    -------
    Tensor
        (c, c, c), centred.
    """
    n = weight.shape[-1]
    c = n if size is None else size
    slabs = []
    for planes in _slabs(c):
        places = _source_positions(n, rotation, weight.device, points=c, planes=planes)
        slabs.append(_trilinear(weight, places))
    return torch.cat(slabs).clamp_(min=0.0)


def centred_to_rfft(weight: Tensor) -> Tensor:
    """Turn a centred volume (..., c, c, c) into the layout of ``rfftn``, (..., c, c, c//2 + 1)."""
    moved = torch.fft.ifftshift(weight, dim=(-3, -2, -1))
    return moved[..., : weight.shape[-1] // 2 + 1].contiguous()


def _slabs(n: int) -> list[slice]:
    """Cut the planes of a cube into slabs, so that what is computed of a voxel takes no room."""
    planes = max(1, _VOXELS_OF_A_SLAB // n**2)
    return [slice(start, min(start + planes, n)) for start in range(0, n, planes)]


def _source_positions(
    n: int,
    rotation: NDArray[np.float64],
    device: torch.device,
    points: int | None = None,
    planes: slice = slice(None),
) -> list[Tensor]:
    """Return the source voxel coordinates (z, y, x) of each of `points` output points an axis.

    Only some `planes` of the output, (p, points, points) each.
    """
    count = n if points is None else points
    axis = (torch.arange(count, device=device, dtype=torch.float32) - count // 2) * (n / count)
    # The inverse of R, with its axes in the order of the array.
    inverse = np.ascontiguousarray(np.asarray(rotation, dtype=np.float64).T[::-1, ::-1])
    rows = torch.as_tensor(inverse, dtype=torch.float32, device=device)
    z, y, x = axis[planes, None, None], axis[None, :, None], axis[None, None, :]
    return [row[0] * z + row[1] * y + row[2] * x + n // 2 for row in rows]


def _trilinear(volume: Tensor, positions: list[Tensor]) -> Tensor:
    """Sample a volume at voxel coordinates (z, y, x); 0 outside."""
    size = volume.shape[-1]
    grid = torch.stack([p * (2.0 / (size - 1)) - 1.0 for p in reversed(positions)], dim=-1)
    sampled = functional.grid_sample(
        volume[None, None], grid[None], mode="bilinear", align_corners=True
    )
    return sampled[0, 0]
