"""Weights for others: exact round trip, metadata, and one line about what does not fit."""

import pytest
import torch

from cryodl.core.networks.unet import UNet3D
from cryodl.core.training.weights import load_weights, read_metadata, save_weights
from cryodl.errors import CheckpointError


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    network = UNet3D((2, 4))
    network(torch.randn(2, 1, 4, 4, 4))  # moves the running statistics, which must be saved too
    path = tmp_path / "model.safetensors"
    save_weights(path, network, {"width": 2, "norm": "batch"})
    return path, network


def test_round_trip_is_exact(saved):
    path, network = saved
    other = UNet3D((2, 4))
    assert load_weights(path, other) == {"width": 2, "norm": "batch"} == read_metadata(path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_shared_weights_can_be_saved(tmp_path):
    first = torch.nn.Linear(2, 2)
    tied = torch.nn.Sequential(first, first)
    save_weights(tmp_path / "tied.safetensors", tied, {})
    other = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    load_weights(tmp_path / "tied.safetensors", other)
    assert torch.equal(other[1].weight, first.weight)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: UNet3D((2, 4, 4)), r"missing \(encoders.1.*expected those of this network"),
        (lambda: UNet3D((2, 4), norm="instance"), r"unexpected \(decoders.0.1.num_batches_tracked"),
        (lambda: UNet3D((3, 4)), r"found entry.weight of shape \(2, 1, 3, 3, 3\), expected \(3"),
    ],
)
def test_another_network_is_refused_and_left_as_it_was(saved, network, message):
    other = network()
    before = other.entry.weight.clone()
    with pytest.raises(CheckpointError, match=message) as error:
        load_weights(saved[0], other)
    assert "\n" not in str(error.value)
    assert torch.equal(other.entry.weight, before)


def test_files_that_are_not_ours_are_refused(tmp_path, saved):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved[0].read_bytes()[:-100])
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not a model at all" * 20)
    for path in (cut, garbage, tmp_path / "absent.safetensors"):
        with pytest.raises(CheckpointError, match=f"{path.name}: cannot be read"):
            load_weights(path, UNet3D((2, 4)))
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="without our header"):
        read_metadata(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("name", ["net.pt", "model_last.pth", "model.H5", "weights.5.pkl"])
def test_networks_of_other_programs_are_refused_with_a_reason(tmp_path, name):
    torch.save({"w": torch.zeros(2)}, tmp_path / name)
    with pytest.raises(CheckpointError, match="network of another program.*train again"):
        read_metadata(tmp_path / name)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_metadata(tmp_path / "absent.pt")
