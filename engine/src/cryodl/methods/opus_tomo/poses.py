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
from cryodl.methods.opus_tomo.canonical import density_of, density_transform, half_weights
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.losses import misfit

_ITERATIONS = 3
_MOST_SIGMAS = 4.0  # a correction beyond this is not believed


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
    latents: NDArray[np.float32] | None,
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
    latents : (n, zdim) or None
        Which density each shows; None stands for the consensus.
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
        batch = {k: v.to(device) for k, v in store.stacked(np.array([index])).items()}
        data, weight = model.whitened(batch["data"], batch["weight"])
        with torch.no_grad():
            if latents is None:
                seen = density_transform(model.consensus[None], model.crop_px)
            else:
                own = torch.as_tensor(latents[index : index + 1], device=device)
                seen = model.seen(model.decode(own))
            before = np.zeros(6) if earlier is None else earlier[index]
            rows.append(fit.motion(seen, data, weight, before))
        tell((index + 1) / len(store))
    model.to("cpu")
    found = np.stack(rows)
    moving = found[:, 6] > 0
    if moving.any():
        found[moving, :6] -= found[moving, :6].mean(axis=0)
    return Corrections(found[:, :3], found[:, 3:6], found[:, 6])


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
        turned = rotate_spline(coefficients, matrix)
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
