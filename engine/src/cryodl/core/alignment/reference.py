"""References in any orientation, and the scores of particles against them (torch).

Two kinds of reference. A *map* is free of noise: the score is the correlation with the particle,
over the components that the particle has, in units of the noise (a z-score; its half square is
the logarithm of the likelihood ratio). Another *particle* is as noisy and has lost a wedge of its
own: the score is the logarithm of the likelihood that both show one object against that they have
nothing to do with each other, over the components that both have, weighted by the signal-to-noise
ratio.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as functional

from cryodl.core.alignment.spectra import FourierPoints, Observations, observe, sphere_of_box
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.transform import cubic_box_size
from cryodl.errors import InputError

_SMALL_BOX_PX = 40


class Turned(Protocol):
    """A reference at the points of the particle's frame, for some rotations."""

    values: Tensor

    def scores(self, cross: Tensor, seen: Observations) -> Tensor:
        """Turn correlations (..., R, T) into scores."""


class Reference(Protocol):
    """What particles are aligned to."""

    points: FourierPoints

    def turned(self, rotations: Tensor, count: int, power: Tensor) -> Turned:
        """Return it at the first `count` points for rotations (..., 3, 3)."""

    def information(self, power: Tensor) -> Tensor:
        """Return by shell how much it adds to the score of a good pose, (max_shell + 1,)."""


class TransformLookup:
    """The transform of a volume between the frequencies of its box, by linear look-up.

    Parameters
    ----------
    volume : (n, n, n) array
        About its centre voxel.
    max_shell : int
        Largest radius that will be asked for, in px.
    device : str
        Of torch.
    """

    def __init__(self, volume: NDArray[np.float32], max_shell: int, device: str = "cpu") -> None:
        n = cubic_box_size(volume, "reference")
        # What linear look-up lets in from the copies of the volume falls fast with the padding.
        self.padding = 3 if n <= _SMALL_BOX_PX else 2
        m = self.padding * n
        line = 1 / np.sinc((np.arange(n) - n // 2) / m) ** 2
        gain = line[:, None, None] * line[:, None] * line
        padded = torch.zeros(m, m, m, device=device)
        start = m // 2 - n // 2
        within = slice(start, start + n)
        padded[within, within, within] = torch.as_tensor(
            (volume * gain).astype(np.float32), device=device
        )
        whole = torch.fft.fftn(torch.fft.ifftshift(padded)) / n**1.5
        reach = self.padding * max_shell + 1
        axis = torch.arange(-reach, reach + 1, device=device) % m
        cube = whole[axis][:, axis][:, :, axis]
        self._cube = torch.view_as_real(cube).movedim(-1, 0)[None].contiguous()
        self._scale = self.padding / reach

    def at(self, points_xyz: Tensor) -> Tensor:
        """Return complex values at frequencies (..., 3) in px."""
        grid = (points_xyz * self._scale).reshape(1, 1, 1, -1, 3)
        found = functional.grid_sample(self._cube, grid, align_corners=True)[0, :, 0, 0]
        return torch.complex(found[0], found[1]).reshape(points_xyz.shape[:-1])


class MapReference:
    """A map to align particles to.

    Parameters
    ----------
    volume : (n, n, n) array
        Bright matter.
    points : FourierPoints
        The band.
    mask : (n, n, n) array, optional
        What of the map counts, 0 to 1.

    Raises
    ------
    InputError
        Another box than that of the points, or a constant.
    """

    def __init__(
        self, volume: ArrayLike, points: FourierPoints, mask: ArrayLike | None = None
    ) -> None:
        values = np.asarray(volume, dtype=np.float32)
        n = cubic_box_size(values, "reference")
        if n != points.n or not np.isfinite(values).all() or values.std() == 0:
            raise InputError(
                f"reference: box {n} px with a deviation of {values.std():.3g}, expected "
                f"{points.n} px and a structure; give the map at the particles' pixel size"
            )
        if mask is not None:
            region = np.asarray(mask, dtype=np.float32)
            if region.shape != values.shape or not region.sum() > 0:
                raise InputError(
                    f"mask: shape {region.shape}, expected {values.shape} and not all 0; make it "
                    "from the reference"
                )
            # About its mean within, or the edge of the mask would be the strongest feature.
            values = (values - np.average(values, weights=region)) * region
        self.points = points
        self._lookup = TransformLookup(values / values.std(), points.max_shell, points.device)

    def turned(self, rotations: Tensor, count: int, power: Tensor) -> TurnedMap:
        """Return the whitened map in the frames of particles; see `Reference`."""
        places = self.points.xyz[:count] @ rotations  # k^T A is (A^T k)^T
        values = self._lookup.at(places)
        return TurnedMap(values / power[self.points.shell[:count]].sqrt())

    def information(self, power: Tensor) -> Tensor:
        """Return the power by shell over that of the noise; see `Reference`."""
        upright = torch.eye(3, device=power.device)[None]
        values = self.turned(upright, len(self.points), power).values
        return self.points.shell_sums(values.real**2 + values.imag**2)[0]


class TurnedMap:
    """A map in some orientations, (..., R, P)."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._squared: Tensor | None = None

    def scores(self, cross: Tensor, seen: Observations) -> Tensor:
        """Return z-scores: correlations over the deviation that noise alone would give them."""
        if self._squared is None:
            self._squared = self.values.real**2 + self.values.imag**2
        energy = contract(self._squared, seen.weight)
        return cross * (2 / energy.clamp(min=1e-12)).sqrt()[..., None]


class ParticleReference:
    """One noisy particle as the reference of others.

    Parameters
    ----------
    volume : (n, n, n) array
        Bright matter.
    transfer : (n, n, n) array or None
        Its own wedge, centred.
    points : FourierPoints
        The band.
    snr : (k,) array
        Signal-to-noise ratio by shell, see `spectral_snr`.
    wedge_aware : bool
        False ignores the wedge of the reference and the ratio, for comparison: the published way.

    Raises
    ------
    InputError
        As `observe`.
    """

    def __init__(
        self,
        volume: ArrayLike,
        transfer: ArrayLike | None,
        points: FourierPoints,
        snr: ArrayLike,
        *,
        wedge_aware: bool = True,
        power: ArrayLike | None = None,
    ) -> None:
        values = np.asarray(volume, dtype=np.float32)
        n = cubic_box_size(values, "reference particle")
        wedge = np.ones((n, n, n)) if transfer is None else np.asarray(transfer)
        # Checks both, and finds the power by which it is whitened.
        seen = observe(points, values[None], wedge[None], power=power)
        self.points, self._wedge_aware = points, wedge_aware
        self._lookup = TransformLookup(_seen_volume(values, wedge), points.max_shell, points.device)
        self._power = seen.power
        self._weight = torch.as_tensor((wedge**2).astype(np.float32), device=points.device)
        ratio = np.resize(np.asarray(snr, dtype=np.float64), points.max_shell + 1)
        rho = torch.as_tensor(ratio / (1 + ratio), device=points.device).to(torch.float32)
        self._rho = rho[points.shell]
        # Components of a masked box are not independent: so many are, of each.
        self._independent = float(np.mean(sphere_of_box(n) ** 2))

    def turned(self, rotations: Tensor, count: int, power: Tensor) -> Turned:
        """Return the whitened particle and its wedge in the frames of others."""
        places = self.points.xyz[:count] @ rotations
        values = self._lookup.at(places) / self._power[self.points.shell[:count]].sqrt()
        if not self._wedge_aware:
            return TurnedMap(values)
        wedge = _look_up_weight(self._weight, places, self.points.n)
        return TurnedParticle(values, wedge, self._rho[:count], self._independent)

    def information(self, power: Tensor) -> Tensor:
        """Return the shares of signal by shell; see `Reference`."""
        return self.points.shell_sums(self._rho[None] ** 2)[0]


class TurnedParticle:
    """A particle in some orientations, with its wedge."""

    def __init__(self, values: Tensor, wedge: Tensor, rho: Tensor, independent: float) -> None:
        rest = 1 - rho**2
        self.values = values * (2 * rho / rest)
        squared = values.real**2 + values.imag**2
        own = rho**2 / rest
        self._of_weight = wedge * (-independent * torch.log(rest)) - own * squared
        self._of_power = -own * wedge

    def scores(self, cross: Tensor, seen: Observations) -> Tensor:
        """Return log-likelihood ratios."""
        squared = seen.data.real**2 + seen.data.imag**2
        fixed = contract(self._of_weight, seen.weight) + contract(self._of_power, squared)
        return cross + fixed[..., None]


def contract(of_reference: Tensor, of_particle: Tensor) -> Tensor:
    """Sum over the points: (R, P) or (b, R, P) with (b, P) to (b, R)."""
    if of_reference.ndim == 2:
        return of_particle @ of_reference.T
    return torch.matmul(of_reference, of_particle[..., None])[..., 0]


def as_real(values: Tensor) -> Tensor:
    """Put imaginary after real parts: (..., P) complex to (..., 2 P)."""
    return torch.cat([values.real, values.imag], dim=-1)


def _seen_volume(volume: NDArray[np.float32], wedge: NDArray) -> NDArray[np.float32]:
    region = sphere_of_box(volume.shape[0])
    values = (volume - np.average(volume, weights=region)) * region
    return apply_transfer(values, wedge)


def _look_up_weight(weight: Tensor, places: Tensor, n: int) -> Tensor:
    scale = 2.0 / (n - 1)
    grid = ((places + n // 2) * scale - 1).reshape(1, 1, 1, -1, 3)
    found = functional.grid_sample(
        weight[None, None], grid, padding_mode="border", align_corners=True
    )
    return found.reshape(places.shape[:-1])
