"""Convolutions that halve or double an edge, fast for a single channel on a processor, too.

The library has no quick way for strided kernels with one channel. The same sums are an ordinary
convolution of 2 x 2 x 2 taps over eight channels: the voxels of each block of eight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_KERNEL, _STRIDE, _PADDING = 4, 2, 1


class Halving(nn.Conv3d):
    """A convolution of 4 x 4 x 4 taps, every other voxel: (b, i, n, n, n) to half the edges."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, _KERNEL, _STRIDE, _PADDING)

    def forward(self, values: Tensor) -> Tensor:
        """Return (b, o, n // 2, n // 2, n // 2)."""
        is_even = all(edge % 2 == 0 for edge in values.shape[-3:])
        if self.in_channels > 1 or values.device.type != "cpu" or not is_even:
            return super().forward(values)
        blocks = _blocks_to_channels(functional.pad(values, (_PADDING,) * 6))
        weight = self.weight.reshape(-1, 1, 2, 2, 2, 2, 2, 2)
        weight = weight.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(-1, 8, 2, 2, 2)
        return functional.conv3d(blocks, weight, self.bias)


class Doubling(nn.ConvTranspose3d):
    """The transpose of `Halving`: (b, i, n, n, n) to twice the edges."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, _KERNEL, _STRIDE, _PADDING)

    def forward(self, values: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (b, o, 2 n, 2 n, 2 n)."""
        if self.out_channels > 1 or values.device.type != "cpu" or output_size is not None:
            return super().forward(values, output_size)
        # Each block of eight voxels, moved by one against the input, sees two voxels an axis.
        weight = self.weight.reshape(-1, 1, 2, 2, 2, 2, 2, 2).flip(2, 4, 6)
        weight = weight.permute(3, 5, 7, 1, 0, 2, 4, 6).reshape(8, -1, 2, 2, 2)
        bias = None if self.bias is None else self.bias.expand(8)
        blocks = functional.conv3d(values, weight, bias, padding=1)
        return _channels_to_blocks(blocks)[..., 1:-1, 1:-1, 1:-1]


def _blocks_to_channels(values: Tensor) -> Tensor:
    """Turn (b, 1, 2 z, 2 y, 2 x) into (b, 8, z, y, x)."""
    b, (z, y, x) = len(values), (edge // 2 for edge in values.shape[-3:])
    blocks = values.reshape(b, z, 2, y, 2, x, 2)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(b, 8, z, y, x)


def _channels_to_blocks(values: Tensor) -> Tensor:
    """Turn (b, 8, z, y, x) into (b, 1, 2 z, 2 y, 2 x)."""
    b, _, z, y, x = values.shape
    blocks = values.reshape(b, 2, 2, 2, z, y, x).permute(0, 4, 1, 5, 2, 6, 3)
    return torch.reshape(blocks, (b, 1, 2 * z, 2 * y, 2 * x))
