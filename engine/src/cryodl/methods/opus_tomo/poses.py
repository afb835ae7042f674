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
from cryodl.methods.opus_tomo.consensus import Sums
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.losses import misfit

Goal = Sums | NDArray[np.float32]
_ITERATIONS = 3
_MOST_SIGMAS = 4.0  # a correction beyond this is not believed
_ROOM_PX = 2.0  # around the mask: a density that is blurred reaches beyond it
_SHARES = ((0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.35, 0.5), (0.35, 1.0), (0.7, 1.0), (1.0, 1.0))
_JUDGED = 48  # particles by which corrections are judged
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
class Corrections:
    """Motions of the densities: rotation vectors in radians and shifts in working voxels, (n, 3).

    `gained` is by how much the misfit of each fell, in units of the noise.
    """

    vectors: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    gained: NDArray[np.float64]


def fit_poses(
    model: DensityModel,
    store: ParticleStore,
    goal: Goal,
    prior: PosePrior,
    device: str = "cpu",
    *,
    earlier: NDArray[np.float64] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Corrections:
    """Fit a small motion of each particle's density.

    Parameters
    ----------
    model, store
        A trained model and all particles.
    goal : Sums or (n, zdim)
        Each is fitted to the average of the others, or to the density of a latent.
    prior : PosePrior
        Expected errors.
    device : str
        Of torch.
    earlier : (n, 6), optional
        Rotation vectors and shifts by which the poses were corrected before: what is expected are
        the errors of the poses that were given, not of those that are now believed.
    progress : callable, optional
        Told the fraction that is done.

    Returns
    -------
    Corrections
        Their mean is taken off, for a turn that all share is none of the particles' errors. Zero
        where a correction did not improve the fit or was too large to be believed.
    """
    tell = progress or (lambda fraction: None)
    model.to(device).eval()
    fit = _Fit(model, prior, torch.device(device))
    rows = []
    for index in range(len(store)):
        seen, data, weight = fit.particle(store, goal, index)
        before = np.zeros(6) if earlier is None else earlier[index]
        rows.append(fit.motion(seen, data, weight, before))
        tell((index + 1) / len(store))
    model.to("cpu")
    found = np.stack(rows)
    moving = found[:, 6] > 0
    if moving.any():
        found[moving, :6] -= found[moving, :6].mean(axis=0)
    return Corrections(found[:, :3], found[:, 3:6], found[:, 6])


@dataclass(frozen=True)
class Worth:
    """How much of corrections is to be believed.

    Attributes
    ----------
    rotation, shift : float
        Shares from 0 to 1 of the corrections that fit best where they were not fitted.
    gain, error : float
        By how much the misfit falls there, a particle, in units of the noise; its standard error.
    """

    rotation: float
    shift: float
    gain: float
    error: float


def judge_fits(
    model: DensityModel,
    store: ParticleStore,
    goal: Goal,
    prior: PosePrior,
    device: str = "cpu",
    *,
    earlier: NDArray[np.float64] | None = None,
) -> Worth:
    """Judge corrections by frequencies to which they were not fitted.

    Some particles are fitted in half of the blocks of Fourier space, as on a chess board, and
    judged in the middles of the other half, with several shares of the correction. The arguments
    are those of `fit_poses`.
    """
    model.to(device).eval()
    fit = _Fit(model, prior, torch.device(device))
    fitted, judged = (part.to(device) for part in _chess_board(model.crop_px))
    gains = []
    for index in np.unique(np.linspace(0, len(store) - 1, _JUDGED).astype(int)):
        seen, data, weight = fit.particle(store, goal, int(index))
        before = np.zeros(6) if earlier is None else earlier[index]
        motion = fit.motion(seen, data * fitted, weight * fitted, before)[:6]
        shares = [np.repeat(pair, 3) * motion for pair in _SHARES]
        gains.append(fit.gains(seen, data * judged, weight * judged, shares))
    model.to("cpu")
    found = np.array(gains)
    best = int(found.mean(axis=0).argmax())
    rotation, shift = _SHARES[best]
    error = float(found[:, best].std() / np.sqrt(len(found)))
    return Worth(rotation, shift, float(found[:, best].mean()), error)


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
        self.model, self.prior = model, prior
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
        self.count = half_weights(c, device)
        self.mask = model.mask.cpu().numpy()
        radius = self.points.norm(dim=0)
        self.inside = radius <= float(radius[model.mask > 0.05].max()) + _ROOM_PX

    @torch.no_grad()
    def particle(
        self, store: ParticleStore, goal: Goal, index: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the transform of what a particle is to show, and its whitened N and D."""
        model, device = self.model, self.points.device
        batch = {k: v.to(device) for k, v in store.stacked(np.array([index])).items()}
        data, weight = model.whitened(batch["data"], batch["weight"])
        if isinstance(goal, Sums):
            others = goal.without(store.canonical(index), self.mask)
            return torch.as_tensor(others, device=device)[None], data, weight
        own = torch.as_tensor(goal[index : index + 1], device=device)
        return model.seen(model.decode(own)), data, weight

    @torch.no_grad()
    def gains(
        self, seen: Tensor, data: Tensor, weight: Tensor, motions: list[NDArray[np.float64]]
    ) -> list[float]:
        """Return by how much the misfit falls when a density moves, for each motion."""
        from scipy.spatial.transform import Rotation

        start = density_of(seen, self.model.crop_px)[0]
        coefficients = spline_coefficients(start)
        values = []
        for motion in (np.zeros(6), *motions):
            matrix = Rotation.from_rotvec(motion[:3]).as_matrix()
            density = self._moved(start, coefficients, matrix, motion[3:])
            transform = torch.fft.rfftn(density)[None]
            values.append(float(misfit(transform, data, weight)[0][0]))
        return [values[0] - value for value in values[1:]]

    @torch.no_grad()
    def motion(
        self, seen: Tensor, data: Tensor, weight: Tensor, before: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return rotation vector, shift and by how much the misfit fell, (7,)."""
        from scipy.spatial.transform import Rotation

        start = density_of(seen, self.model.crop_px)[0]
        coefficients = spline_coefficients(start)
        turn, shift = Rotation.identity(), np.zeros(3)
        best, first = np.zeros(6), np.inf
        lowest = np.inf
        for iteration in range(_ITERATIONS + 1):
            now = self._moved(start, coefficients, turn.as_matrix(), shift)
            transform = torch.fft.rfftn(now)
            parameters = np.concatenate([turn.as_rotvec(), shift])
            unlikely = float((self.prior.precision * (parameters + before) ** 2).sum())
            value = float(misfit(transform[None], data, weight)[0][0]) + unlikely
            if iteration == 0:
                first = value
            if value < lowest:
                lowest, best = value, parameters
            if iteration == _ITERATIONS:
                break
            step = self._step(now, transform, data[0], weight[0], parameters + before)
            small = Rotation.from_rotvec(step[:3])
            turn, shift = small * turn, small.apply(shift) + step[3:]
        sigmas = np.sqrt(self.prior.precision) * np.abs(best + before)
        if not (sigmas < _MOST_SIGMAS).all():
            return np.zeros(7)
        return np.append(best, first - lowest)

    def _moved(
        self, start: Tensor, coefficients: Tensor, matrix: NDArray[np.float64], shift: NDArray
    ) -> Tensor:
        if np.allclose(matrix, np.eye(3), atol=1e-9) and not shift.any():
            return start
        turned = rotate_spline(coefficients, matrix, self.inside)
        x, y, z = (float(s) for s in shift)
        phase = -(self.waves[0] * x + self.waves[1] * y + self.waves[2] * z)
        moved = torch.fft.rfftn(turned) * torch.polar(torch.ones_like(phase), phase)
        return density_of(moved[None], self.model.crop_px)[0]

    def _step(
        self,
        now: Tensor,
        transform: Tensor,
        data: Tensor,
        weight: Tensor,
        parameters: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        c = self.model.crop_px
        slopes = density_of(1j * self.waves * transform, c)  # by x, y, z
        x, y, z = self.points
        dx, dy, dz = slopes
        # A turn by w moves what is at x to x + w x x.
        turns = torch.stack([z * dy - y * dz, x * dz - z * dx, y * dx - x * dy])
        changes = torch.fft.rfftn(torch.cat([turns, -slopes]), dim=(-3, -2, -1))
        rest = data - weight * transform
        flat = torch.view_as_real(changes).flatten(1)
        weights = (weight * self.count)[..., None].expand(*weight.shape, 2).reshape(-1)
        rests = torch.view_as_real(rest * self.count).flatten()
        curvature = ((flat * weights) @ flat.T).double().cpu().numpy()
        slope = (flat @ rests).double().cpu().numpy()
        precision = self.prior.precision
        step: NDArray[np.float64] = np.linalg.solve(
            curvature + np.diag(precision), slope - precision * parameters
        )
        return step
