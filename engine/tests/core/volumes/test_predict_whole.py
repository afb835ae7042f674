"""A network over a small volume at once, padded by its mirror image."""

import numpy as np
import pytest
import torch
from torch import nn

from cryodl.core.volumes.tiles import predict_tiled, predict_whole


class NeedsMultiples(nn.Module):
    """Doubles its input, and notes the shapes and the mode it was called with."""

    def __init__(self, multiple):
        super().__init__()
        self.multiple = multiple
        self.calls = []

    def forward(self, cubes):
        assert all(edge % self.multiple == 0 for edge in cubes.shape[2:])
        self.calls.append((tuple(cubes.shape), self.training, torch.is_inference_mode_enabled()))
        return 2 * cubes


@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 9, 9), (15, 15, 15), (30, 33, 25)])
def test_the_identity_returns_its_input(shape):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = predict_whole(nn.Identity(), volume, multiple=8, device="cpu")
    assert torch.equal(found, volume)
    assert found.dtype == torch.float32 and found.is_contiguous()


def test_edges_are_padded_to_the_multiple_by_the_mirror_image():
    seen = []

    class Keep(nn.Module):
        def forward(self, cubes):
            seen.append(cubes[0, 0].clone())
            return cubes

    volume = torch.arange(5 * 4 * 4, dtype=torch.float32).reshape(5, 4, 4)
    predict_whole(Keep(), volume, multiple=4, device="cpu")
    assert seen[0].shape == (8, 4, 4)
    expected = np.pad(volume.numpy(), ((0, 3), (0, 0), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(seen[0].numpy(), expected)


@pytest.mark.parametrize("training", [True, False])
def test_runs_once_in_evaluation_mode_and_puts_the_mode_back(training):
    network = NeedsMultiples(8).train(training)
    volume = torch.randn(9, 16, 17, generator=torch.Generator().manual_seed(1))
    found = predict_whole(network, volume, multiple=8, device="cpu")
    assert network.calls == [((1, 1, 16, 16, 24), False, True)]
    assert network.training is training
    torch.testing.assert_close(found, 2 * volume)


def test_equals_tiles_of_a_network_that_sees_little():
    torch.manual_seed(0)
    network = nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate")
    volume = torch.randn(16, 16, 16)
    whole = predict_whole(network, volume, multiple=8, device="cpu")
    tiled = predict_tiled(network, volume, cube_size_px=16, tile_size_px=32, device="cpu")
    torch.testing.assert_close(whole, tiled, rtol=0, atol=1e-5)


def test_the_mode_is_put_back_after_a_failure():
    class Fails(nn.Module):
        def forward(self, cubes):
            raise RuntimeError("broken")

    network = Fails().train()
    with pytest.raises(RuntimeError, match="broken"):
        predict_whole(network, torch.zeros(8, 8, 8), multiple=8, device="cpu")
    assert network.training
