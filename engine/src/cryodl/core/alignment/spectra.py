"""Particles as lists of Fourier components, and how much of them is noise (torch).

A particle P seen through the transfer T enters as data ``N = T P`` and weight ``D = T^2``; one
that was multiplied by its transfer already (pseudo-subtomograms, back-projected CTF-weighted
tilts) is N itself. Divided by the power of the noise, both are all that a likelihood needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cryodl.core.fourier.grids import check_box_size
from cryodl.errors import ConfigError, InputError

_EDGE_PX = 3.0
_RIM_PX = 2.0
# Beyond this share of half the box a particle is taken to be noise alone.
_OUTSIDE = 0.9
_LEAST_SNR = 0.02


class FourierPoints:
    """Frequencies of a box up to a shell, one of each opposite pair, without zero.

    Parameters
    ----------
    n : int
        Box size.
    max_shell : int
        Largest radius in px, less than Nyquist.
    device : str
        Of torch.

    Attributes
    ----------
    xyz : Tensor, (P, 3)
        Sorted by shell, so that lower bands are leading parts.
    shell : Tensor, (P,) long
        Rounded radii.
    """

    def __init__(self, n: int, max_shell: int, device: str = "cpu") -> None:
        self.n = check_box_size(n)
        most = (self.n - 1) // 2
        if not 1 <= max_shell <= most:
            raise ConfigError(
                f"band of the alignment: shell {max_shell}, expected 1 to {most} for boxes of "
                f"{n} px; give another resolution"
            )
        self.max_shell, self.device = max_shell, device
        axis = np.arange(-max_shell, max_shell + 1)
        x, y, z = (g.ravel() for g in np.meshgrid(axis[max_shell:], axis, axis, indexing="ij"))
        squared = x**2 + y**2 + z**2
        unique = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        kept = np.flatnonzero(unique & (squared <= max_shell**2))
        # By shell, and line by line within it: look-ups near each other stay in the cache.
        kept = kept[np.argsort(np.ceil(np.sqrt(squared[kept])), kind="stable")]
        self._x, self._y, self._z = (torch.as_tensor(c[kept], device=device) for c in (x, y, z))
        self.xyz = torch.stack([self._x, self._y, self._z], -1).to(torch.float32)
        self.shell = torch.as_tensor(np.rint(np.sqrt(squared[kept])), device=device).long()

    def __len__(self) -> int:
        """Return the number of frequencies."""
        return len(self.xyz)

    def within(self, shell: int) -> int:
        """Return how many of the first points lie within a shell."""
        return int((self.xyz.square().sum(dim=1) <= shell**2).sum())

    def transform(self, volumes: Tensor) -> Tensor:
        """Transform (b, n, n, n) about the centre voxel; (b, P) complex, white noise stays so."""
        shifted = torch.fft.ifftshift(volumes, dim=(1, 2, 3))
        half = torch.fft.rfftn(shifted, dim=(1, 2, 3), norm="ortho")
        n = self.n
        return half[:, self._z % n, self._y % n, self._x]

    def volumes(self, values: Tensor) -> Tensor:
        """Invert `transform` for (b, P) values; what lies beyond the points is 0."""
        n = self.n
        half = values.new_zeros(len(values), n, n, n // 2 + 1)
        half[:, self._z % n, self._y % n, self._x] = values
        # On the plane x = 0 both of two opposite frequencies are stored.
        rows = torch.nonzero(self._x == 0)[:, 0]
        half[:, -self._z[rows] % n, -self._y[rows] % n, 0] = values[:, rows].conj()
        found = torch.fft.irfftn(half, s=(n, n, n), dim=(1, 2, 3), norm="ortho")
        return torch.fft.fftshift(found, dim=(1, 2, 3))

    def weights(self, centred: Tensor) -> Tensor:
        """Take centred weights (b, n, n, n) at the points; (b, P)."""
        middle = self.n // 2
        return centred[:, self._z + middle, self._y + middle, self._x + middle]

    def shell_sums(self, values: Tensor) -> Tensor:
        """Sum (b, P) over shells; (b, max_shell + 1)."""
        out = values.new_zeros(len(values), self.max_shell + 1)
        return out.index_add_(1, self.shell, values)

    def phases(self, shifts_px: Tensor, count: int | None = None) -> Tensor:
        """Return ``exp(2 pi i k s / n)`` for shifts (..., 3), at the first points; (..., P)."""
        # A product of one factor for each axis, of which there are only as many as frequencies.
        line = torch.arange(-self.max_shell, self.max_shell + 1, device=self.xyz.device)
        angle = (2 * torch.pi / self.n) * shifts_px.to(self.xyz)[..., None] * line
        factors = torch.polar(torch.ones_like(angle), angle)  # (..., 3, 2 max_shell + 1)
        found, y, z = (
            factors[..., axis, :].index_select(-1, place[:count] + self.max_shell)
            for axis, place in enumerate((self._x, self._y, self._z))
        )
        return found.mul_(y).mul_(z)


@dataclass(frozen=True)
class Observations:
    """Particles at the points of a band.

    Attributes
    ----------
    data : Tensor, (b, P) complex
        N over the root of the power: noise has variance `weight`.
    weight : Tensor, (b, P)
        D, 0 to 1 for wedges.
    power : Tensor, (max_shell + 1,)
        That of a fully seen particle, by shell, which was divided out of the data.
    """

    data: Tensor
    weight: Tensor
    power: Tensor

    def first(self, count: int) -> Observations:
        """Return the band of the first points alone."""
        return Observations(self.data[:, :count], self.weight[:, :count], self.power)

    def chosen(self, rows: Tensor) -> Observations:
        """Return some of the particles, by index."""
        return Observations(self.data[rows], self.weight[rows], self.power)


def observe(
    points: FourierPoints,
    volumes: ArrayLike,
    transfers: ArrayLike | None = None,
    *,
    premultiplied: bool = False,
    power: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Observations:
    """Take particles to Fourier space and whiten them.

    Parameters
    ----------
    points : FourierPoints
        Where.
    volumes : (b, n, n, n) array
        Bright matter.
    transfers : (b, n, n, n) or (n, n, n) array, optional
        T, centred, in the frame of the particle; for premultiplied particles T^2. 1 by default.
    premultiplied : bool
        See above.
    power : (k,) array, optional
        Power of a particle by shell, see `spectral_power`; by default that of these particles.
    mask : (n, n, n) array, optional
        What of the box is used; by default all but a soft rim, for a particle may lie off the
        centre, or all of premultiplied particles.

    Raises
    ------
    InputError
        Shapes that do not belong together, or values that are not finite.
    """
    boxes, weights = _checked(points, volumes, transfers)
    if mask is not None:
        region = np.asarray(mask, dtype=np.float32)
    elif premultiplied:
        # A mask would blur the data against their weights.
        region = np.ones((points.n,) * 3, dtype=np.float32)
    else:
        region = rim_of_box(points.n)
    inside = torch.as_tensor(region, device=points.device)
    mean = (boxes * inside).sum(dim=(1, 2, 3), keepdim=True) / inside.sum()
    data = points.transform((boxes - mean) * inside)
    gains = points.weights(weights) if weights is not None else torch.ones_like(data.real[:1])
    if not premultiplied:
        data, gains = data * gains, gains**2
    gains = gains.clamp(min=0).expand(data.shape)
    if power is None:
        # Of the whole box: what the mask has cut away is noise alike.
        found = _power(points, data, gains) / (inside**2).mean()
    else:
        found = torch.as_tensor(np.asarray(power), device=points.device).to(torch.float32)
        if len(found) <= points.max_shell:
            raise InputError(
                f"power spectrum: {len(found)} shells, expected {points.max_shell + 1} or more; "
                "measure it in the box of the particles"
            )
    return Observations(data / found[points.shell].sqrt(), gains, found)


def spectral_power(
    points: FourierPoints,
    volumes: ArrayLike,
    transfers: ArrayLike | None = None,
    *,
    premultiplied: bool = False,
    mask: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Return the mean power of particles by shell, (max_shell + 1,), where they were measured."""
    seen = observe(points, volumes, transfers, premultiplied=premultiplied, mask=mask)
    return seen.power.cpu().numpy()


def spectral_snr(
    points: FourierPoints, volumes: ArrayLike, transfers: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Estimate the signal-to-noise ratio of particles by shell.

    The noise is measured in the corners of the boxes, beyond the particles; where these are empty
    (masked boxes), it is taken as white and read from the highest shells.

    Returns
    -------
    ndarray, (max_shell + 1,) float32
        Signal over noise power within the sphere that is used, at least 0.02.

    Raises
    ------
    InputError
        As `observe`.
    """
    n = points.n
    inside = sphere_of_box(n)
    axis = np.arange(n) - n // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    corner = np.clip((radius - _OUTSIDE * n / 2) / _EDGE_PX, 0, 1).astype(np.float32)
    total = spectral_power(points, volumes, transfers, mask=inside)
    noise = spectral_power(points, volumes, transfers, mask=corner)
    if noise[1:].sum() < 0.05 * total[-3:].mean() * len(noise):
        noise = np.full_like(total, total[-3:].mean())
    ratio = total / np.maximum(noise, 1e-12) - 1
    ratio[0] = ratio[1]
    return np.maximum(ratio, _LEAST_SNR).astype(np.float32)


def _power(points: FourierPoints, data: Tensor, gains: Tensor) -> Tensor:
    squared = data.real**2 + data.imag**2
    sums = points.shell_sums(squared.sum(dim=0, keepdim=True))[0]
    seen = points.shell_sums(gains.sum(dim=0, keepdim=True))[0]
    power = sums / seen.clamp(min=1e-6)
    # Shells that hold nothing (zero frequency, a band limit) must not blow up.
    return power.clamp(min=float(power[1:].max()) * 1e-6 + 1e-20)


def sphere_of_box(n: int) -> NDArray[np.float32]:
    """Return the soft sphere that is used of a box, (n, n, n)."""
    axis = np.arange(n) - n // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    outside = np.clip((radius - (n / 2 - 1 - _EDGE_PX)) / _EDGE_PX, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * outside)).astype(np.float32)


def rim_of_box(n: int) -> NDArray[np.float32]:
    """Return 1 but for a soft rim of the box, (n, n, n): where it ends there is no step."""
    outside = np.clip(np.abs(np.arange(n) - (n - 1) / 2) - (n / 2 - _RIM_PX), 0, _RIM_PX)
    line = 0.5 + 0.5 * np.cos(np.pi * outside / _RIM_PX)
    return (line[:, None, None] * line[:, None] * line).astype(np.float32)


def _checked(
    points: FourierPoints, volumes: ArrayLike, transfers: ArrayLike | None
) -> tuple[Tensor, Tensor | None]:
    box = (points.n,) * 3
    boxes = _tensor(volumes, points.device)
    weights = None if transfers is None else _tensor(transfers, points.device)
    if weights is not None and weights.ndim == 3:
        weights = weights[None]
    for name, values, counts in (
        ("particles", boxes, None),
        ("transfers", weights, (1, len(boxes))),
    ):
        if values is None:
            continue
        fits = values.ndim == 4 and tuple(values.shape[1:]) == box
        if not fits or (counts and len(values) not in counts) or not torch.isfinite(values).all():
            raise InputError(
                f"{name} to align: shape {tuple(values.shape)}, expected finite values of "
                f"{('b', *box)}, one of each a particle; give boxes of {points.n} px"
            )
    return boxes, weights


def _tensor(values: ArrayLike, device: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.to(device=device, dtype=torch.float32)
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device)
