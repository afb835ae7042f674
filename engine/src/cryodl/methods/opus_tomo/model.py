"""The networks: a residual of a particle to a latent, and a latent to a density.

`PublishedEncoder` and `PublishedDecoder` have the layers of the published program when `width`
is 1 (28,192,752 parameters at 4 latent dimensions, and 33,207,287 with the pose corrector); the
compact pair learns small boxes on a processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cryodl.core.networks.strided import Doubling, Halving

_SLOPE = 0.2
_ENCODER_GRID = 12  # where the published encoder makes all boxes equal
_DECODER_GRID = 16
_COMPACT_GRID = 32
_LEAST_LOG_DEVIATION, _MOST_LOG_DEVIATION = -8.0, 1.0
_FIRST_LOG_DEVIATION = -3.0  # little latent noise at the start: a guard against collapse


@dataclass(frozen=True)
class NetworkSize:
    """What decides the shapes of the networks.

    Attributes
    ----------
    kind : "published" or "compact"
        Which pair.
    width : float
        Factor on the channels.
    zdim : int
        Dimensions of the structural latent.
    pose_dim : int
        Dimensions of the latent that drives the pose correction.
    template_px : int
        Edge of the decoded density, a multiple of 16 (published) or 8 (compact).
    normalise : bool
        Batch normalisation of the latent means, without which a VAE ignores them.
    """

    kind: Literal["published", "compact"] = "compact"
    width: float = 1.0
    zdim: int = 8
    pose_dim: int = 4
    template_px: int = 32
    normalise: bool = True

    def channels(self, published: int) -> int:
        """Return the number of channels in place of a published one."""
        return max(1, round(published * self.width))


def _down(first: int, second: int) -> nn.Sequential:
    return nn.Sequential(Halving(first, second), nn.LeakyReLU(_SLOPE))


def _up(first: int, second: int) -> nn.Sequential:
    return nn.Sequential(Doubling(first, second), nn.LeakyReLU(_SLOPE))


def _up_narrow(first: int, second: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose3d(first, second, 2, 2), nn.LeakyReLU(_SLOPE))


def _resized(values: Tensor, edge: int) -> Tensor:
    if values.shape[-1] == edge:
        return values
    return functional.interpolate(values, (edge,) * 3, mode="trilinear", align_corners=False)


class _LatentHead(nn.Module):
    """Two linear layers: means, normalised over the batch without weights, and log deviations."""

    def __init__(self, features: int, size: NetworkSize) -> None:
        super().__init__()
        count = size.zdim + size.pose_dim
        self.mean = nn.Linear(features, count)
        self.log_deviation = nn.Linear(features, count)
        self.norm = nn.BatchNorm1d(count, affine=False) if size.normalise else nn.Identity()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = self.mean(features)
        # One large deviation would swamp the loss. Beyond the bounds the gradient goes on, or what
        # once shot over them would stay there.
        free = self.log_deviation(features)
        bounded = free + (free.clamp(_LEAST_LOG_DEVIATION, _MOST_LOG_DEVIATION) - free).detach()
        return self.norm(raw), bounded, raw


class PublishedEncoder(nn.Module):
    """Six strided convolutions with a resize to 12 voxels in the middle, and a linear layer."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        c = [1, *(size.channels(n) for n in (32, 64, 128, 256, 512, 512))]
        self.first = nn.Sequential(*(_down(c[i], c[i + 1]) for i in range(3)))
        self.second = nn.Sequential(*(_down(c[i], c[i + 1]) for i in range(3, 6)))
        self.mixed = nn.Sequential(nn.Linear(c[6], c[6]), nn.LeakyReLU(_SLOPE))
        self.head = _LatentHead(c[6], size)
        _initialise(self, size)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means, log deviations and means before normalisation of (b, c, c, c)."""
        values = _resized(self.first(volumes[:, None]), _ENCODER_GRID)
        found: tuple[Tensor, Tensor, Tensor] = self.head(self.mixed(self.second(values).flatten(1)))
        return found


class PublishedDecoder(nn.Module):
    """Linear layers and transposed convolutions from a point to `template_px` voxels."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        c = [size.channels(n) for n in (512, 2048, 1024, 512, 256, 128, 64, 32, 16)]
        self.edge = size.template_px
        self.mixed = nn.Sequential(
            nn.Linear(size.zdim, c[0]),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(c[0], c[1]),
            nn.LeakyReLU(_SLOPE),
        )
        self.first = nn.Sequential(
            _up_narrow(c[1], c[2]), _up_narrow(c[2], c[3]), _up(c[3], c[4]), _up(c[4], c[5])
        )
        self.second = nn.Sequential(_up(c[5], c[6]), _up(c[6], c[7]), _up(c[7], c[8]))
        self.out = Doubling(c[8], 1)
        _initialise(self, size)

    def forward(self, latents: Tensor) -> Tensor:
        """Return densities (b, t, t, t) of latents (b, zdim)."""
        values = self.first(self.mixed(latents)[:, :, None, None, None])
        values = _resized(values, self.edge // _DECODER_GRID)
        found: Tensor = self.out(self.second(values))[:, 0]
        return found


class CompactEncoder(nn.Module):
    """Four strided convolutions of a box brought to 32 voxels."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        c = [1, *(size.channels(n) for n in (8, 16, 32, 64))]
        self.layers = nn.Sequential(*(_down(c[i], c[i + 1]) for i in range(4)))
        features = size.channels(128)
        self.mixed = nn.Sequential(nn.Linear(8 * c[4], features), nn.LeakyReLU(_SLOPE))
        self.head = _LatentHead(features, size)
        _initialise(self, size)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means, log deviations and means before normalisation of (b, c, c, c)."""
        values = self.layers(_resized(volumes[:, None], _COMPACT_GRID))
        found: tuple[Tensor, Tensor, Tensor] = self.head(self.mixed(values.flatten(1)))
        return found


class CompactDecoder(nn.Module):
    """A linear layer and four transposed convolutions."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        c = [size.channels(n) for n in (128, 64, 32, 16, 8)]
        self.edge = size.template_px
        self.mixed = nn.Sequential(
            nn.Linear(size.zdim, c[0]),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(c[0], 8 * c[1]),
            nn.LeakyReLU(_SLOPE),
        )
        self.first = nn.Sequential(_up(c[1], c[2]))
        self.second = nn.Sequential(_up(c[2], c[3]), _up(c[3], c[4]))
        self.out = Doubling(c[4], 1)
        _initialise(self, size)

    def forward(self, latents: Tensor) -> Tensor:
        """Return densities (b, t, t, t) of latents (b, zdim)."""
        values = self.first(self.mixed(latents).reshape(len(latents), -1, 2, 2, 2))
        values = _resized(values, self.edge // 8)
        found: Tensor = self.out(self.second(values))[:, 0]
        return found


class PoseHead(nn.Module):
    """The published pose corrector: a latent to a small rotation and a shift, zero at first."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        hidden = size.channels(512)
        self.hidden = nn.Sequential(nn.Linear(size.pose_dim, hidden), nn.LeakyReLU(_SLOPE))
        self.out = nn.Linear(hidden, 6)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Return (b, 6): a rotation vector in radians and a shift in template voxels.

        The published quaternion is (10, q) before it is normalised: q of 1 turns by 0.2 rad.
        """
        found = self.out(self.hidden(latents))
        return torch.cat([0.2 * found[:, :3], found[:, 3:]], dim=1)


class LatentNetwork(nn.Module):
    """Encoder, decoder and pose corrector as one set of weights, whatever launched the training."""

    prefers_channels_last = True

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        published = size.kind == "published"
        self.encoder: nn.Module = (PublishedEncoder if published else CompactEncoder)(size)
        self.decoder: nn.Module = (PublishedDecoder if published else CompactDecoder)(size)
        self.pose_head = PoseHead(size) if size.pose_dim else None


def _initialise(module: nn.Module, size: NetworkSize) -> None:
    """Xavier weights; the taps of a strided transposed convolution equal by block."""
    gain = nn.init.calculate_gain("leaky_relu", _SLOPE)
    for name, layer in module.named_modules():
        if not isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)):
            continue
        if isinstance(layer, nn.ConvTranspose3d):
            _block_wise(layer.weight, gain / (16 if name == "out" else 1))
        else:
            nn.init.xavier_uniform_(layer.weight, gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
            if name.endswith("log_deviation") and size.normalise:
                nn.init.normal_(layer.weight, std=1e-3)
                nn.init.constant_(layer.bias, _FIRST_LOG_DEVIATION)


@torch.no_grad()
def _block_wise(weight: Tensor, gain: float) -> None:
    """Draw one tap for every two along an axis, lest a checkerboard appears at the start."""
    inputs, outputs, kernel = weight.shape[:3]
    half = kernel // 2
    bound = gain * math.sqrt(6.0 / ((inputs + outputs) * half**3)) / 2
    small = torch.empty(inputs, outputs, half, half, half).uniform_(-bound, bound)
    for axis in (2, 3, 4):
        small = small.repeat_interleave(2, dim=axis)
    weight.copy_(small)


def build_network(size: NetworkSize, seed: int) -> LatentNetwork:
    """Return a network whose first weights follow from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LatentNetwork(size)


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(p.numel() for p in module.parameters())
