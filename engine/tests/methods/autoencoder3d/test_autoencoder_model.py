"""The networks: published parameter counts, shapes, files."""

import pytest
import torch

from cryodl.core.training.weights import save_weights
from cryodl.errors import CheckpointError, ConfigError, InputError
from cryodl.methods.autoencoder3d.model import (
    AutoencoderSize,
    SegmentSize,
    build_autoencoder,
    build_segmentation,
    load_autoencoder,
    load_segmentation,
    save_network,
)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts():
    network = build_autoencoder(AutoencoderSize("paper", 32))
    assert count(network) == 1_149_793
    assert (count(network.encoder), count(network.decoder)) == (552_896, 596_897)
    for classes in (2, 3, 7):
        assert (
            count(build_segmentation(SegmentSize("paper", classes, 32))) == 111_616 + 33 * classes
        )


@pytest.mark.parametrize(
    ("preset", "box"), [("paper", 16), ("base", 24), ("base", 20), ("tiny", 16), ("tiny", 12)]
)
def test_boxes_come_back_in_their_size(preset, box):
    network = build_autoencoder(AutoencoderSize(preset, box))
    decoded, codes = network(torch.randn(2, box, box, box))
    assert decoded.shape == (2, box, box, box) and codes.shape == (2, network.size.code)
    assert (codes.min() >= 0) == (preset == "paper")


@pytest.mark.parametrize("preset", ["paper", "base", "tiny"])
def test_segmentation_takes_any_multiple_of_four(preset):
    network = build_segmentation(SegmentSize(preset, 3))
    assert network(torch.randn(1, 8, 12, 16)).shape == (1, 3, 8, 12, 16)


def test_bad_boxes_are_refused():
    with pytest.raises(ConfigError, match="multiple of 4"):
        build_autoencoder(AutoencoderSize("tiny", 18))


def test_a_seed_repeats_and_files_give_the_network_back(tmp_path):
    first = build_autoencoder(AutoencoderSize("tiny", 16), 3)
    save_network(tmp_path / "a.safetensors", first, {"pose": "full"})
    again, described = load_autoencoder(tmp_path / "a.safetensors")
    volumes = torch.randn(2, 16, 16, 16)
    assert described["pose"] == "full"
    assert torch.equal(first(volumes)[0], again(volumes)[0])
    other = build_autoencoder(AutoencoderSize("tiny", 16), 4)
    assert not torch.equal(first(volumes)[0], other(volumes)[0])


def test_other_models_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_network(path, build_segmentation(SegmentSize("tiny", 2)), {})
    with pytest.raises(CheckpointError, match="expected one of autoencoder3d train"):
        load_autoencoder(path)
    assert load_segmentation(path)[0].size == SegmentSize("tiny", 2)
    save_weights(path, torch.nn.Linear(2, 2), {"method": "cet_pick"})
    with pytest.raises(CheckpointError, match="cet_pick"):
        load_segmentation(path)
    (tmp_path / "m.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="another program"):
        load_autoencoder(tmp_path / "m.h5")
    with pytest.raises(InputError, match="no such file"):
        load_autoencoder(tmp_path / "none.safetensors")
