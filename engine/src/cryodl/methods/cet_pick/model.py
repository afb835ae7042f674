"""Networks of the picker: a 2D network in each slice, a small 3D head across slices.

Sizes and parameter counts after Huang et al., ECCV 2022 (LNCS 13681), newest published form.
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
from cryodl.errors import CheckpointError, InputError

Architecture = Literal["unet_3", "unet_4", "unet_5", "ressmall_18"]

_STEM_CHANNELS = 16
_RESNET_PRIOR_LOGIT = -2.19  # as published for the ResNet: a probability of 0.1 at the start


@dataclass(frozen=True)
class NetworkSize:
    """What has to be known to build a network again.

    Attributes
    ----------
    architecture : str
        ``unet_3``, ``unet_4``, ``unet_5`` or ``ressmall_18``.
    width : int
        Channels of the finest level, 32 as published; ``ressmall_18`` takes only 32.
    head_width : int
        Channels of the 3D head.
    embedding : int
        Length of the unit vectors that the contrastive loss compares.
    kinds : int
        Kinds of particles, a heat map each.
    last_kernel : int
        In-plane edge of the last 3D convolution of ``ressmall_18``.
    """

    architecture: Architecture = "unet_4"
    width: int = 32
    head_width: int = 32
    embedding: int = 32
    kinds: int = 1
    last_kernel: int = 3


class PickingNetwork(nn.Module):
    """Heat map and voxel embeddings of working tomograms, at half their size in y and x.

    Parameters
    ----------
    size
        See `NetworkSize`.
    """

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.size = size
        resnet = size.architecture == "ressmall_18"
        self.slices = ResNetSlices() if resnet else UNetSlices(size)
        self.head = _resnet_head(size) if resnet else _unet_head(size)
        kernel, padding = (1, 0) if resnet else ((3, 1, 1), (1, 0, 0))
        shape: dict[str, Any] = {"kernel_size": kernel, "padding": padding, "bias": resnet}
        self.heat_map = nn.Conv3d(size.head_width, size.kinds, **shape)
        self.projection = nn.Conv3d(size.head_width, size.embedding, **shape)
        self._initialise(resnet)

    def _initialise(self, resnet: bool) -> None:
        if resnet:
            nn.init.constant_(self.heat_map.bias, _RESNET_PRIOR_LOGIT)  # type: ignore[arg-type]
            return
        # As published: every probability is one half at the start.
        for module in [*self.head.modules(), self.heat_map, self.projection]:
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=1e-3)

    def features(self, volumes: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c d h2 w2"]:
        """Return what both branches read."""
        batch, depth = volumes.shape[:2]
        planes = self.slices(volumes.reshape(batch * depth, 1, *volumes.shape[2:]))
        folded = planes.reshape(batch, depth, *planes.shape[1:]).transpose(1, 2)
        found: Tensor = self.head(folded)
        return found

    def forward(self, volumes: Float[Tensor, "b d h w"]) -> tuple[Tensor, Tensor]:
        """Apply the network.

        Parameters
        ----------
        volumes
            Working tomograms or crops, (b, depth, height, width).

        Returns
        -------
        logits : Tensor
            (b, kinds, depth, ceil(height / 2), ceil(width / 2)).
        embeddings : Tensor
            (b, embedding, depth, ...), of length one.
        """
        found = self.features(volumes)
        return self.heat_map(found), functional.normalize(self.projection(found), dim=1)

    def logits(self, volumes: Float[Tensor, "b d h w"]) -> Tensor:
        """Return the heat map alone, for prediction."""
        found: Tensor = self.heat_map(self.features(volumes))
        return found


class UNetSlices(nn.Module):
    """The published 2D U-Net: a stem that halves the slice, then levels of doubled channels."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        levels = int(size.architecture[-1])
        widths = [size.width * 2**level for level in range(levels)]
        self.stem = nn.Sequential(
            nn.Conv2d(1, _STEM_CHANNELS, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(_STEM_CHANNELS),
            nn.ReLU(),
        )
        incoming = [_STEM_CHANNELS, *widths[:-1]]
        self.encoders = nn.ModuleList(_block(i, o) for i, o in zip(incoming, widths, strict=True))
        self.doublings = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True):
            self.doublings.append(_Doubling(coarse, fine))
            self.decoders.append(_block(2 * fine, fine))
        self.exit = nn.Conv2d(widths[0], size.head_width, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, planes: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Return features of each slice at half its size."""
        features = self.stem(planes)
        skips = []
        for level, encoder in enumerate(self.encoders):
            if level:
                features = functional.max_pool2d(features, 2, ceil_mode=True)
            features = encoder(features)
            skips.append(features)
        skips.pop()
        for doubling, decoder in zip(self.doublings, self.decoders, strict=True):
            skip = skips.pop()
            features = decoder(torch.cat([doubling(features, skip), skip], dim=1))
        result: Tensor = self.exit(features)
        return result


class _Doubling(nn.Module):
    """Transposed convolution to the size of the skip, which may be odd."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(coarse, fine, 2, stride=2)
        self.norm = nn.BatchNorm2d(fine)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        larger = self.convolution(features)[..., : skip.shape[-2], : skip.shape[-1]]
        return functional.relu(self.norm(larger))


class ResNetSlices(nn.Module):
    """The published small ResNet: stem, two stages, and two doublings; output stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            _Residual(64, 64, 1),
            _Residual(64, 64, 1),
            _Residual(64, 128, 2),
            _Residual(128, 128, 1),
        )
        self.doublings = nn.Sequential(*_resnet_doubling(128, 64), *_resnet_doubling(64, 32))

    def forward(self, planes: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 32 h2 w2"]:
        """Return features of each slice at half its size."""
        height, width = ((edge + 1) // 2 for edge in planes.shape[-2:])
        found: Tensor = self.doublings(self.stages(self.stem(planes)))
        return found[..., :height, :width]


class _Residual(nn.Module):
    """Basic block: two convolutions and a shortcut."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(incoming, outgoing, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(),
            nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False),
            nn.BatchNorm2d(outgoing),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or incoming != outgoing:
            self.shortcut = nn.Sequential(
                nn.Conv2d(incoming, outgoing, 1, stride=stride, bias=False),
                nn.BatchNorm2d(outgoing),
            )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.body(features) + self.shortcut(features))


def _block(incoming: int, outgoing: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (incoming, outgoing):
        layers += [nn.Conv2d(channels, outgoing, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outgoing), nn.ReLU()]
    return nn.Sequential(*layers)


def _resnet_doubling(incoming: int, outgoing: int) -> list[nn.Module]:
    doubling = nn.ConvTranspose2d(outgoing, outgoing, 4, stride=2, padding=1, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():  # the published start: the first input channel is interpolated
        doubling.weight[0] = torch.outer(ramp, ramp)
    return [
        nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(),
        doubling,
        nn.BatchNorm2d(outgoing),
        nn.ReLU(),
    ]


def _unet_head(size: NetworkSize) -> nn.Sequential:
    wide: dict[str, Any] = {"dilation": (1, 4, 4), "padding": (1, 4, 4), "bias": False}
    return nn.Sequential(
        nn.Conv3d(size.head_width, size.head_width, 3, **wide),
        nn.ReLU(),
        nn.Conv3d(size.head_width, size.head_width, 3, **wide),
        nn.ReLU(),
    )


def _resnet_head(size: NetworkSize) -> nn.Sequential:
    edge = size.last_kernel
    return nn.Sequential(
        nn.Conv3d(32, size.head_width, (3, edge, edge), padding=(1, edge // 2, edge // 2)),
        nn.ReLU(),
    )


def build_network(size: NetworkSize, seed: int = 0) -> PickingNetwork:
    """Return an untrained network; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PickingNetwork(size)


def save_network(path: Path, network: PickingNetwork, description: dict[str, Any]) -> None:
    """Write the network with everything prediction must know."""
    save_weights(path, network, {"method": "cet_pick", "size": asdict(network.size), **description})


def load_network(path: Path) -> tuple[PickingNetwork, dict[str, Any]]:
    """Read a network and its description, see `save_network`.

    Raises
    ------
    InputError
        No such file, or the pickled format of other programs.
    CheckpointError
        Another method's network, or damaged.
    """
    if path.suffix in (".pt", ".pth", ".pkl"):
        raise InputError(
            f"{path}: found a pickled model, expected .safetensors; pickles can run any code and "
            "are never opened, train again or give the model of a cryodl run"
        )
    if not path.is_file():
        raise InputError(f"{path}: found no such file, expected a .safetensors model")
    description = read_metadata(path)
    if description.get("method") != "cet_pick":
        raise CheckpointError(
            f"{path}: found a model of {description.get('method')}, expected one of cet-pick train"
        )
    network = build_network(NetworkSize(**description["size"]))
    load_weights(path, network)
    return network.eval(), description
