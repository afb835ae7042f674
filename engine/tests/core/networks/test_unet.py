"""The U-Net: the published parameter counts, the identity at zero weights, wrong sizes."""

import pytest
import torch

from cryodl.core.networks.unet import UNET_WIDTHS, UNet3D, count_parameters
from cryodl.errors import ConfigError


@pytest.mark.parametrize(("width", "expected"), [(64, 23764737), (32, 8297921), (16, 2076129)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_published_parameter_counts(width, expected, norm):
    with torch.device("meta"):
        assert count_parameters(UNet3D(UNET_WIDTHS[width], norm=norm)) == expected


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_zero_weights_return_the_input(norm):
    network = UNet3D((4, 6, 8), norm=norm)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    volumes = torch.randn(2, 1, 8, 12, 16)
    assert torch.equal(network(volumes), volumes)


def test_layers_match_a_direct_computation_of_one_level():
    torch.manual_seed(0)
    network = UNet3D((3, 5), convolutions=1, norm="instance", residual=False).eval()
    volumes = torch.randn(1, 1, 4, 4, 4)
    entry = network.entry(volumes)
    skip = network.encoders[0](entry)
    middle = network.middle(network.halvings[0](skip))
    joined = torch.cat([skip, network.doublings[0](middle)], dim=1)
    joined = torch.where(joined > 0, joined, 0.01 * joined)
    expected = network.exit(network.decoders[0](joined))
    torch.testing.assert_close(network(volumes), expected)


def test_the_last_voxel_of_the_receptive_field_counts_and_gradients_reach_every_weight():
    torch.manual_seed(0)
    network = UNet3D((2, 4, 6), norm="instance")
    volumes = torch.randn(1, 1, 16, 16, 16)
    network(volumes).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_shapes_with_other_channels_and_convolutions():
    network = UNet3D((4, 8), convolutions=2, residual=False, in_channels=2, out_channels=3)
    assert network.depth == 1
    assert network(torch.randn(2, 2, 4, 6, 8)).shape == (2, 3, 4, 6, 8)


def test_instance_norm_does_not_see_the_other_cubes_of_a_batch():
    torch.manual_seed(0)
    network = UNet3D((2, 4), norm="instance")
    volumes = torch.randn(3, 1, 8, 8, 8)
    alone = network(volumes[1:2])
    torch.testing.assert_close(network(volumes)[1:2], alone, rtol=1e-4, atol=1e-5)


def test_a_size_that_does_not_divide_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"20x20x20 px, expected edges divisible by 8"):
        UNet3D((2, 2, 2, 2))(torch.zeros(1, 1, 20, 20, 20))


def test_training_on_a_single_voxel_is_refused_and_prediction_is_not():
    network = UNet3D((2, 2, 2), norm="batch")
    with pytest.raises(ConfigError, match="at least 8 px for training"):
        network(torch.zeros(1, 1, 4, 4, 4))
    assert network.eval()(torch.zeros(1, 1, 4, 4, 4)).shape == (1, 1, 4, 4, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"widths": (4,)},
        {"norm": "group"},
        {"convolutions": 0},
        {"in_channels": 2, "out_channels": 1},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ConfigError, match="expected"):
        UNet3D(**{"widths": (2, 4), **arguments})
