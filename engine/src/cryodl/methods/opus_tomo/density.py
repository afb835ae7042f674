"""Densities of latents: the networks with the consensus, the mask and the noise they belong to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryodl.core.training.weights import load_weights, read_metadata, save_weights
from cryodl.errors import CheckpointError
from cryodl.methods.opus_tomo.canonical import density_of, density_transform, half_shells
from cryodl.methods.opus_tomo.model import LatentNetwork, NetworkSize

_LEAST_ENVELOPE = 0.1


@dataclass(frozen=True)
class Scene:
    """What the particles have in common, on the working grid of edge c.

    Attributes
    ----------
    consensus : (c, c, c)
        Average of all particles.
    mask : (c, c, c)
        0 to 1.
    noise : (c // 2 + 1,)
        Variance of the noise of a voxel, by shell: data are divided by it.
    """

    consensus: NDArray[np.float32]
    mask: NDArray[np.float32]
    noise: NDArray[np.float32]


class DensityModel(nn.Module):
    """Encoder and decoder of particles in the frame of the reference.

    Parameters
    ----------
    network : LatentNetwork
        On the host.
    crop_px : int
        c, the edge of the working grid.
    residual : bool
        Encode what is left after the consensus, and decode what is added to it.
    """

    def __init__(self, network: LatentNetwork, crop_px: int, residual: bool) -> None:
        super().__init__()
        self.network = network
        self.crop_px, self.residual = crop_px, residual
        t = network.size.template_px
        for name, shape in (
            ("consensus", (crop_px,) * 3),
            ("mask", (crop_px,) * 3),
            ("base", (t,) * 3),
            ("template_mask", (t,) * 3),
            ("whitening", (crop_px, crop_px, crop_px // 2 + 1)),
            ("envelope", (crop_px, crop_px, crop_px // 2 + 1)),
            ("input_scale", ()),
            ("density_scale", ()),
        ):
            self.register_buffer(name, torch.ones(shape))

    consensus: Tensor
    mask: Tensor
    base: Tensor
    template_mask: Tensor
    whitening: Tensor
    envelope: Tensor
    input_scale: Tensor
    density_scale: Tensor

    @torch.no_grad()
    def set_scene(self, scene: Scene, bfactor: float, pixel_size_angstrom: float) -> None:
        """Take over consensus, mask and noise; `bfactor` is that of the published option."""
        c, t = self.crop_px, self.network.size.template_px
        shells = half_shells(c)
        self.whitening.copy_(torch.as_tensor(1 / scene.noise[shells]))
        squared = (shells / (c * pixel_size_angstrom)) ** 2
        envelope = np.exp(-bfactor * np.pi**2 * squared).clip(_LEAST_ENVELOPE)
        self.envelope.copy_(torch.as_tensor(envelope, dtype=torch.float32))
        self.mask.copy_(torch.as_tensor(scene.mask))
        self.consensus.copy_(torch.as_tensor(scene.consensus) * self.mask)
        self.template_mask.copy_(_resampled(self.mask, t).clamp(0, 1))
        self.density_scale.fill_(float(self.consensus[self.mask > 0.5].std()))
        sharp = density_of(density_transform(self.consensus[None], c) / self.envelope, c)[0]
        self.base.copy_(_resampled(sharp, t) if self.residual else torch.zeros(t, t, t))

    def whitened(self, data: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return N and D (b, c, c, c // 2 + 1) in units of the noise."""
        return data * self.whitening, weight * self.whitening

    def encoder_input(self, data: Tensor, weight: Tensor) -> Tensor:
        """Return what the encoder sees of whitened N and D, (b, c, c, c).

        Noise of any spectrum is white in it. N and D are over the power of the noise, so that noise
        with more power at low frequencies would have less there, and hide what changes.
        """
        if self.residual:
            data = data - weight * density_transform(self.consensus[None], self.crop_px)
        white = data / self.whitening.sqrt()
        return density_of(white, self.crop_px) * self.mask / self.input_scale

    def decode(self, latents: Tensor) -> Tensor:
        """Return densities (b, t, t, t) of structural latents (b, zdim)."""
        added = self.network.decoder(latents) * self.density_scale
        found: Tensor = (self.base + added) * self.template_mask
        return found

    def seen(self, density: Tensor) -> Tensor:
        """Return transforms of densities on the working grid, as blurred as the data."""
        return density_transform(density.float(), self.crop_px) * self.envelope


def _resampled(volume: Tensor, edge: int) -> Tensor:
    return density_of(density_transform(volume[None], edge), edge)[0]


def save_model(path: Path, model: DensityModel, description: dict[str, Any]) -> None:
    """Write a model, with everything a reader needs to rebuild and use it."""
    save_weights(
        path,
        model,
        {
            **description,
            "size": asdict(model.network.size),
            "crop_px": model.crop_px,
            "residual": model.residual,
        },
    )


def load_model(path: Path) -> tuple[DensityModel, dict[str, Any]]:
    """Read a model and what was saved with it, in evaluation mode.

    Raises
    ------
    CheckpointError
        Not a model of this method.
    """
    description = read_metadata(path)
    if not {"size", "crop_px", "residual"} <= description.keys():
        raise CheckpointError(
            f"{path}: found a model of another method, expected one of opus-tomo train; give its "
            "run folder"
        )
    network = LatentNetwork(NetworkSize(**description["size"]))
    model = DensityModel(network, description["crop_px"], description["residual"])
    load_weights(path, model)
    return model.eval(), description
