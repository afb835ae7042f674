"""Losses: the wedge in turned frames, Parseval, what does not count."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from cryodl.core.fourier.wedge import missing_wedge, rotate_wedge
from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d.losses import (
    IGNORED,
    AutoencoderStep,
    SegmentationStep,
    WedgeWeight,
    class_weights,
    dice_loss,
    wedge_error,
)
from cryodl.methods.autoencoder3d.model import (
    AutoencoderSize,
    SegmentSize,
    build_autoencoder,
    build_segmentation,
)
from cryodl.methods.autoencoder3d.recordings import Recordings


def weight_of(n=16, low=-60.0, high=50.0, rotation=None):
    recordings = Recordings([(low, high, 90.0)], np.zeros(1, dtype=np.int64))
    wedge = WedgeWeight(n, torch.from_numpy(recordings.normals()))
    turn = np.eye(3) if rotation is None else rotation
    return wedge, wedge(torch.tensor([0]), torch.from_numpy(turn[None]).float())


def half(centred):
    n = centred.shape[0]
    return np.fft.ifftshift(centred)[:, :, : n // 2 + 1]


def test_the_wedge_is_that_of_the_core():
    _, found = weight_of()
    wanted = half(missing_wedge(16, -60, 50))
    inside = np.ones_like(wanted, dtype=bool)
    inside[8], inside[:, 8], inside[:, :, 8] = False, False, False  # Nyquist planes are both signs
    assert np.allclose(found[0].numpy()[inside], wanted[inside], atol=1e-5)


def test_the_wedge_turns_with_the_particle():
    rotation = random_rotations(1, np.random.default_rng(0))[0]
    _, found = weight_of(rotation=rotation)
    # x_particle = A x: in the standard frame the wedge is turned back.
    wanted = half(rotate_wedge(missing_wedge(16, -60, 50), rotation.T))
    near = half(np.linalg.norm(np.indices((16,) * 3) - 8, axis=0) < 7)
    assert np.corrcoef(found[0].numpy()[near], wanted[near])[0, 1] > 0.98


def test_everything_measured_is_the_squared_error():
    a, b = torch.randn(3, 12, 12, 12), torch.randn(3, 12, 12, 12)
    wedge, _ = weight_of(12)
    whole = torch.ones(3, 12, 12, 7)
    assert wedge_error(a, b, whole, wedge.counts) == pytest.approx(
        float(functional.mse_loss(a, b)), rel=1e-5
    )


def test_what_was_not_measured_costs_nothing():
    wedge, weight = weight_of()
    noise = torch.fft.rfftn(torch.randn(1, 16, 16, 16), dim=(1, 2, 3))
    unseen = torch.fft.irfftn(noise * (weight == 0), s=(16, 16, 16), dim=(1, 2, 3))
    zero = torch.zeros_like(unseen)
    assert unseen.std() > 0.1
    assert wedge_error(zero, unseen, weight, wedge.counts) < 1e-3 * unseen.var()


def test_terms_of_the_autoencoder():
    network = build_autoencoder(AutoencoderSize("tiny", 16))
    batch = {"volumes": torch.randn(4, 16, 16, 16)}
    batch["turned"] = batch["volumes"].clone()
    plain = AutoencoderStep(network, 0.0)(batch)
    assert plain["loss"] == plain["error"] and "invariance" not in plain
    same = AutoencoderStep(network, 1.0, rotinv=1.0)(batch)
    size = network.encode(batch["volumes"]).abs().sum(dim=1).mean()
    assert same["invariance"] == 0
    assert torch.allclose(same["loss"], plain["error"] + size)
    batch["turned"] = batch["volumes"].flip(1)
    assert AutoencoderStep(network, 0.0, rotinv=1.0)(batch)["invariance"] > 0


def test_ignored_voxels_do_not_count():
    step = SegmentationStep(build_segmentation(SegmentSize("tiny", 3)), torch.ones(3))
    volumes, labels = torch.randn(1, 8, 8, 8), torch.randint(0, 3, (1, 8, 8, 8))
    labels[:, :4] = IGNORED
    before = step({"volumes": volumes, "labels": labels})
    logits = step.network(volumes)
    cut = functional.cross_entropy(logits[:, :, 4:], labels[:, 4:])
    assert torch.allclose(before["cross_entropy"], cut)
    assert torch.allclose(before["dice"], dice_loss(logits[:, :, 4:], labels[:, 4:]))


def test_perfect_overlap_costs_nothing_and_rare_classes_weigh_more():
    labels = torch.randint(0, 3, (1, 8, 8, 8))
    logits = 50.0 * functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert dice_loss(logits, labels) < 1e-5
    assert dice_loss(logits.roll(1, dims=1), labels) > 0.9
    weights = class_weights(torch.tensor([9000, 900, 1]))
    assert weights[0] == 1 and weights[1] == pytest.approx(10**0.5, rel=1e-4) and weights[2] == 20
