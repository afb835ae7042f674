"""Correct poses by fitting the decoded density of each particle to it, rotation and shift at once.

Gauss-Newton on the misfit in units of the noise plus a normal prior of the correction. The wedge
and CTF stay where they were measured: only the density moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.core.geometry.resample import rotate_spline, spline_coefficients
from cryodl.methods.opus_tomo.canonical import density_of, half_weights
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.losses import misfit

Goal = Callable[[int], tuple[NDArray[np.complex64], NDArray[np.float64]]]
_ITERATIONS = 3
_ROOM_PX = 2.0  # around the mask: a density that is blurred reaches beyond it
_BLOCK = 6  # frequencies; noise of a particle in half the box spreads over two


@dataclass(frozen=True)
class PosePrior:
    """What errors are expected: of the angle in degrees, and of each shift in working voxels."""

    rotation_degrees: float
    shift_px: float

    @property
    def precision(self) -> NDArray[np.float64]:
        """Return one over the variance of each of the six parameters."""
        angle = np.radians(self.rotation_degrees) / np.sqrt(3)  # about each axis
        return np.repeat([angle**-2.0, self.shift_px**-2.0], 3)


@dataclass(frozen=True)
class Fits:
    """What particles say of the errors of the poses that were given.

    About the best fit the misfit of an error x (rotation vector and shift) is ``x C x - 2 s x``
    with curvature C and slope s, of three sets of frequencies: all, half of them, and the middles
    of the blocks of the other half.

    Attributes
    ----------
    best : (n, 6)
        The most likely, with the prior.
    curvature : (n, 3, 6, 6)
        In units of the noise.
    slope : (n, 3, 6)
        About no error at all.
    amounts : (n, k)
        Of what may be added to the density, fitted along: a pose that is fitted to a state in
        which the particle is not, or a state to a wrong pose, would stay wrong. Curvature and
        slope hold for the pose whatever they are.
    """

    best: NDArray[np.float64]
    curvature: NDArray[np.float64]
    slope: NDArray[np.float64]
    amounts: NDArray[np.float64]


def fit_poses(
    model: DensityModel,
    store: ParticleStore,
    goal: Goal,
    prior: PosePrior,
    device: str = "cpu",
    *,
    earlier: NDArray[np.float64] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Fits:
    """Fit a small motion of each particle's density.

    Parameters
    ----------
    model, store
        For mask and noise, and all particles in the poses that are now believed.
    goal : callable
        Gives what a particle is fitted to, by its index: transforms (1 + k, c, c, c // 2 + 1) of
        a density and of what may be added to it, and about how much of each is, (k,).
    prior : PosePrior
        Expected errors.
    device : str
        Of torch.
    earlier : (n, 6), optional
        Rotation vectors and shifts by which the poses were corrected before: what is expected are
        the errors of the poses that were given, not of those that are now believed.
    progress : callable, optional
        Told the fraction that is done.
    """
    tell = progress or (lambda fraction: None)
    model.to(device).eval()
    fit = _Fit(model, prior, torch.device(device))
    rows = []
    for index in range(len(store)):
        batch = {k: v.to(device) for k, v in store.stacked(np.array([index])).items()}
        data, weight = model.whitened(batch["data"], batch["weight"])
        parts, known = goal(index)
        before = np.zeros(6) if earlier is None else earlier[index]
        rows.append(fit.motion(torch.as_tensor(parts, device=device), known, data, weight, before))
        tell((index + 1) / len(store))
    model.to("cpu")
    return Fits(*(np.stack(part) for part in zip(*rows, strict=True)))


def _chess_board(edge: int) -> tuple[Tensor, Tensor]:
    """Return which frequencies to fit, and which to judge by; never neighbours of each other."""
    axis = torch.fft.fftfreq(edge, 1 / edge)
    z, y, x = torch.meshgrid(axis, axis, axis[: edge // 2 + 1].abs(), indexing="ij")
    # A frequency and its opposite are one number, and so blocks are counted from the origin.
    blocks = [torch.div(k.abs() + _BLOCK / 2, _BLOCK, rounding_mode="floor") for k in (x, y, z)]
    block = torch.stack(blocks).sum(dim=0)
    place = [torch.remainder(k.abs() + _BLOCK / 2, _BLOCK) for k in (x, y, z)]
    inner = torch.stack([(p >= 1) & (p < _BLOCK - 1) for p in place]).all(dim=0)
    even = block % 2 == 0
    return even, ~even & inner


class _Fit:
    """The fit of one particle after another, with what they share."""

    def __init__(self, model: DensityModel, prior: PosePrior, device: torch.device) -> None:
        self.prior, self.edge = prior, model.crop_px
        c = model.crop_px
        axis = torch.arange(c, device=device, dtype=torch.float32) - c // 2
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        self.points = torch.stack([x, y, z])
        k = torch.fft.fftfreq(c, device=device) * 2 * torch.pi
        self.waves = torch.stack(
            [
                k[: c // 2 + 1].abs().expand(c, c, c // 2 + 1),
                k[None, :, None].expand(c, c, c // 2 + 1),
                k[:, None, None].expand(c, c, c // 2 + 1),
            ]
        )
        count = half_weights(c, device).expand(c, c, c // 2 + 1)
        self.parts = [count, *(count * part.to(device) for part in _chess_board(c))]
        radius = self.points.norm(dim=0)
        self.inside = radius <= float(radius[model.mask > 0.05].max()) + _ROOM_PX

    @torch.no_grad()
    def motion(
        self,
        parts: Tensor,
        known: NDArray[np.float64],
        data: Tensor,
        weight: Tensor,
        before: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return error of the given pose, curvatures, slopes and amounts, as `Fits` has them."""
        from scipy.spatial.transform import Rotation

        amounts = known.copy()
        precision = np.concatenate([self.prior.precision, np.ones(len(known))])
        turn, shift = Rotation.identity(), np.zeros(3)
        best, terms, lowest = np.concatenate([before, amounts]), None, np.inf
        for iteration in range(_ITERATIONS + 1):
            weights = torch.as_tensor(amounts, dtype=torch.float32, device=parts.device)
            start = density_of(parts[0] + torch.tensordot(weights + 0j, parts[1:], 1), self.edge)
            transform = torch.fft.rfftn(self._moved(start, turn.as_matrix(), shift))
            error = np.concatenate([turn.as_rotvec() + before[:3], shift + before[3:], amounts])
            value = float(misfit(transform[None], data, weight)[0][0])
            value += float((precision * error**2).sum())
            last = iteration == _ITERATIONS
            if value < lowest or not last:
                changes = torch.cat([self._changes(transform), self._shifted(parts[1:], shift)])
                found = self._terms(changes, transform, data[0], weight[0])
            if value < lowest:
                lowest, best, terms = value, error, found
            if last:
                break
            step = np.linalg.solve(
                found[0][0] + np.diag(precision), found[1][0] - precision * error
            )
            small = Rotation.from_rotvec(step[:3])
            turn, shift = small * turn, small.apply(shift) + step[3:6]
            amounts = amounts + step[6:]
        if terms is None:
            return before, np.zeros((3, 6, 6)), np.zeros((3, 6)), known
        curvature, slope = terms
        return (best[:6], *_any_amounts(curvature, slope + curvature @ best), best[6:])

    def _changes(self, transform: Tensor) -> Tensor:
        """Return by how much a density changes when it turns and moves, transforms (6, ...)."""
        slopes = density_of(1j * self.waves * transform, self.edge)  # by x, y, z
        x, y, z = self.points
        dx, dy, dz = slopes
        # A turn by w moves what is at x to x + w x x.
        turns = torch.stack([z * dy - y * dz, x * dz - z * dx, y * dx - x * dy])
        found: Tensor = torch.fft.rfftn(torch.cat([turns, -slopes]), dim=(-3, -2, -1))
        return found

    def _shifted(self, transforms: Tensor, shift: NDArray[np.float64]) -> Tensor:
        x, y, z = (float(s) for s in shift)
        phase = -(self.waves[0] * x + self.waves[1] * y + self.waves[2] * z)
        return transforms * torch.polar(torch.ones_like(phase), phase)

    def _moved(self, start: Tensor, matrix: NDArray[np.float64], shift: NDArray) -> Tensor:
        if np.allclose(matrix, np.eye(3), atol=1e-9) and not shift.any():
            return start
        turned = rotate_spline(spline_coefficients(start), matrix, self.inside)
        return density_of(self._shifted(torch.fft.rfftn(turned)[None], shift), self.edge)[0]

    def _terms(
        self, changes: Tensor, transform: Tensor, data: Tensor, weight: Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return curvature and slope of the misfit about a density, for each set of frequencies."""
        flat = torch.view_as_real(changes).flatten(1)
        rest = data - weight * transform
        curvatures, slopes = [], []
        for part in self.parts:
            weights = (weight * part)[..., None].expand(*weight.shape, 2).reshape(-1)
            rests = torch.view_as_real(rest * part).flatten()
            curvatures.append(((flat * weights) @ flat.T).double().cpu().numpy())
            slopes.append((flat @ rests).double().cpu().numpy())
        return np.stack(curvatures), np.stack(slopes)


def _any_amounts(
    curvature: NDArray[np.float64], slope: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return curvature and slope of the pose alone, whatever the amounts, which are normal."""
    pose, cross = curvature[:, :6, :6], curvature[:, :6, 6:]
    inner = curvature[:, 6:, 6:] + np.eye(curvature.shape[-1] - 6)
    lever = np.swapaxes(np.linalg.solve(inner, np.swapaxes(cross, 1, 2)), 1, 2)
    moved = np.einsum("kij,kj->ki", lever, slope[:, 6:])
    return pose - lever @ np.swapaxes(cross, 1, 2), slope[:, :6] - moved
