"""Tiled prediction: the identity comes back, edges are mirrored, memory stays bounded."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryodl.core.volumes.tiles import plan_axis, predict_tiled, predict_tiled_channels
from cryodl.errors import ConfigError, DeviceError


def identity(tiles):
    return tiles


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(30, 130),
    cube=st.integers(16, 64),
    margin=st.integers(0, 12),
    overlap=st.integers(0, 8),
)
def test_weights_add_up_to_one_everywhere(size, cube, margin, overlap):
    axis = plan_axis(size, cube, cube + 2 * overlap + margin, overlap)
    total = np.zeros(size)
    for tile in range(len(axis.starts_px)):
        place, part = axis.kept(tile)
        total[place] += axis.weights[part]
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("cube", [16, 24, 48, 64])
@pytest.mark.parametrize("size", [30, 47, 64, 97, 130])
def test_the_identity_network_returns_the_input(size, cube):
    volume = torch.randn((size, 30, 33), generator=torch.Generator().manual_seed(size))
    result = predict_tiled(
        identity, volume, cube_size_px=cube, tile_size_px=cube + 16, batch_size=3, device="cpu"
    )
    torch.testing.assert_close(result, volume, rtol=0, atol=1e-5)


def test_plan_of_the_original_program():
    axis = plan_axis(100, 64, 80, 7)
    assert len(axis.starts_px) == 2  # ceil(114 / 64)
    assert axis.starts_px == (-15, 49)  # left padding (80 - 64) / 2 + 7
    assert len(axis.weights) == 78
    assert axis.weights[[0, 7, 14, 63, 71]] == pytest.approx([0, 0.5, 1, 1, 0.5])


def test_tiles_beyond_the_edge_show_the_symmetric_padding_of_numpy():
    axis = plan_axis(5, 16, 40, 7)
    padded = np.pad(np.arange(5), (-axis.starts_px[0], 60), mode="symmetric")
    assert np.array_equal(axis.source_indices(0), padded[:40])


def test_a_local_network_gives_the_same_as_on_the_whole_volume():
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).requires_grad_(False)
    volume = torch.randn(40, 35, 50)
    padded = torch.from_numpy(np.pad(volume.numpy(), 1, mode="symmetric"))
    expected = torch.nn.functional.conv3d(padded[None, None], network.weight, network.bias)[0]
    result = predict_tiled_channels(
        network, volume, cube_size_px=16, tile_size_px=32, out_channels=2, device="cpu"
    )
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_evaluation_mode_is_set_and_restored_under_autocast():
    seen = []

    class Network(torch.nn.Module):
        def forward(self, tiles):
            seen.append((self.training, torch.is_inference_mode_enabled()))
            weight = torch.ones(1, 1, 1, 1, 1)
            return torch.nn.functional.conv3d(tiles, weight)

    network = Network().train()
    volume = torch.randn(30, 30, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = predict_tiled(network, volume, cube_size_px=32, tile_size_px=48, device="cpu")
    assert network.training and set(seen) == {(False, True)}
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, volume, rtol=0.01, atol=0.01)


def test_a_memory_mapped_volume_is_read_piece_by_piece_into_a_given_canvas(tmp_path):
    path = tmp_path / "tomogram.npy"
    np.save(path, np.random.default_rng(0).standard_normal((60, 20, 70)).astype(np.float32))
    volume = np.load(path, mmap_mode="r")
    canvas = np.lib.format.open_memmap(
        tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(1, 60, 20, 70)
    )
    largest = 0

    def network(tiles):
        nonlocal largest
        largest = max(largest, tiles.numel())
        return tiles

    fractions = []
    predict_tiled_channels(
        network,
        volume,
        cube_size_px=16,
        tile_size_px=32,
        batch_size=2,
        device="cpu",
        progress=fractions.append,
        canvas=canvas,
    )
    np.testing.assert_allclose(canvas[0], volume, atol=1e-5)
    assert largest == 2 * 32**3
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_the_batch_shrinks_when_memory_runs_out_and_one_tile_too_many_is_an_error():
    batches = []

    def small_device(tiles):
        batches.append(len(tiles))
        if len(tiles) > 2:
            raise torch.OutOfMemoryError("full")
        return tiles

    volume = torch.randn(40, 40, 40)
    sizes = {"cube_size_px": 16, "tile_size_px": 30, "batch_size": 8, "device": "cpu"}
    torch.testing.assert_close(predict_tiled(small_device, volume, **sizes), volume)
    assert batches[:3] == [8, 4, 2]

    def no_device(tiles):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(DeviceError, match="one tile of 30 px"):
        predict_tiled(no_device, volume, **sizes)


@pytest.mark.parametrize(
    ("cube", "tile", "message"),
    [(8, 48, "cube size: found 8 px"), (32, 40, "expected at least 46")],
)
def test_sizes_that_do_not_fit_are_refused(cube, tile, message):
    with pytest.raises(ConfigError, match=message):
        predict_tiled(
            identity, torch.zeros(20, 20, 20), cube_size_px=cube, tile_size_px=tile, device="cpu"
        )


def test_a_network_with_another_output_shape_is_refused():
    with pytest.raises(ConfigError, match=r"found output \(1, 15, 15, 15\)"):
        predict_tiled(
            lambda tiles: tiles[:, :, ::2, ::2, ::2],
            torch.zeros(20, 20, 20),
            cube_size_px=16,
            tile_size_px=30,
            device="cpu",
        )
