"""One training step: particles to latents, latents to densities, densities against particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed
from torch import Tensor, nn

from cryodl.core.training.batches import Batch
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.losses import (
    disentanglement,
    divergence,
    misfit,
    published_weight,
    roughness,
)
from cryodl.methods.opus_tomo.motions import hypotheses, moved

_KEEP = 0.7  # of a latent in the bank, as published
_SNR_KEEP = 0.99
_SNR_START = 0.001
_MOST_SNR = 0.5
_OTHER_DIRECTION = 0.7071  # cosine of 45 degrees
_SAMPLED = 1024
_NEIGHBOURS = 8


@dataclass(frozen=True)
class StepSettings:
    """Weights and options of a step.

    Attributes
    ----------
    beta_control, lamb : float
        Of the prior and of the disentanglement.
    evidence : bool
        The prior weighs as much as the noise asks for; else by the SNR, as published.
    pose_network : bool
        The pose corrector acts.
    sigma_rotation_degrees, sigma_shift_px : float
        Expected errors of poses; the shift in template voxels.
    hypotheses : 1 or 7
        Rotations that are tried.
    """

    beta_control: float = 1.0
    lamb: float = 0.5
    evidence: bool = True
    pose_network: bool = False
    sigma_rotation_degrees: float = 3.0
    sigma_shift_px: float = 1.5
    hypotheses: Literal[1, 7] = 1


class LatentStep(nn.Module):
    """Losses of a batch of `cryodl.methods.opus_tomo.data.ParticleSource`.

    Parameters
    ----------
    model : DensityModel
        What is trained.
    settings : StepSettings
        Weights.
    directions : (n, 3)
        From where each particle of the set is seen, in the frame of the reference.
    """

    def __init__(self, model: DensityModel, settings: StepSettings, directions: Tensor) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        head = model.network.pose_head
        if head is not None:
            head.requires_grad_(settings.pose_network)
        self.voxels = max(1.0, float((model.mask > 0.5).sum()))
        count, zdim = len(directions), model.network.size.zdim
        self.register_buffer("directions", directions.float())
        self.register_buffer("bank", torch.zeros(count, zdim))
        # 0 or 1; not every way of talking between processes knows truth values
        self.register_buffer("encoded", torch.zeros(count, dtype=torch.uint8))
        self.register_buffer("snr", torch.tensor(_SNR_START))

    directions: Tensor
    bank: Tensor
    encoded: Tensor
    snr: Tensor

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts."""
        model, settings = self.model, self.settings
        zdim = model.network.size.zdim
        data, weight = model.whitened(batch["data"], batch["weight"])
        mean, log_deviation, _ = model.network.encoder(model.encoder_input(data, weight))
        mean, log_deviation = mean.float(), log_deviation.float()
        latent = mean + torch.exp(log_deviation) * torch.randn_like(mean)
        density = model.decode(latent[:, :zdim])
        motion = self._motion(latent[:, zdim:])
        found, power = self._compared(density, motion, data, weight)
        whitening = self._shell_whitening(batch["energy"])
        snr = power.detach() / (found.detach() + whitening).clamp(min=1e-3)
        prior = divergence(mean, log_deviation).mean()
        beta = batch["beta"]
        losses = {
            "misfit": found.mean() / self.voxels,
            "divergence": prior,
            "snr": snr.mean(),
        }
        strength = 2.0 if settings.evidence else self.snr.clamp(max=_MOST_SNR)
        total = losses["misfit"] + settings.beta_control * strength * beta * prior / self.voxels
        rough = roughness(density, model.template_mask).mean()
        strength = self.snr.abs().sqrt().clamp(max=_MOST_SNR)
        total = total + strength * rough / self.voxels
        if motion is not None:
            total = total + self._unlikely(motion) / self.voxels
        if settings.lamb:
            losses["disentanglement"] = self._disentangled(mean[:, :zdim], batch["index"])
            factor = published_weight(settings.lamb, self.snr, beta)
            total = total + factor * losses["disentanglement"] / self.voxels
        if self.training:
            self._remember(batch["index"], mean[:, :zdim].detach(), losses["snr"])
        return {"loss": total, **losses}

    def _motion(self, latent: Tensor) -> Tensor | None:
        head = self.model.network.pose_head
        if head is None or not self.settings.pose_network:
            return None
        motion: Tensor = head(latent).float()
        # The density must not drift against the corrections.
        return motion - motion.mean(dim=0, keepdim=True).detach()

    def _compared(
        self, density: Tensor, motion: Tensor | None, data: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return misfit and power, the softest minimum over the hypotheses."""
        if motion is not None:
            density = moved(density, motion[:, :3], motion[:, 3:])
        if self.settings.hypotheses == 1:
            return misfit(self.model.seen(density), data, weight)
        pairs = []
        for vector in hypotheses(self.settings.hypotheses).to(density.device):
            turned = moved(
                density, vector.expand(len(density), 3), torch.zeros_like(density[:, 0, 0, :3])
            )
            pairs.append(misfit(self.model.seen(turned), data, weight))
        found, power = (torch.stack(p, dim=1) for p in zip(*pairs, strict=True))
        # The chance of each, as the misfit in units of the noise gives it.
        chance = torch.softmax(-0.5 * found.detach(), dim=1)
        return (chance * found).sum(dim=1), (chance * power).sum(dim=1)

    def _unlikely(self, motion: Tensor) -> Tensor:
        angles = torch.rad2deg(motion[:, :3]) / self.settings.sigma_rotation_degrees
        return (angles**2 + (motion[:, 3:] / self.settings.sigma_shift_px) ** 2).sum(1).mean()

    def _shell_whitening(self, energy: Tensor) -> Tensor:
        """Return |y|^2 (b,) in units of the noise, from its shells."""
        line = self.model.whitening[0, 0, :]  # along x: one value a shell
        return (energy * line).sum(dim=1)

    def _disentangled(self, mean: Tensor, index: Tensor) -> Tensor:
        known = torch.nonzero(self.encoded).flatten()
        if len(known) < 5 * 4:
            return mean.sum() * 0
        if len(known) > _SAMPLED:
            known = known[torch.randperm(len(known), device=known.device)[:_SAMPLED]]
        cosine = self.directions[index] @ self.directions[known].T
        elsewhere = cosine < _OTHER_DIRECTION
        neighbours = min(_NEIGHBOURS, len(known) // 20)
        uniform = torch.rand(len(mean), 4 * neighbours, device=mean.device)
        return disentanglement(mean, self.bank[known], elsewhere, uniform, neighbours)

    @torch.no_grad()
    def _remember(self, index: Tensor, mean: Tensor, snr: Tensor) -> None:
        """Take latents into the bank, those of all processes."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[tuple[Tensor, Tensor]] = [(index, mean)] * (
                torch.distributed.get_world_size()
            )
            torch.distributed.all_gather_object(parts, (index.cpu(), mean.cpu()))
            index = torch.cat([p[0] for p in parts]).to(mean.device)
            mean = torch.cat([p[1] for p in parts]).to(mean.device)
        keep = (_KEEP * self.encoded[index].float())[:, None]
        self.bank[index] = keep * self.bank[index] + (1 - keep) * mean
        self.encoded[index] = 1
        self.snr.mul_(_SNR_KEEP).add_((1 - _SNR_KEEP) * snr.detach())
