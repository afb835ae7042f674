"""The last pass: latents without noise, improved against their own particles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.methods.opus_tomo.canonical import half_weights
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.gauge import freed_of_views
from cryodl.methods.opus_tomo.losses import misfit

_BATCH = 16
_PROBES = 64
_PROBE_STEP = 0.25
_LONGEST_STEP = 1.0
_LEAST_PRIOR = 1e-3
_COLLAPSED = 0.01


@dataclass(frozen=True)
class Latents:
    """What is known of every particle.

    Attributes
    ----------
    mean, log_deviation : (n, zdim)
        Of the structural latent; the encoder's deviation.
    raw_deviation : (zdim,)
        Over the particles, of the means before normalisation.
    pose_mean, pose_log_deviation : (n, pose_dim)
        Of the latent of the pose corrector.
    scaled : (n, zdim)
        Means, turned and scaled so that distances are rms differences of densities, relative to
        the rms of the consensus; largest variation first. What the viewing direction foretells of
        them within groups is taken off, see `cryodl.methods.opus_tomo.gauge.freed_of_views`.
    misfit : (n,)
        ``|y - T V|^2 - |y|^2`` a voxel of the mask, in units of the noise.
    """

    mean: NDArray[np.float32]
    log_deviation: NDArray[np.float32]
    raw_deviation: NDArray[np.float32]
    pose_mean: NDArray[np.float32]
    pose_log_deviation: NDArray[np.float32]
    scaled: NDArray[np.float32]
    misfit: NDArray[np.float32]

    @property
    def spread(self) -> float:
        """Variation of the decoded densities, relative to the consensus; collapse below 0.01."""
        return float(np.sqrt((self.scaled.astype(np.float64) ** 2).sum(axis=1).mean()))

    @property
    def collapsed(self) -> bool:
        """Tell whether the decoder ignores the latents."""
        return self.spread < _COLLAPSED


def encode_all(
    model: DensityModel,
    store: ParticleStore,
    device: str = "cpu",
    *,
    refine_steps: int = 0,
    prior: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> Latents:
    """Encode every particle, always with the same result.

    Parameters
    ----------
    model : DensityModel
        Left on the host in evaluation mode.
    store : ParticleStore
        All particles.
    device : str
        Of torch.
    refine_steps : int
        Steps by which each latent is fitted to its own particle and the prior.
    prior : float
        Weight of the prior in that.
    progress : callable, optional
        Told the fraction that is done.
    """
    tell = progress or (lambda fraction: None)
    model.to(device).eval()
    zdim = model.network.size.zdim
    parts: list[list[NDArray[np.float32]]] = []
    for chosen in _batches(len(store)):
        batch = {k: v.to(device) for k, v in store.stacked(chosen).items()}
        data, weight = model.whitened(batch["data"], batch["weight"])
        with torch.no_grad():
            mean, deviation, raw = model.network.encoder(model.encoder_input(data, weight))
        structure = mean[:, :zdim]
        if refine_steps:
            structure = refined(model, structure, data, weight, refine_steps, prior)
        with torch.no_grad():
            found, _ = misfit(model.seen(model.decode(structure)), data, weight)
        rows = (structure, deviation, raw, mean[:, zdim:], found)
        parts.append([row.detach().cpu().numpy() for row in rows])
        tell((chosen[-1] + 1) / len(store))
    mean, deviation, raw, pose, found = (np.concatenate(p) for p in zip(*parts, strict=True))
    scaled = scaled_latents(model, mean)
    # What the view alone foretells of a latent says nothing of the particle.
    scaled = freed_of_views(scaled, store.views)[0].astype(np.float32)
    voxels = float((model.mask > 0.5).sum())
    model.to("cpu")
    return Latents(
        mean,
        deviation[:, :zdim],
        raw[:, :zdim].std(axis=0),
        pose,
        deviation[:, zdim:],
        scaled,
        found / voxels,
    )


@torch.no_grad()
def refined(
    model: DensityModel, start: Tensor, data: Tensor, weight: Tensor, steps: int, prior: float
) -> Tensor:
    """Fit latents (b, zdim) to their own particles, with the decoder as it is.

    Gauss-Newton on half the misfit and the prior; derivatives of the density by differences. A
    step that makes it worse is not taken.
    """

    def judged(latent: Tensor) -> tuple[Tensor, Tensor]:
        seen = model.seen(model.decode(latent))
        found, _ = misfit(seen, data, weight)
        return seen, 0.5 * found + 0.5 * prior * (latent**2).sum(dim=1)

    count = half_weights(model.crop_px, data.device)
    latent = start.clone()
    seen, value = judged(latent)
    for _ in range(steps):
        slopes = []
        for axis in torch.eye(latent.shape[1], device=latent.device):
            further = model.seen(model.decode(latent + _PROBE_STEP * axis))
            slopes.append(torch.view_as_real((further - seen) / _PROBE_STEP).flatten(1))
        jacobian = torch.stack(slopes, dim=1)
        weights = (weight * count)[..., None].expand(*weight.shape, 2).reshape(len(latent), 1, -1)
        rest = torch.view_as_real((data - weight * seen) * count).reshape(len(latent), -1, 1)
        curvature = (jacobian * weights) @ jacobian.transpose(1, 2)
        curvature = curvature + max(prior, _LEAST_PRIOR) * torch.eye(
            latent.shape[1], device=latent.device
        )
        slope = (jacobian @ rest)[..., 0] - prior * latent
        step = torch.linalg.solve(curvature, slope)
        step = step / torch.clamp(step.norm(dim=1, keepdim=True) / _LONGEST_STEP, min=1.0)
        seen_there, value_there = judged(latent + step)
        better = value_there < value
        latent = torch.where(better[:, None], latent + step, latent)
        seen = torch.where(better[:, None, None, None], seen_there, seen)
        value = torch.where(better, value_there, value)
    return latent


@torch.no_grad()
def scaled_latents(model: DensityModel, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn and scale latents so that distances between them are differences of densities.

    The metric is the mean over particles of ``J^T J``, J the derivative of the density by the
    latent, from central differences; it is relative to the mean square of the consensus.
    """
    device = model.mask.device
    zdim = mean.shape[1]
    chosen = np.linspace(0, len(mean) - 1, min(_PROBES, len(mean))).astype(int)
    metric = np.zeros((zdim, zdim))
    for row in chosen:
        centre = torch.as_tensor(mean[row], device=device)
        offsets = _PROBE_STEP * torch.eye(zdim, device=device)
        high, low = model.decode(centre + offsets), model.decode(centre - offsets)
        slopes = ((high - low) / (2 * _PROBE_STEP)).flatten(1).double()
        metric += (slopes @ slopes.T).cpu().numpy() / len(chosen)
    inside = model.template_mask > 0.5
    energy = float((model.consensus[model.mask > 0.5].double() ** 2).mean() * inside.sum())
    values, vectors = np.linalg.eigh(metric / energy)
    root = vectors * np.sqrt(np.maximum(values, 0))
    moved = (mean - mean.mean(axis=0)).astype(np.float64) @ root
    _, _, turn = np.linalg.svd(moved, full_matrices=False)
    return np.asarray(moved @ turn.T, dtype=np.float32)


def _batches(count: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, count, _BATCH):
        yield np.arange(start, min(start + _BATCH, count))
