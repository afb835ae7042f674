"""Channels last: the same numbers, other places in memory."""

import copy

import pytest
import torch
from torch import nn

from cryodl.core.networks.layout import lay_out
from cryodl.core.networks.unet import UNet3D


class Willing(UNet3D):
    prefers_channels_last = True


def is_last(layer):
    return layer.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_same_result_and_gradient_and_state():
    torch.manual_seed(0)
    plain = Willing((4, 8), convolutions=1, norm="instance")
    changed = copy.deepcopy(plain)
    assert lay_out(changed, "cpu", "32")
    assert is_last(changed.encoders[0][0]) and not is_last(plain.encoders[0][0])
    volumes = torch.randn(2, 1, 8, 8, 8)
    for network in (plain, changed):
        network(volumes).square().mean().backward()
    torch.testing.assert_close(changed(volumes), plain(volumes))
    for one, other in zip(plain.parameters(), changed.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)
    plain.load_state_dict(changed.state_dict())


@pytest.mark.parametrize(
    ("device", "precision", "last"), [("cuda", "32", False), ("cuda", "bf16", True)]
)
def test_a_gpu_gets_it_in_half_precision_only(device, precision, last):
    network = Willing((4, 8), convolutions=1)
    lay_out(network, "cpu", "32")
    assert lay_out(network, device, precision) is last
    assert is_last(network.encoders[0][0]) is last


def test_a_network_that_does_not_ask_for_it_is_left_alone():
    network = nn.Sequential(nn.Conv3d(2, 4, 3))
    assert not lay_out(network, "cpu", "32")
    assert not is_last(network[0])
