"""The published networks, and the file a model is given to others in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cryodl.errors import CheckpointError, InputError
from cryodl.methods.cet_pick.model import NetworkSize, build_network, load_network, save_network

SMALL = NetworkSize("unet_3", width=8, head_width=8, embedding=8)


@pytest.mark.parametrize(
    ("size", "published"),
    [
        (NetworkSize("unet_3"), 531_408),
        (NetworkSize("unet_4"), 1_991_504),
        (NetworkSize("unet_5"), 7_828_048),
        (NetworkSize("ressmall_18"), 880_033),
        (NetworkSize("ressmall_18", last_kernel=5), 929_185),
        (NetworkSize("ressmall_18", last_kernel=7), 1_002_913),
    ],
)
def test_networks_have_the_published_number_of_parameters(size: NetworkSize, published: int):
    network = build_network(size)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == published


@pytest.mark.parametrize("architecture", ["unet_3", "ressmall_18"])
def test_odd_slices_give_a_heat_map_of_half_the_size_rounded_up(architecture):
    network = build_network(NetworkSize(architecture, kinds=2)).eval()
    logits, vectors = network(torch.zeros(1, 5, 33, 46))
    assert logits.shape == (1, 2, 5, 17, 23)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(1, 5, 17, 23), atol=1e-4) or (
        vectors.abs().max() == 0
    )


def test_the_unet_starts_with_every_probability_at_one_half():
    logits, _ = build_network(NetworkSize("unet_3"))(torch.randn(1, 4, 32, 32))
    assert logits.abs().max() < 0.01


def test_a_voxel_reaches_three_working_slices_up_and_down():
    network = build_network(SMALL).eval()
    for parameter in network.head.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    torch.nn.init.constant_(network.heat_map.weight, 0.1)
    quiet, lit = torch.zeros(1, 15, 32, 32), torch.zeros(1, 15, 32, 32)
    lit[0, 7] = 1
    with torch.inference_mode():
        change = (network.logits(lit) - network.logits(quiet)).abs().amax((0, 1, 3, 4))
    assert [bool(c) for c in change > 1e-7] == [False] * 4 + [True] * 7 + [False] * 4


def test_a_model_file_gives_the_same_network_back(tmp_path: Path):
    network = build_network(SMALL, seed=3).eval()
    save_network(tmp_path / "model.safetensors", network, {"bbox_px": 16.0})
    found, description = load_network(tmp_path / "model.safetensors")
    values = torch.randn(1, 4, 32, 32)
    assert torch.equal(found(values)[0], network(values)[0])
    assert description["bbox_px"] == 16.0


def test_models_of_others_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="pickled model"):
        load_network(tmp_path / "model_last_contrastive.pth")
    with pytest.raises(InputError, match="no such file"):
        load_network(tmp_path / "model.safetensors")
    save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError):
        load_network(tmp_path / "other.safetensors")
