"""The last pass: latents without noise, improved against their own particles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.losses import misfit

_BATCH = 16
_PROBES = 64
_PROBE_STEP = 0.25
_REFINE_RATE = 0.1
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
        the rms of the consensus; largest variation first.
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
        Steps by which each latent descends the misfit of its own particle and the prior.
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


def refined(
    model: DensityModel, start: Tensor, data: Tensor, weight: Tensor, steps: int, prior: float
) -> Tensor:
    """Let latents (b, zdim) descend the misfit of their particles and the prior.

    The decoder is fixed, and so each latent depends on its own particle only. A latent that ends
    worse than it began is left as it was.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    latent = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], lr=_REFINE_RATE)

    def objective() -> Tensor:
        found, _ = misfit(model.seen(model.decode(latent)), data, weight)
        return 0.5 * found + prior * 0.5 * (latent**2).sum(dim=1)

    best = torch.full((len(start),), torch.inf, device=start.device)
    kept = start.detach().clone()
    for step in range(steps + 1):
        if step == steps:
            with torch.no_grad():
                value = objective()
        else:
            value = objective()
        better = value.detach() < best
        kept = torch.where(better[:, None], latent.detach(), kept)
        best = torch.where(better, value.detach(), best)
        if step < steps:
            optimizer.zero_grad()
            value.sum().backward()
            optimizer.step()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return kept


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
