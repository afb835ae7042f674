"""The networks: published sizes, shapes, and the guards at the start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryodl.errors import CheckpointError
from cryodl.methods.opus_tomo.density import DensityModel, Scene, load_model, save_model
from cryodl.methods.opus_tomo.model import (
    LatentNetwork,
    NetworkSize,
    build_network,
    parameter_count,
)
from cryodl.methods.opus_tomo.presets import PRESETS, memory_gb

TINY = NetworkSize("compact", 0.25, 3, 2, 16)


def test_published_parameter_counts():
    network = LatentNetwork(NetworkSize("published", 1.0, 4, 4, 160))
    assert parameter_count(network.encoder) == 28_192_752
    assert parameter_count(network.decoder) + parameter_count(network.pose_head) == 33_207_287


@pytest.mark.parametrize("kind", ["published", "compact"])
def test_shapes(kind):
    size = NetworkSize(kind, 1 / 16, 3, 2, 48)
    network = build_network(size, 0)
    mean, log_deviation, raw = network.encoder(torch.randn(4, 28, 28, 28))
    assert mean.shape == log_deviation.shape == raw.shape == (4, 5)
    assert network.decoder(mean[:, :3]).shape == (4, 48, 48, 48)
    assert network.pose_head(mean[:, 3:]).abs().max() == 0  # no correction at first
    assert log_deviation.exp().mean() < 0.1  # little noise at first
    torch.testing.assert_close(mean.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)


def test_same_seed_same_weights_and_global_generator_untouched():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first, second = build_network(TINY, 1), build_network(TINY, 1)
    assert torch.rand(1) == before
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_transposed_convolutions_start_without_checkerboard():
    weight = build_network(TINY, 0).decoder.first[0][0].weight
    assert torch.equal(weight[:, :, 0::2], weight[:, :, 1::2])
    assert weight.std() > 0


def scene(edge):
    rng = np.random.default_rng(0)
    consensus = rng.standard_normal((edge,) * 3).astype(np.float32)
    mask = np.zeros((edge,) * 3, np.float32)
    mask[4:-4, 4:-4, 4:-4] = 1
    return Scene(consensus, mask, np.full(edge // 2 + 1, 2.0, np.float32))


def test_model_round_trip(tmp_path):
    model = DensityModel(build_network(TINY, 0), 20, True)
    model.set_scene(scene(20), 1.0, 8.0)
    model.eval()
    save_model(tmp_path / "m.safetensors", model, {"box_px": 20})
    found, description = load_model(tmp_path / "m.safetensors")
    assert description["box_px"] == 20
    latents = torch.randn(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(found.decode(latents), model.decode(latents))


def test_other_weights_are_refused(tmp_path):
    from cryodl.core.training.weights import save_weights

    save_weights(tmp_path / "other.safetensors", torch.nn.Linear(2, 2), {"a": 1})
    with pytest.raises(CheckpointError, match="another method"):
        load_model(tmp_path / "other.safetensors")


def test_memory_grows_with_what_it_should():
    size = PRESETS["default"].size
    one = memory_gb(size, 61_400_000, 120, 4, 1)
    assert one > 16 * 61.4e6 / 2**30
    assert memory_gb(size, 61_400_000, 120, 8, 1) > one
    assert memory_gb(size, 61_400_000, 120, 4, 7) > one


@pytest.mark.parametrize(
    ("preset", "crop", "batch", "measured"),
    [
        ("demo", 32, 8, 0.143),
        ("demo", 32, 32, 0.259),
        ("small", 64, 2, 0.286),
        ("small", 64, 16, 1.05),
        ("default", 64, 2, 1.786),
        ("default", 120, 2, 2.238),
        ("default", 152, 2, 2.368),
        ("default", 152, 4, 2.817),
        ("default", 152, 8, 4.315),
    ],
)
def test_memory_is_told_within_a_fifth_of_what_was_measured(preset, crop, batch, measured):
    """Peaks of resident memory, GiB, above that of the libraries; two steps on a processor."""
    parameters = {"demo": 486_863, "small": 3_843_859, "default": 61_406_191}[preset]
    told = memory_gb(PRESETS[preset].size, parameters, crop, batch, 1)
    assert told == pytest.approx(measured, rel=0.2)


def test_noise_of_any_spectrum_is_white_for_the_encoder():
    """Noise with more power at low frequencies must not drown what changes there."""
    c = 16
    noise = (1 + 20 / (1 + np.arange(c // 2 + 1))).astype(np.float32)  # power by shell
    size = NetworkSize("compact", 0.5, 2, 0, c)
    model = DensityModel(build_network(size, 0), c, False)
    ones = np.ones((c, c, c), np.float32)
    model.set_scene(Scene(np.random.default_rng(0).random((c, c, c)), ones, noise), 0.0, 5.0)
    generator = torch.Generator().manual_seed(0)
    white = torch.fft.rfftn(torch.randn(40, c, c, c, generator=generator), dim=(1, 2, 3))
    coloured = white / model.whitening.sqrt()
    data, weight = model.whitened(coloured, torch.ones_like(white.real))
    power = torch.fft.rfftn(model.encoder_input(data, weight), dim=(1, 2, 3)).abs().square()
    low, high = (
        power[..., (model.whitening > limit[0]) & (model.whitening <= limit[1])].mean()
        for limit in ((0.0, 0.15), (0.25, 1.0))
    )
    assert 0.8 < low / high < 1.25
