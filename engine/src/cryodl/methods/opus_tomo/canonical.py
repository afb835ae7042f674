"""Particles in the frame of the reference, where all of them can be compared with one density.

A particle y with pose ``x_particle = A x_reference - s`` and transfer T (CTF and wedge, in its own
frame, where they stay) shows a density V as ``y(k) = T(k) V(A^T k)``, once its centre has been
moved to the origin. Nothing but numbers at frequencies k = A q is compared, so the comparison

    |y - T V|^2 = |y|^2 + sum over q of  D(q) |V(q)|^2 - 2 Re V*(q) N(q)
    N(q) = T(A q) y(A q)        D(q) = T(A q)^2

needs the data only as N and D, which are looked up once, with cubic splines between the
frequencies of a box of twice the size. A training step then turns no volume and knows no CTF; and
neither does the wedge ever leave the frame it was measured in. A small correction of the pose
turns V, again against N and D as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.core.geometry.fourier_lookup import (
    PADDING,
    FourierLookup,
    cubic_lookup,
    linear_lookup,
)
from cryodl.core.networks.real_transform import real_transform

_EDGE_PX = 2.0


@dataclass(frozen=True)
class Sampling:
    """Boxes of the work.

    Attributes
    ----------
    box_px : int
        D, of the particles as they are stored.
    render_px : int
        R, the same box with fewer voxels.
    crop_px : int
        C, the middle of it that is worked with; even.
    pixel_size_angstrom : float
        Of the stored particles.
    """

    box_px: int
    render_px: int
    crop_px: int
    pixel_size_angstrom: float

    @property
    def working_pixel_angstrom(self) -> float:
        """Edge of a voxel of the rendered and cropped boxes."""
        return self.pixel_size_angstrom * self.box_px / self.render_px

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of N and D."""
        return self.crop_px, self.crop_px, self.crop_px // 2 + 1


@dataclass(frozen=True)
class Canonical:
    """One particle in the frame of the reference.

    Attributes
    ----------
    data, weight : ndarray
        N, complex64, and D, float32: what ``rfftn`` gives of a cube whose centre voxel is the
        origin of space.
    energy : ndarray
        |y|^2 of the cube in each shell, (c / 2 + 1,).
    """

    data: NDArray[np.complex64]
    weight: NDArray[np.float32]
    energy: NDArray[np.float32]


class CanonicalFrame:
    """Turns particles into N and D."""

    def __init__(self, sampling: Sampling, device: str = "cpu") -> None:
        self.sampling = sampling
        self.device = torch.device(device)
        self._lookup = FourierLookup(sampling.render_px, self.device)
        c = sampling.crop_px
        axis = np.fft.ifftshift(np.arange(c) - c // 2)
        z, y, x = np.meshgrid(axis, axis, np.arange(c // 2 + 1), indexing="ij")
        self.inside = 4 * (x**2 + y**2 + z**2) < c * c
        points = np.stack([grid[self.inside] for grid in (x, y, z)], axis=-1)
        # In frequencies of the rendered box, of which the crop has fewer.
        scale = sampling.render_px / c
        self._points = torch.as_tensor(points * scale, dtype=torch.float32, device=self.device)
        self._shells = half_shells(c)[self.inside]
        count = np.broadcast_to(half_weights(c).numpy(), self.inside.shape)[self.inside]
        self._count = torch.as_tensor(count, device=self.device)
        sign = 1 - 2 * (points.sum(axis=1) % 2)
        self._sign = torch.as_tensor(sign, dtype=torch.float32, device=self.device)

    def transform(
        self,
        volume: NDArray[np.float32],
        transfer: NDArray[np.float32] | None,
        rotation: NDArray[np.float64],
        shift_px: NDArray[np.float64],
        *,
        premultiplied: bool = False,
    ) -> Canonical:
        """Return N and D of a particle.

        Parameters
        ----------
        volume : (D, D, D) array
            As stored, bright matter.
        transfer : (D, D, D) array or None
            T, centred, or T squared for one that was multiplied by it; None is 1.
        rotation, shift_px
            A, and s in stored pixels.
        premultiplied : bool
            Whether it was.
        """
        sampling = self.sampling
        shift = shift_px * (sampling.render_px / sampling.box_px)
        small = shrink(volume, sampling.render_px) * self._mask(shift)
        padded = self._lookup.padded_transform(self._tensor(small)[None])
        matrix, origin = self._tensor(rotation), self._tensor(shift)
        source = self._points @ matrix.T
        mirrored = source[:, 0] < 0
        source = torch.where(mirrored[:, None], -source, source)
        values = cubic_lookup(padded, source[None] * PADDING)[0]
        phase = (-2 * torch.pi / sampling.render_px) * (source @ origin)
        values = values * torch.polar(torch.ones_like(phase), phase)
        values = torch.where(mirrored, values.conj(), values) * self._sign
        power = (values.abs() ** 2 * self._count).cpu().numpy()
        energy = np.bincount(self._shells, power, sampling.crop_px // 2 + 1)
        gain = torch.ones_like(phase)
        if transfer is not None:
            cut = self._tensor(central(transfer, sampling.render_px))[None]
            gain = linear_lookup(cut, source[None], sampling.render_px)[0]
        if not premultiplied:
            values, gain = values * gain, gain**2
        return Canonical(self._spread(values), self._spread(gain), energy.astype(np.float32))

    def _tensor(self, values: NDArray) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float32), device=self.device)

    def _spread(self, values: Tensor) -> NDArray:
        out: NDArray = np.zeros(self.inside.shape, values.cpu().numpy().dtype)
        out[self.inside] = values.cpu().numpy()
        return out

    def _mask(self, shift_px: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return a soft sphere about the centre of the particle, which lies at -s."""
        n = self.sampling.render_px
        axis = np.arange(n, dtype=np.float32) - n // 2
        x, y, z = ((axis + s) ** 2 for s in shift_px.astype(np.float32))
        radius = np.sqrt(z[:, None, None] + y[:, None] + x)
        outside = (radius - (self.sampling.crop_px / 2 - _EDGE_PX)) / _EDGE_PX
        return (0.5 + 0.5 * np.cos(np.pi * np.clip(outside, 0, 1))).astype(np.float32)


def shrink(volume: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    """Cut the Fourier transform of a cube to fewer voxels; both edges are even."""
    n = volume.shape[0]
    if n == edge:
        return np.asarray(volume, dtype=np.float32)
    transform = scipy.fft.rfftn(scipy.fft.ifftshift(np.asarray(volume, dtype=np.float32)))
    kept = np.r_[0 : edge // 2, n - edge // 2 : n]
    cut = transform[np.ix_(kept, kept, np.arange(edge // 2 + 1))]
    # What lies at the new Nyquist frequency has lost its partner.
    cut[edge // 2], cut[:, edge // 2], cut[:, :, edge // 2] = 0, 0, 0
    small = scipy.fft.irfftn(cut, s=(edge, edge, edge)) * np.float32((edge / n) ** 3)
    return np.asarray(scipy.fft.fftshift(small), dtype=np.float32)


def central(volume: NDArray, edge: int) -> NDArray:
    """Return the middle of a cube, centre voxel on centre voxel."""
    start = volume.shape[0] // 2 - edge // 2
    return volume[(slice(start, start + edge),) * 3]


def half_shells(edge: int) -> NDArray[np.int64]:
    """Return the shell of each frequency of the half layout, at most ``edge // 2``."""
    axis = np.fft.fftfreq(edge, 1 / edge)
    z, y, x = np.meshgrid(axis, axis, np.arange(edge // 2 + 1), indexing="ij")
    shells: NDArray[np.int64] = np.round(np.sqrt(x**2 + y**2 + z**2)).astype(np.int64)
    return np.minimum(shells, edge // 2)


def half_weights(edge: int, device: torch.device | None = None) -> Tensor:
    """Return how often each column of the half layout counts, over the number of voxels."""
    weights = torch.full((edge // 2 + 1,), 2.0, device=device)
    weights[0] = 1.0
    if edge % 2 == 0:
        weights[-1] = 1.0
    return weights / edge**3


def density_transform(density: Tensor, edge: int) -> Tensor:
    """Return the transform of densities (b, t, t, t) on the grid of N, without interpolation.

    The density covers the cropped box, in more or fewer voxels than it; its values are kept.
    """
    # All edges are even, and so the sign that a centre at voxel n / 2 gives is the same for all.
    t = density.shape[-1]
    transform = real_transform(density)
    return transform if t == edge else _fitted(transform, t, edge) * (edge / t) ** 3


def _fitted(transform: Tensor, t: int, edge: int) -> Tensor:
    half = min(t, edge) // 2
    out = transform.new_zeros(*transform.shape[:-3], edge, edge, edge // 2 + 1)
    low, high = slice(0, half), slice(-half + 1, None) if half > 1 else slice(0, 0)
    for z in (low, high):
        for y in (low, high):
            out[..., z, y, :half] = transform[..., z, y, :half]
    return out


def density_of(transform: Tensor, edge: int) -> Tensor:
    """Invert `density_transform` at the size of N: (b, c, c, c), origin at the centre voxel."""
    return torch.fft.irfftn(transform, s=(edge, edge, edge), dim=(-3, -2, -1))
