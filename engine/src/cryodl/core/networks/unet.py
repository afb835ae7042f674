"""The 3D U-Net with a residual, after spIsoNet's, with every size a parameter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodl.errors import ConfigError

#: Widths by the number of channels of the first level: 23.8, 8.3 and 2.1 million parameters.
UNET_WIDTHS: dict[int, tuple[int, ...]] = {
    64: (64, 128, 256, 320),
    32: (32, 64, 128, 256),
    16: (16, 32, 64, 128),
}
NORMS = ("batch", "instance")


class UNet3D(nn.Module):
    """3D U-Net: levels of 3x3x3 convolutions, halved and doubled by strided ones.

    With the defaults this is the published network of 23,764,737 parameters. With all
    parameters zero and `residual` on it returns its input.

    Parameters
    ----------
    widths
        Channels of each level, finest first; one more level than the box is halved.
    convolutions
        Convolutions per block. The middle block, at the coarsest level, has one less
        (at least one).
    norm
        ``"batch"``, or ``"instance"`` (each cube by itself, no running statistics: results do
        not depend on the batch, and single processes agree with several).
    residual
        Add the input to the output; needs equal channels.
    in_channels, out_channels
        Channels of input and output.

    Raises
    ------
    ConfigError
        An argument is out of range.
    """

    def __init__(
        self,
        widths: Sequence[int] = UNET_WIDTHS[64],
        convolutions: int = 3,
        norm: str = "batch",
        residual: bool = True,
        in_channels: int = 1,
        out_channels: int = 1,
    ) -> None:
        super().__init__()
        _check_arguments(widths, convolutions, norm, residual, in_channels, out_channels)
        self.widths = tuple(int(width) for width in widths)
        self.norm = norm
        self.residual = residual
        self.entry = nn.Conv3d(in_channels, self.widths[0], kernel_size=3, padding=1)
        self.encoders = nn.ModuleList()
        self.halvings = nn.ModuleList()
        self.doublings = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for fine, coarse in zip(self.widths[:-1], self.widths[1:], strict=True):
            self.encoders.append(_block(fine, fine, convolutions, norm))
            self.halvings.append(
                nn.Sequential(
                    nn.Conv3d(fine, coarse, kernel_size=2, stride=2, bias=False),
                    *_norm_and_activation(coarse, norm),
                )
            )
            self.doublings.append(nn.ConvTranspose3d(coarse, fine, kernel_size=2, stride=2))
            self.decoders.append(_block(2 * fine, fine, convolutions, norm))
        self.middle = _block(self.widths[-1], self.widths[-1], max(1, convolutions - 1), norm)
        self.activation = nn.LeakyReLU(0.01)
        self.exit = nn.Conv3d(self.widths[0], out_channels, kernel_size=3, padding=1)

    @property
    def depth(self) -> int:
        """How many times the box is halved; its edges must divide by two to this power."""
        return len(self.widths) - 1

    def forward(self, volumes: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b o d h w"]:
        """Apply the network.

        Parameters
        ----------
        volumes
            Cubes (or boxes) of shape (b, in_channels, d, h, w), edges divisible by 2**depth.

        Returns
        -------
        Tensor
            (b, out_channels, d, h, w).

        Raises
        ------
        ConfigError
            An edge does not divide, or is too small for the norm.
        """
        self._check_box(volumes)
        features = self.entry(volumes)
        skips = []
        for encoder, halving in zip(self.encoders, self.halvings, strict=True):
            features = encoder(features)
            skips.append(features)
            features = halving(features)
        features = self.middle(features)
        for level in reversed(range(self.depth)):
            features = self.doublings[level](features)
            # The published network activates after joining, hence the skip a second time.
            features = self.activation(torch.cat([skips.pop(), features], dim=1))
            features = self.decoders[level](features)
        result: Tensor = self.exit(features)
        return result + volumes if self.residual else result

    def _check_box(self, volumes: Tensor) -> None:
        step = 2**self.depth
        edges = tuple(volumes.shape[2:])
        if volumes.ndim != 5 or any(edge % step or edge == 0 for edge in edges):
            raise ConfigError(
                f"cube size: found {'x'.join(map(str, edges))} px, expected edges divisible by "
                f"{step} (the network halves the box {self.depth} times); choose such a size"
            )
        voxels = 1
        for edge in edges:
            voxels *= edge // step
        values_per_channel = voxels if self.norm == "instance" else voxels * volumes.shape[0]
        if self.training and values_per_channel == 1:
            raise ConfigError(
                f"cube size: found {edges[0]} px, which leaves one voxel to take a mean over at "
                f"the coarsest level, expected at least {2 * step} px for training; enlarge it"
            )


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable numbers in `network`."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _block(n_in: int, n_out: int, convolutions: int, norm: str) -> nn.Sequential:
    """Return `convolutions` times convolution, norm, activation; the first changes the width."""
    layers: list[nn.Module] = []
    for index in range(convolutions):
        source = n_in if index == 0 else n_out
        layers.append(nn.Conv3d(source, n_out, kernel_size=3, padding=1, bias=False))
        layers.extend(_norm_and_activation(n_out, norm))
    return nn.Sequential(*layers)


def _norm_and_activation(channels: int, norm: str) -> list[nn.Module]:
    kind = nn.BatchNorm3d if norm == "batch" else nn.InstanceNorm3d
    # In place: the norm's output is needed by nobody else, and this halves the memory.
    return [kind(channels, affine=True), nn.LeakyReLU(0.01, inplace=True)]


def _check_arguments(
    widths: Sequence[int],
    convolutions: int,
    norm: str,
    residual: bool,
    in_channels: int,
    out_channels: int,
) -> None:
    if len(widths) < 2 or min(widths) < 1:
        raise ConfigError(
            f"widths: found {tuple(widths)}, expected at least two levels of one channel or more"
        )
    if min(convolutions, in_channels, out_channels) < 1:
        raise ConfigError(
            f"convolutions and channels: found {convolutions}, {in_channels} and {out_channels}, "
            "expected 1 or more of each"
        )
    if norm not in NORMS:
        raise ConfigError(f"norm: found {norm!r}, expected one of {', '.join(NORMS)}")
    if residual and in_channels != out_channels:
        raise ConfigError(
            f"residual: found {in_channels} channels in and {out_channels} out, expected the same "
            "number to add the input to the output; switch residual off"
        )
