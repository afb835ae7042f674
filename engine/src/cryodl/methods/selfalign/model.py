"""Networks that look at a particle and a template, or at a particle alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as functional

from cryodl.errors import ConfigError
from cryodl.methods.selfalign.bank import TemplateBank

_L2 = 1e-6


@dataclass(frozen=True)
class NetworkSize:
    """One preset.

    Attributes
    ----------
    kind : str
        ``matching`` (Gum-Net's), ``fixed`` (particle and template as two channels), or
        ``proposer`` (particle alone, a likelihood for each
        rotation of a grid).
    box_px : int
        Edge of the boxes it looks at.
    channels, pools
        Of the convolutions, and (out, keep) of the spectral pooling after each but the last.
    matching, head
        Widths of the convolutions on correlations, and of the dense layers.
    published : bool
        As published: a batch norm of its own in each branch, dense layers without activation,
        Euler angles and shifts through a sigmoid. Otherwise six numbers make a rotation.
    grid, band : int
        Rotations of a proposer, over all of SO(3), and its band in Fourier pixels.
    learning_rate : float
        Peak.
    """

    kind: str
    box_px: int
    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...] = ()
    matching: tuple[int, ...] = ()
    head: tuple[int, ...] = (128, 128)
    published: bool = False
    grid: int = 0
    band: int = 0
    learning_rate: float = 3e-3


_LARGE_POOLS = ((26, 22), (18, 15), (12, 10), (8, 7))
_SMALL_POOLS = ((12, 10), (8, 7))
PRESETS = {
    "gumnet": NetworkSize(
        "matching",
        32,
        (32, 64, 128, 256, 512),
        _LARGE_POOLS,
        (1024, 1024),
        (2000, 2000),
        published=True,
        learning_rate=1e-4,
    ),
    "base": NetworkSize(
        "matching", 32, (16, 32, 64, 128, 128), _LARGE_POOLS, (128, 128), (256, 256),
        learning_rate=1e-3,
    ),
    "small": NetworkSize("matching", 16, (16, 32, 64), _SMALL_POOLS, (64, 64)),
    "tiny": NetworkSize("matching", 16, (8, 16, 32), _SMALL_POOLS, (32, 32)),
    "refcnn": NetworkSize("fixed", 16, (16, 32, 64, 64), head=(256,)),
    "proposer": NetworkSize("proposer", 16, (), grid=1152, band=6, learning_rate=1e-4),
}  # fmt: skip


def build_network(name: str, tmax_px: float, seed: int = 0, outputs: int = 0) -> nn.Module:
    """Make the network of a preset.

    Parameters
    ----------
    name : str
        Of `PRESETS`.
    tmax_px : float
        Largest shift it can answer, in pixels of its own box.
    seed : int
        Of the weights.
    outputs : int
        Rotations of a proposer's grid, which depend on the symmetry.

    Raises
    ------
    ConfigError
        An unknown preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset: found {name!r}, expected one of {', '.join(PRESETS)}")
    size = PRESETS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if size.kind == "matching":
            return MatchingNetwork(size, tmax_px)
        if size.kind == "proposer":
            return TemplateBank(size.box_px, size.band, tmax_px, outputs)
        return FixedNetwork(size, tmax_px)


def pooling_matrix(size_in: int, size_out: int, keep: int) -> NDArray[np.float64]:
    """Return the matrix (out, in) that keeps the lowest coefficients of a cosine transform."""
    return _cosines(size_out)[:keep].T @ _cosines(size_in)[:keep]


def _cosines(n: int) -> NDArray[np.float64]:
    k, x = np.arange(n)[:, None], np.arange(n)[None, :]
    basis = np.sqrt(2 / n) * np.cos(np.pi * (2 * x + 1) * k / (2 * n))
    basis[0] /= np.sqrt(2)
    return basis


class SpectralPool(nn.Module):
    """Shrink volumes by cutting off the high frequencies of a cosine transform."""

    matrix: Tensor

    def __init__(self, size_in: int, size_out: int, keep: int) -> None:
        super().__init__()
        matrix = torch.as_tensor(pooling_matrix(size_in, size_out, keep)).float()
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, in, in, in) to (b, c, out, out, out)."""
        for axis in (2, 3, 4):
            x = torch.tensordot(x, self.matrix, dims=([axis], [1])).movedim(-1, axis)
        return x


class MatchingNetwork(nn.Module):
    """Gum-Net's matching of two feature maps, with a pose head.

    References
    ----------
    Zeng and Xu (2020), CVPR, "Gum-Net".
    """

    def __init__(self, size: NetworkSize, tmax_px: float) -> None:
        super().__init__()
        self.size, self.tmax_px = size, tmax_px
        widths = (1, *size.channels)
        edge = size.box_px
        self.convolutions, self.pools = nn.ModuleList(), nn.ModuleList()
        for i in range(len(size.channels)):
            self.convolutions.append(nn.Conv3d(widths[i], widths[i + 1], 3))
            edge -= 2
            if i < len(size.pools):
                out, keep = size.pools[i]
                self.pools.append(SpectralPool(edge, out, keep))
                edge = out
        branches = 2 if size.published else 1
        self.norms = nn.ModuleList(
            nn.ModuleList(_norm(width) for width in size.channels) for _ in range(branches)
        )
        self.matching = nn.ModuleList(_matching(edge**3, size.matching) for _ in range(2))
        flat = 2 * size.matching[-1] * (edge - 2 * len(size.matching)) ** 3
        outputs = 6 if size.published else 9
        self.head = _dense(flat, size.head, outputs, activation=not size.published)
        _start_head(self.head[-1], size.published)

    def forward(self, particle: Tensor, template: Tensor) -> tuple[Tensor, Tensor]:
        """Return A (b, 3, 3) and s (b, 3) px of particles (b, 1, n, n, n)."""
        a, b = self.features(particle, 0), self.features(template, len(self.norms) - 1)
        a, b = a.flatten(2), b.flatten(2)
        edge = round(a.shape[2] ** (1 / 3))
        both = []
        for first, second, layers in ((a, b, self.matching[0]), (b, a, self.matching[1])):
            # Channels are the places of the other.
            matched = torch.einsum("bcp,bcq->bqp", first, second).unflatten(2, (edge,) * 3)
            both.append(layers(_unit(matched)).flatten(1))
        return self.pose(self.head(torch.cat(both, dim=1)))

    def features(self, volume: Tensor, branch: int) -> Tensor:
        """Return unit features of each place."""
        x = volume
        last = len(self.convolutions) - 1
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i < last:
                x = functional.relu(x)
            x = self.norms[branch][i](x)  # type: ignore[index]
            if i < last:
                x = self.pools[i](x)
        return _unit(x)

    def pose(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the answers of the head into rotations and shifts."""
        if self.size.published:
            return published_pose(torch.sigmoid(answer), self.tmax_px)
        return rotation_of_six(answer[:, :6]), torch.tanh(answer[:, 6:]) * self.tmax_px


class FixedNetwork(nn.Module):
    """Convolutions with strides: a particle and a template that never changes to a pose."""

    def __init__(self, size: NetworkSize, tmax_px: float) -> None:
        super().__init__()
        self.size, self.tmax_px = size, tmax_px
        widths = (2, *size.channels)
        layers: list[nn.Module] = []
        for i in range(len(size.channels)):
            stride = 2 if i in (0, 2) else 1
            layers += [
                nn.Conv3d(widths[i], widths[i + 1], 3, stride, 1),
                nn.BatchNorm3d(widths[i + 1]),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        flat = widths[-1] * (size.box_px // 4) ** 3
        self.head = _dense(flat, size.head, 9, activation=True)
        _start_head(self.head[-1], published=False)

    def forward(self, particle: Tensor, template: Tensor) -> tuple[Tensor, Tensor]:
        """Return A and s in px of particles (b, 1, n, n, n)."""
        pair = torch.cat([particle, template.expand_as(particle)], dim=1)
        answer = self.head(self.body(pair).flatten(1))
        return rotation_of_six(answer[:, :6]), torch.tanh(answer[:, 6:]) * self.tmax_px


def rotation_of_six(six: Tensor) -> Tensor:
    """Make rotations of two vectors each by Gram and Schmidt: (b, 6) to (b, 3, 3).

    References
    ----------
    Zhou et al. (2019), CVPR, "On the continuity of rotation representations".
    """
    first = functional.normalize(six[:, :3], dim=1)
    second = six[:, 3:] - (first * six[:, 3:]).sum(1, keepdim=True) * first
    second = functional.normalize(second, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)


def published_pose(unit: Tensor, tmax_px: float) -> tuple[Tensor, Tensor]:
    """Turn the published answers, 0 to 1, into A and s.

    Angles are extrinsic zyz about array axes, ``M = Rz(a3) Ry(a2) Rz(a1)``, and u a shift in their
    order: a template point p comes from ``M p + u`` of the particle.
    """
    angles = (2 * unit[:, :3] - 1) * math.pi
    cosine, sine = torch.cos(angles), torch.sin(angles)
    zero, one = torch.zeros_like(cosine[:, 0]), torch.ones_like(cosine[:, 0])

    def about(i: int, middle: bool) -> Tensor:
        c, s = cosine[:, i], sine[:, i]
        rows = [[c, -s, zero], [s, c, zero], [zero, zero, one]]
        if middle:
            rows = [[c, zero, s], [zero, one, zero], [-s, zero, c]]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    matrix = about(2, False) @ about(1, True) @ about(0, False)
    shift = -(2 * unit[:, 3:] - 1) * tmax_px
    return matrix.flip(1, 2), shift.flip(1)


def count_parameters(network: nn.Module, *, with_statistics: bool = False) -> int:
    """Return the number of weights, with the running statistics of batch norms if asked."""
    count = sum(p.numel() for p in network.parameters())
    if with_statistics:
        named = network.named_buffers()
        count += sum(b.numel() for name, b in named if "running_" in name)
    return count


def _norm(width: int) -> nn.Module:
    # Momentum 0.99 and epsilon 1e-3 in the words of the published program.
    return nn.BatchNorm3d(width, eps=1e-3, momentum=0.01)


def _matching(places: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in zip((places, *widths), widths):
        layers += [nn.Conv3d(before, width, 3), nn.BatchNorm3d(width, eps=1e-3), nn.ReLU()]
    return nn.Sequential(*layers)


def _dense(flat: int, widths: tuple[int, ...], outputs: int, *, activation: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in zip((flat, *widths), widths):
        layers.append(nn.Linear(before, width))
        if activation:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def _start_head(layer: nn.Module, published: bool) -> None:
    if not isinstance(layer, nn.Linear):
        return
    with torch.no_grad():
        if published:
            layer.weight.zero_()
            layer.bias.uniform_(-0.5, 0.5)
            return
        layer.weight.mul_(0.1)
        layer.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1.0, 0, 0, 0, 0]))


def _unit(x: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().sum(1, keepdim=True) + _L2)
