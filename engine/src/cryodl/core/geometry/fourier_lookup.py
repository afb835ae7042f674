"""Transforms of volumes at frequencies off the grid, in batches, on any device (torch)."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as functional

PADDING = 2
"""Looked up is the transform of a box that is so much larger."""


class FourierLookup:
    """Looks the transform of a box up at turned frequencies.

    Parameters
    ----------
    n : int
        Box size, odd or even.
    device : torch.device
        Where.

    Attributes
    ----------
    points : Tensor, (P, 3)
        The frequencies (x, y, z) of the box up to Nyquist, x not negative, in px.
    """

    def __init__(self, n: int, device: torch.device) -> None:
        self.n = n
        axis = np.fft.ifftshift(np.arange(n) - n // 2)
        z, y, x = np.meshgrid(axis, axis, np.arange(n // 2 + 1), indexing="ij")
        self.inside = 4 * (x**2 + y**2 + z**2) <= n * n
        points = np.stack([grid[self.inside] for grid in (x, y, z)], axis=-1)
        self.points = torch.as_tensor(points, dtype=torch.float32, device=device)
        # Divided out of the particle, this makes cubic B-splines interpolate.
        gain = (2 + np.cos(2 * np.pi * (np.arange(n) - n // 2) / (PADDING * n))) / 3
        whole = gain[:, None, None] * gain[None, :, None] * gain[None, None, :]
        self._prefilter = torch.as_tensor(1 / whole, dtype=torch.float32, device=device)
        m = PADDING * n
        self._wide = torch.arange(-n - 2, n + 3, device=device) % m
        self._narrow = torch.arange(-2, n + 3, device=device)
        sign = 1 - 2 * (self._wide % 2)
        lines = 1 - 2 * (self._narrow.abs() % 2)
        self._sign = (sign[:, None, None] * sign[None, :, None] * lines).to(torch.float32)

    def padded_transform(self, volumes: Tensor) -> Tensor:
        """Transform in a box of twice the size: (b, 2, 2n + 5, 2n + 5, n + 5), real and imaginary.

        Frequencies run from -n - 2 to n + 2 (x from -2), origin at the centre voxel.
        """
        n, m = self.n, PADDING * self.n
        padded = volumes.new_zeros(len(volumes), m, m, m)
        start = n - n // 2
        within = slice(start, start + n)
        padded[:, within, within, within] = volumes * self._prefilter
        half = torch.fft.rfftn(padded, dim=(1, 2, 3))
        # Columns at negative x and beyond n are conjugates of those at the opposite frequency.
        x = self._narrow
        inner = (x >= 0) & (x <= n)
        out = half.new_empty(len(volumes), 2 * n + 5, 2 * n + 5, n + 5)
        out[..., inner] = half[:, self._wide][:, :, self._wide]
        opposite = (-self._wide) % m
        columns = torch.where(x < 0, -x, m - x)[~inner]
        out[..., ~inner] = half[..., columns][:, opposite][:, :, opposite].conj()
        # The origin is voxel n of the padded box: every second frequency changes its sign.
        return torch.view_as_real(out * self._sign).movedim(-1, 1).contiguous()

    def to_half(self, values: Tensor) -> NDArray:
        """Spread values at the points over the half layout, 0 elsewhere, origin at voxel 0."""
        given = values.cpu().numpy()
        out = np.zeros(self.inside.shape, dtype=given.dtype)
        out[self.inside] = given
        return out


def cubic_lookup(transform: Tensor, points_px: Tensor) -> Tensor:
    """Look complex values up with cubic B-splines, as eight linear look-ups, (b, P)."""
    size = torch.tensor(transform.shape[-3:], device=transform.device).flip(0)
    origin = torch.tensor([2, size[1] // 2, size[2] // 2], device=transform.device)
    position = points_px + origin
    base = torch.floor(position)
    f = position - base
    w0, w3 = (1 - f) ** 3 / 6, f**3 / 6
    g0 = w0 + (4 - 6 * f**2 + 3 * f**3) / 6
    near = base - 1 + (g0 - w0) / g0
    far = base + 1 + w3 / (1 - g0)
    total = transform.new_zeros(len(transform), 2, points_px.shape[1])
    scale = 2.0 / (size - 1)
    for corner in product((False, True), repeat=3):
        chosen = torch.tensor(corner, device=transform.device)
        place = torch.where(chosen, far, near) * scale - 1
        weight = torch.where(chosen, 1 - g0, g0).prod(dim=-1)
        found = functional.grid_sample(transform, place[:, None, None], align_corners=True)
        total += found[:, :, 0, 0] * weight[:, None]
    return torch.complex(total[:, 0], total[:, 1])


def linear_lookup(weights: Tensor, points_px: Tensor, n: int) -> Tensor:
    """Look centred weights (b, n, n, n) up linearly, (b, P)."""
    if n % 2 == 0:
        # The planes at -n / 2 are those at n / 2 too.
        for axis in (1, 2, 3):
            weights = torch.cat([weights, weights.narrow(axis, 0, 1)], dim=axis)
    place = (points_px + n // 2) * (2.0 / (weights.shape[-1] - 1)) - 1
    found = functional.grid_sample(
        weights[:, None], place[:, None, None], padding_mode="border", align_corners=True
    )
    return found[:, 0, 0, 0]
