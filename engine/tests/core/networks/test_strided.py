"""Strided convolutions of one channel: the library's sums, in another order."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cryodl.core.networks.strided import Doubling, Halving


def same_sums(layer, shape, plain):
    """Compare values and all gradients of a layer with those of a function of the library."""
    values = torch.randn(2, layer.in_channels, *shape, dtype=torch.float64, requires_grad=True)
    found, expected = layer(values), plain(values, layer.weight, layer.bias, 2, 1)
    torch.testing.assert_close(found, expected)
    outer, of = torch.randn_like(expected), [values, layer.weight, layer.bias]
    ours, theirs = (torch.autograd.grad(result, of, outer) for result in (found, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8, 8), (4, 6, 8), (6, 7, 6)])
def test_halving_is_the_strided_convolution(channels, shape):
    torch.manual_seed(1)
    same_sums(Halving(channels, 5).double(), shape, functional.conv3d)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 4, 5)])
def test_doubling_is_the_transposed_convolution(channels, shape):
    torch.manual_seed(2)
    same_sums(Doubling(5, channels).double(), shape, functional.conv_transpose3d)


def test_weights_are_those_of_the_library():
    for ours, theirs in (
        (Halving(1, 4), nn.Conv3d(1, 4, 4, 2, 1)),
        (Doubling(4, 1), nn.ConvTranspose3d(4, 1, 4, 2, 1)),
    ):
        theirs.load_state_dict(ours.state_dict())
        last = ours.to(memory_format=torch.channels_last_3d)
        values = torch.randn(1, ours.in_channels, 6, 6, 6)
        torch.testing.assert_close(last(values), theirs(values), rtol=1e-4, atol=1e-5)
