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
_SMOOTHED = 5  # shells


class Reference(Protocol):
    """What particles are aligned to.

    A pose is scored from two sums over the points: of the particle times the turned reference
    (`cross`), and of the particle's weight times the power of the turned reference (`energy`).
    What depends on the frequency alone is put into data and weight once, by `matched`.
    """

    points: FourierPoints

    def matched(self, seen: Observations) -> Observations:
        """Return data and weight (b, P) that turned values are to be multiplied by."""

    def turned(self, rotations: Tensor, count: int, *, is_rough: bool = False) -> Tensor:
        """Return it at the first `count` points for rotations (..., 3, 3): (..., P) complex.

        Roughly: at the nearest frequencies that are stored, a tenth of the time.
        """

    def scores(self, cross: Tensor, energy: Tensor) -> Tensor:
        """Turn correlations (..., R, T) and energies (..., R) into scores (..., R, T)."""

    def information(self, power: Tensor) -> Tensor:
        """Return by shell how much it adds to the score of a good pose, (max_shell + 1,)."""


class TransformLookup:
    """The transform of a volume between the frequencies of its box, by look-up.

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
        # Both parts side by side: one read, and no second copy for the nearest value.
        self._flat = cube.reshape(-1).contiguous()
        self._edge, self._reach = len(axis), reach
        self._cube = torch.view_as_real(self._flat).view(*cube.shape, 2).permute(3, 0, 1, 2)[None]
        self._scale = self.padding / reach

    def turned(self, points_xyz: Tensor, rotations: Tensor, is_rough: bool) -> Tensor:
        """Return values at points (P, 3) px of rotations (..., 3, 3): (..., P)."""
        if is_rough:
            return self.near(points_xyz, rotations)
        return self.at(points_xyz @ rotations)  # k^T A is (A^T k)^T

    def near(self, points_xyz: Tensor, rotations: Tensor) -> Tensor:
        """Return the nearest stored values at points (P, 3) px of rotations (..., 3, 3): (..., P).

        All places in one product, each coordinate a plane of its own: the arithmetic of places
        takes longer than the look-up otherwise.
        """
        turns = rotations.reshape(-1, 3, 3)
        rows = turns.new_full((3, len(turns), 4), self._reach + 0.5)
        rows[..., :3] = turns.permute(2, 0, 1) * self.padding
        ones = torch.ones_like(points_xyz[:, :1])
        places = rows.flatten(0, 1) @ torch.cat([points_xyz, ones], dim=1).T
        # Whole numbers from here on: those of large boxes are beyond what a float can count.
        x, y, z = places.int().unflatten(0, (3, -1))
        flat = x.add_(y.add_(z, alpha=self._edge), alpha=self._edge).reshape(-1)
        found = self._flat.index_select(0, flat)
        return found.reshape(*rotations.shape[:-2], len(points_xyz))

    def at(self, points_xyz: Tensor) -> Tensor:
        """Return complex values at frequencies (..., 3) in px, by linear interpolation."""
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
        else:
            # Beyond the box there is nothing: a level of its own would make the box a cube.
            values = values - _level_of_faces(values)
        self.points = points
        self._lookup = TransformLookup(values / values.std(), points.max_shell, points.device)

    def matched(self, seen: Observations) -> Observations:
        """Whiten the map by way of the particle: data over the root of the power of the noise."""
        power = seen.power[self.points.shell]
        return Observations(seen.data / power.sqrt(), seen.weight / power, seen.power)

    def turned(self, rotations: Tensor, count: int, *, is_rough: bool = False) -> Tensor:
        """Return the map in the frames of particles; see `Reference`."""
        return self._lookup.turned(self.points.xyz[:count], rotations, is_rough)

    def scores(self, cross: Tensor, energy: Tensor) -> Tensor:
        """Return z-scores; see `z_scores`."""
        return z_scores(cross, energy)

    def information(self, power: Tensor) -> Tensor:
        """Return the power by shell over that of the noise; see `Reference`."""
        upright = torch.eye(3, device=power.device)[None]
        values = self.turned(upright, len(self.points))
        squared = (values.real**2 + values.imag**2) / power[self.points.shell]
        return self.points.shell_sums(squared)[0]


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
        ratio = _smoothed(np.resize(np.asarray(snr, dtype=np.float64), points.max_shell + 1))
        rho = torch.as_tensor(ratio / (1 + ratio), device=points.device).to(torch.float32)
        self._rho = rho[points.shell]

    def matched(self, seen: Observations) -> Observations:
        """Put the filters of the likelihood into the particle; see `Reference`.

        Two whitened particles of one object correlate by ``rho = snr / (1 + snr)``: one foretells
        ``rho`` times itself of the other, with a variance of ``1 - rho^2``.
        """
        power = self._power[self.points.shell]
        if not self._wedge_aware:
            return Observations(seen.data / power.sqrt(), seen.weight / power, seen.power)
        certainty = 1 / (1 - self._rho**2)
        data = seen.data * (2 * self._rho * certainty / power.sqrt())
        return Observations(data, seen.weight * (self._rho**2 * certainty / power), seen.power)

    def turned(self, rotations: Tensor, count: int, *, is_rough: bool = False) -> Tensor:
        """Return the particle in the frames of others; see `Reference`."""
        return self._lookup.turned(self.points.xyz[:count], rotations, is_rough)

    def scores(self, cross: Tensor, energy: Tensor) -> Tensor:
        """Return log-likelihood ratios: the other has this object, or nothing of it.

        Without awareness of the wedge, z-scores as of a map.
        """
        if not self._wedge_aware:
            return z_scores(cross, energy)
        return cross - energy[..., None]

    def information(self, power: Tensor) -> Tensor:
        """Return the shares of signal by shell; see `Reference`."""
        return self.points.shell_sums(self._rho[None] ** 2)[0]


def _smoothed(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the geometric mean over neighbouring shells: single ones are measured roughly."""
    padded = np.pad(np.log(np.maximum(ratio, 1e-6)), _SMOOTHED // 2, mode="edge")
    return np.exp(np.convolve(padded, np.full(_SMOOTHED, 1 / _SMOOTHED), "valid"))


def z_scores(cross: Tensor, energy: Tensor) -> Tensor:
    """Divide correlations (..., R, T) by the deviation that noise alone would give them."""
    return cross * (2 / energy.clamp(min=1e-12)).sqrt()[..., None]


def energies(turned: Tensor, weight: Tensor) -> Tensor:
    """Sum the power of turned values times weights: (b, R, P) complex with (b, P) to (b, R)."""
    doubled = weight.repeat_interleave(2, dim=-1)
    return flat_real(turned).square().mul_(doubled[..., None, :]).sum(dim=-1)


def flat_real(values: Tensor) -> Tensor:
    """See complex values (..., P) as real ones (..., 2 P), real and imaginary parts in turns."""
    return torch.view_as_real(values).flatten(-2)


def _level_of_faces(volume: NDArray[np.float32]) -> np.float32:
    faces = [np.take(volume, side, axis=axis).ravel() for axis in range(3) for side in (0, -1)]
    return np.float32(np.median(np.concatenate(faces)))


def _seen_volume(volume: NDArray[np.float32], wedge: NDArray) -> NDArray[np.float32]:
    region = sphere_of_box(volume.shape[0])
    values = (volume - np.average(volume, weights=region)) * region
    return apply_transfer(values, wedge)
