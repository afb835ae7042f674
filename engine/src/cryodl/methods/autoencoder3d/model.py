"""The networks: autoencoder and segmentation, as published and as we would build them.

Published layers and parameter counts after Zeng et al., J. Struct. Biol. 202, 150 (2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from cryodl.core.training.weights import load_weights, read_metadata, save_weights
from cryodl.errors import CheckpointError, ConfigError, InputError

Preset = Literal["paper", "base", "tiny"]
METHOD = "autoencoder3d"

_PAPER_CHANNELS = 32
_CHANNELS = {"base": (16, 32, 64), "tiny": (8, 8)}
_CODE = {"paper": 32, "base": 32, "tiny": 16}
_SEGMENT_CHANNELS = {"base": (8, 16, 32), "tiny": (8, 16)}
_GROUPS = 4


@dataclass(frozen=True)
class AutoencoderSize:
    """Which autoencoder, for which box."""

    preset: Preset = "base"
    box_px: int = 24

    @property
    def code(self) -> int:
        """Length of the code."""
        return _CODE[self.preset]


@dataclass(frozen=True)
class SegmentSize:
    """Which segmentation network; `classes` counts the background."""

    preset: Preset = "base"
    classes: int = 2
    box_px: int = 24


class Autoencoder(nn.Module):
    """Subvolume to code to subvolume.

    Attributes
    ----------
    encoder, decoder : nn.Module
        (b, 1, n, n, n) to (b, code) and back.
    """

    prefers_channels_last = True

    def __init__(self, size: AutoencoderSize) -> None:
        super().__init__()
        if size.box_px % 4 or size.box_px < 8:
            raise ConfigError(
                f"--network-box-px: found {size.box_px}, expected a multiple of 4 of 8 or more"
            )
        self.size = size
        parts = _published_parts(size) if size.preset == "paper" else _own_parts(size)
        self.encoder, self.decoder = parts

    def encode(self, volumes: Float[Tensor, "b n n n"]) -> Float[Tensor, "b code"]:
        """Return codes."""
        found: Tensor = self.encoder(volumes[:, None])
        return found

    def decode(self, codes: Float[Tensor, "b code"]) -> Float[Tensor, "b n n n"]:
        """Return volumes."""
        found: Tensor = self.decoder(codes)
        return found[:, 0]

    def forward(self, volumes: Float[Tensor, "b n n n"]) -> tuple[Tensor, Tensor]:
        """Return decoded volumes and codes."""
        codes = self.encode(volumes)
        return self.decode(codes), codes


def _published_parts(size: AutoencoderSize) -> tuple[nn.Sequential, nn.Sequential]:
    c, code, coarse = _PAPER_CHANNELS, size.code, size.box_px // 4
    encoder = nn.Sequential(
        nn.Conv3d(1, c, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(c, c, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Flatten(),
        nn.Linear(c * coarse**3, code),
        nn.ReLU(),
    )
    decoder = nn.Sequential(
        nn.Linear(code, c * coarse**3),
        nn.ReLU(),
        nn.Unflatten(1, (c, coarse, coarse, coarse)),
        nn.Upsample(scale_factor=2),
        nn.Conv3d(c, c, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv3d(c, c, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(c, 1, 3, padding=1),
    )
    return encoder, decoder


def _own_parts(size: AutoencoderSize) -> tuple[nn.Sequential, nn.Sequential]:
    """Return strided convolutions with a linear code, so that no unit can die."""
    channels = _CHANNELS[size.preset]
    edges = [size.box_px]
    for _ in channels:
        edges.append(-(-edges[-1] // 2))
    encoder: list[nn.Module] = []
    for incoming, outgoing in zip((1, *channels[:-1]), channels, strict=True):
        encoder += _block(incoming, outgoing, stride=2)
    flat = channels[-1] * edges[-1] ** 3
    encoder += [nn.Flatten(), nn.Linear(flat, size.code)]
    decoder: list[nn.Module] = [
        nn.Linear(size.code, flat),
        nn.LeakyReLU(0.1),
        nn.Unflatten(1, (channels[-1], edges[-1], edges[-1], edges[-1])),
    ]
    narrow = [*channels[-2::-1], max(4, channels[0] // 2)]
    for incoming, outgoing, edge in zip(channels[::-1], narrow, edges[-2::-1], strict=True):
        decoder += [nn.Upsample(size=edge, mode="trilinear"), *_block(incoming, outgoing)]
    decoder.append(nn.Conv3d(narrow[-1], 1, 3, padding=1))
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def _block(incoming: int, outgoing: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv3d(incoming, outgoing, 3, stride=stride, padding=1),
        nn.GroupNorm(_GROUPS, outgoing),
        nn.LeakyReLU(0.1),
    ]


class SegmentationNetwork(nn.Module):
    """Subvolume to a score for each class in every voxel; class 0 is background."""

    prefers_channels_last = True

    def __init__(self, size: SegmentSize) -> None:
        super().__init__()
        self.size = size
        own = size.preset != "paper"
        self.body: nn.Module = _UNet(size) if own else _published_segmentation(size.classes)

    def forward(self, volumes: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c d h w"]:
        """Return logits; every edge a multiple of 4."""
        found: Tensor = self.body(volumes[:, None])
        return found


def _published_segmentation(classes: int) -> nn.Sequential:
    c = _PAPER_CHANNELS
    layers: list[nn.Module] = [nn.Conv3d(1, c, 3, padding=1), nn.ReLU()]
    for change in (nn.MaxPool3d(2), nn.MaxPool3d(2), None, None):
        layers.append(change or nn.Upsample(scale_factor=2))
        layers += [nn.Conv3d(c, c, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv3d(c, classes, 1))


class _UNet(nn.Module):
    def __init__(self, size: SegmentSize) -> None:
        super().__init__()
        channels = _SEGMENT_CHANNELS[size.preset]
        pairs = list(zip((1, *channels[:-1]), channels, strict=True))
        self.down = nn.ModuleList(_plain_block(*pair) for pair in pairs)
        self.up = nn.ModuleList(
            _plain_block(coarse + fine, fine) for fine, coarse in reversed(pairs[1:])
        )
        self.exit = nn.Conv3d(channels[0], size.classes, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        features, skips = volumes, []
        for level, block in enumerate(self.down):
            features = functional.max_pool3d(features, 2) if level else features
            features = block(features)
            skips.append(features)
        skips.pop()
        for block in self.up:
            skip = skips.pop()
            features = functional.interpolate(features, size=skip.shape[2:])
            features = block(torch.cat([features, skip], dim=1))
        found: Tensor = self.exit(features)
        return found


def _plain_block(incoming: int, outgoing: int) -> nn.Sequential:
    """Return two convolutions; without norms over the box, tiles of any size agree."""
    return nn.Sequential(
        nn.Conv3d(incoming, outgoing, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv3d(outgoing, outgoing, 3, padding=1),
        nn.LeakyReLU(0.1),
    )


def build_autoencoder(size: AutoencoderSize, seed: int = 0) -> Autoencoder:
    """Return an untrained autoencoder; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Autoencoder(size)


def build_segmentation(size: SegmentSize, seed: int = 0) -> SegmentationNetwork:
    """Return an untrained segmentation network; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNetwork(size)


def save_network(
    path: Path, network: Autoencoder | SegmentationNetwork, description: dict[str, Any]
) -> None:
    """Write a network with everything its users must know."""
    kind = "autoencoder" if isinstance(network, Autoencoder) else "segmentation"
    size = asdict(network.size)
    save_weights(path, network, {"method": METHOD, "kind": kind, "size": size, **description})


def load_autoencoder(path: Path) -> tuple[Autoencoder, dict[str, Any]]:
    """Read an autoencoder and its description.

    Raises
    ------
    InputError, CheckpointError
        No such file, another network, or damaged.
    """
    description = _described(path, "autoencoder", "train")
    network = build_autoencoder(AutoencoderSize(**description["size"]))
    load_weights(path, network)
    return network.eval(), description


def load_segmentation(path: Path) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """Read a segmentation network and its description; failures as `load_autoencoder`."""
    description = _described(path, "segmentation", "segment-train")
    network = build_segmentation(SegmentSize(**description["size"]))
    load_weights(path, network)
    return network.eval(), description


def _described(path: Path, kind: str, command: str) -> dict[str, Any]:
    if path.suffix in (".h5", ".hdf5", ".pt", ".pth", ".pkl", ".pickle"):
        raise InputError(
            f"{path}: found a model of another program, expected .safetensors; train again with "
            f"cryodl autoencoder3d {command}"
        )
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a .safetensors model")
    description = read_metadata(path)
    if description.get("method") != METHOD or description.get("kind") != kind:
        raise CheckpointError(
            f"{path}: found a model of {description.get('method')} "
            f"({description.get('kind', 'unknown')}), expected one of autoencoder3d {command}"
        )
    return description
