"""What is looked at after every epoch: held-out particles, and whether the latents still matter."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor, nn

from cryodl.core.io.mrc import write_volume
from cryodl.errors import ResourceError
from cryodl.methods.opus_tomo.canonical import density_of
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel, save_model
from cryodl.methods.opus_tomo.losses import misfit
from cryodl.methods.opus_tomo.step import LatentStep
from cryodl.methods.opus_tomo.trained import kept_model

_LOOKED_AT = 48
_BATCH = 16


@dataclass(frozen=True)
class Monitor:
    """Called after an epoch; returns ``spread`` and, with held-out particles, their ``held_out``.

    Attributes
    ----------
    store : ParticleStore
        All particles.
    held, members : (n,) int
        Particles that are held out, and those that are trained on.
    folder : Path
        Where the picture and the density to look at go.
    prefix : str
        Their name.
    kept : tuple of int
        Epochs after which the model is kept.
    first_epoch : int
        Of this round.
    description : dict
        What is saved with the model.
    """

    store: ParticleStore
    held: NDArray[np.intp]
    members: NDArray[np.intp]
    folder: Path
    prefix: str
    kept: tuple[int, ...] = ()
    first_epoch: int = 0
    description: dict[str, Any] = field(default_factory=dict)

    def __call__(self, step: nn.Module, epoch: int) -> dict[str, float]:
        """Return metrics; `spread` is that of the decoded densities relative to the consensus."""
        if not isinstance(step, LatentStep):
            return {}
        held = self.held[:: max(1, len(self.held) // _LOOKED_AT)]
        members = self.members[:: max(1, len(self.members) // _LOOKED_AT)]
        found = {"spread": self._spread(step.model, members)}
        if len(held):
            values = torch.cat([v for v, _ in self._decoded(step.model, held)])
            found["held_out"] = float(values.mean()) / step.voxels
        if not _is_follower():
            with contextlib.suppress(ResourceError):  # a full disk is told of by the checkpoint
                self._show(step.model, members[:2])
            if self.first_epoch + epoch in self.kept:
                path = self.folder / kept_model(self.first_epoch + epoch)
                path.parent.mkdir(exist_ok=True)
                save_model(path, step.model, self.description)
        return found

    def _spread(self, model: DensityModel, chosen: NDArray[np.intp]) -> float:
        densities = torch.cat([density for _, density in self._decoded(model, chosen)])
        inside = model.template_mask > 0.5
        values = densities[:, inside]
        scale = float(model.consensus[model.mask > 0.5].pow(2).mean().sqrt())
        return float((values - values.mean(dim=0)).pow(2).mean().sqrt()) / scale

    def _decoded(
        self, model: DensityModel, chosen: NDArray[np.intp]
    ) -> list[tuple[Tensor, Tensor]]:
        device, zdim = model.mask.device, model.network.size.zdim
        rows = []
        for start in range(0, len(chosen), _BATCH):
            batch = self.store.stacked(chosen[start : start + _BATCH])
            data, weight = model.whitened(batch["data"].to(device), batch["weight"].to(device))
            mean, _, _ = model.network.encoder(model.encoder_input(data, weight))
            density = model.decode(mean[:, :zdim].float())
            rows.append((misfit(model.seen(density), data, weight)[0].cpu(), density.cpu()))
        return rows

    def _show(self, model: DensityModel, chosen: NDArray[np.intp]) -> None:
        """Write the density of one particle, and sums along z of what two particles show."""
        from cryodl.methods.opus_tomo.figures import comparison

        c, device = model.crop_px, model.mask.device
        batch = self.store.stacked(chosen)
        data, weight = model.whitened(batch["data"].to(device), batch["weight"].to(device))
        given = model.encoder_input(data, weight)
        mean, _, _ = model.network.encoder(given)
        density = model.decode(mean[:, : model.network.size.zdim].float())
        shown = density_of(weight * model.seen(density), c)
        particle = density_of(data, c) * model.mask
        sums = [[float_sum(v[i]) for v in (given, shown, particle)] for i in range(len(chosen))]
        comparison(sums).savefig(self.folder / f"{self.prefix}.png", format="png", dpi=80)
        pixel = self.store.sampling.working_pixel_angstrom * c / density.shape[-1]
        write_volume(
            self.folder / f"{self.prefix}.mrc",
            density[0].cpu().numpy(),
            pixel_size_angstrom=pixel,
            label="cryodl opus-tomo train, intermediate",
        )


def float_sum(volume: Tensor) -> NDArray[np.float32]:
    """Return the sum of a volume along z, on the host."""
    found: NDArray[np.float32] = volume.float().sum(dim=0).cpu().numpy()
    return found


def _is_follower() -> bool:
    distributed = torch.distributed
    return (
        distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0
    )
