"""Transforms of boxes at low frequencies, and of maps in every orientation of a fixed grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.conventions import centre_voxel
from cryodl.core.alignment.reference import TransformLookup
from cryodl.core.alignment.rotation_grid import even_rotations

_EDGE_PX = 2.0
_SURE = 0.95  # of a frequency that was measured; the edge of a wedge depends on how it was made


class Resolution:
    """Frequencies up to a shell, and a grid of rotations fine enough for them.

    Parameters
    ----------
    n : int
        Box.
    shell : int
        Highest frequency, less than half of the box.
    rotations : int
        Orientations.
    """

    def __init__(self, n: int, shell: int, rotations: int) -> None:
        self.n, self.shell = n, min(shell, (n - 1) // 2)
        self.points, self.chosen = _frequencies(n, self.shell)
        self.radii = self.points.norm(dim=1).round().long()
        self.grid = torch.from_numpy(even_rotations(rotations).astype(np.float32))
        # The transform turned by A is, at k, that of the map at A^T k.
        self.places = self.points @ self.grid
        self._reach = self.shell + 1
        self._corners, self._shares = _corners(self.places, self._reach)
        axis = torch.arange(-self._reach, self._reach + 1).float()
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        self.cube_radii = (x**2 + y**2 + z**2).sqrt().round().long()

    def spectra(self, boxes: NDArray[np.float32]) -> Tensor:
        """Return the transforms of boxes (N, n, n, n) at the points, (N, P) complex."""
        axes, found = (-3, -2, -1), []
        for part in torch.from_numpy(boxes).split(256):
            whole = torch.fft.fftn(torch.fft.ifftshift(part, dim=axes), dim=axes, norm="ortho")
            found.append(torch.fft.fftshift(whole, dim=axes).reshape(len(part), -1)[:, self.chosen])
        return torch.cat(found)

    def turned(self, volume: NDArray[np.float32]) -> Tensor:
        """Return the transform of a map in every orientation, (G, P) complex."""
        return TransformLookup(volume, self.shell).at(self.places)

    def insert(self, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return sums of values (G, P) and of weights on a grid of frequencies about 0."""
        edge = 2 * self._reach + 1
        sums, total = torch.zeros(edge**3, 2), torch.zeros(edge**3)
        flat, w = torch.view_as_real(values.contiguous()).reshape(-1, 2), weights.reshape(-1)
        for where, share in zip(self._corners, self._shares, strict=True):
            sums.index_add_(0, where, flat * share[:, None])
            total.index_add_(0, where, w * share)
        numerator = torch.view_as_complex(sums).reshape(edge, edge, edge)
        denominator = total.reshape(edge, edge, edge)
        return (
            numerator + numerator.flip(0, 1, 2).conj(),
            denominator + denominator.flip(0, 1, 2),
        )

    def volume(self, transform: Tensor) -> NDArray[np.float32]:
        """Return the map of frequencies on the grid of `insert`, within its ball."""
        n, centre = self.n, centre_voxel(self.n)
        whole = torch.zeros((n, n, n), dtype=torch.complex64)
        reach = self.shell
        inner = slice(self._reach - reach, self._reach + reach + 1)
        within = slice(centre - reach, centre + reach + 1)
        whole[within, within, within] = transform[inner, inner, inner]
        found = torch.fft.ifftn(torch.fft.ifftshift(whole), norm="ortho")
        axis = (np.arange(n) - centre).astype(np.float32)
        # What sharing out values among grid points multiplies the map by.
        fall = np.sinc(axis / n) ** 2
        gain = 1 / (fall[:, None, None] * fall[:, None] * fall)
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        ball = np.clip((0.45 * n - radius) / _EDGE_PX + 1, 0, 1)
        return (torch.fft.fftshift(found.real).numpy() * gain * ball).astype(np.float32)


@dataclass(frozen=True)
class Observed:
    """Particles at one resolution.

    Attributes
    ----------
    spectra : (N, P) complex
        Transforms, 0 where nothing was measured.
    seen : (T, P) float32
        What each kind of recording measured, 0 or 1.
    kinds : (N,) int64
        Kind of each particle.
    """

    spectra: Tensor
    seen: Tensor
    kinds: NDArray[np.int64]

    def subset(self, rows: NDArray[np.int64]) -> Observed:
        """Return some particles."""
        return Observed(self.spectra[rows], self.seen, self.kinds[rows])


def observe(
    at: Resolution,
    boxes: NDArray[np.float32],
    wedges: NDArray[np.float32],
    kinds: NDArray[np.int64],
) -> Observed:
    """Return boxes (N, n, n, n) as seen through wedges (T, n, n, n) at a resolution.

    Only frequencies count that were surely measured. At low frequencies a third of all lie at the
    edge of the wedge, where data may have nothing, half or all, by the program that made them; and
    noise may also be where nothing was measured.
    """
    seen = torch.from_numpy(wedges).reshape(len(wedges), -1)[:, at.chosen]
    sure, kinds = (seen > _SURE).float(), np.asarray(kinds, dtype=np.int64)
    return Observed(at.spectra(boxes) * sure[kinds], sure, kinds)


def _frequencies(n: int, shell: int) -> tuple[Tensor, Tensor]:
    """Return one of each pair of opposite frequencies (P, 3), and where they are in a box."""
    axis = torch.arange(n, dtype=torch.float32) - centre_voxel(n)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    ahead = (points @ torch.tensor([1.0, 1e-3, 1e-6])) > 0
    chosen = ahead & (points.norm(dim=1) <= shell)
    return points[chosen], torch.nonzero(chosen)[:, 0]


def _corners(places: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Return the eight grid points about each place and their shares, (8, G * P) each."""
    edge = 2 * reach + 1
    low = places.floor()
    part, low = places - low, low.long() + reach
    where, shares = [], []
    for corner in range(8):
        bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2])
        share = torch.where(bits.bool(), part, 1 - part).prod(dim=-1)
        x, y, z = (low + bits).unbind(dim=-1)
        where.append(((z * edge + y) * edge + x).reshape(-1))
        shares.append(share.reshape(-1))
    return torch.stack(where), torch.stack(shares)
