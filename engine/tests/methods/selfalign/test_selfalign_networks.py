"""Networks have the published sizes; pairs are what their labels say; losses know symmetry."""

import numpy as np
import pytest
import torch
from alignment_cases import phantom

from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import angular_distance_degrees, random_rotations, rotate_volume
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError
from cryodl.methods.selfalign.data import PairSettings, PairSource
from cryodl.methods.selfalign.evaluate import read_legacy_poses
from cryodl.methods.selfalign.losses import PoseStep, pose_losses
from cryodl.methods.selfalign.model import (
    build_network,
    count_parameters,
    pooling_matrix,
    published_pose,
    rotation_of_six,
)


def test_the_published_network_has_its_parameters():
    network = build_network("gumnet", 4.0)
    assert count_parameters(network, with_statistics=True) == 110_081_478
    assert count_parameters(network) == 110_069_318


@pytest.mark.parametrize(
    ("preset", "count"), [("small", 1_187_209), ("tiny", 529_929), ("refcnn", 1_232_249)]
)
def test_own_networks_have_their_parameters_and_answer_poses(preset, count):
    network = build_network(preset, 2.0).eval()
    assert count_parameters(network) == count
    boxes = torch.randn(2, 1, 16, 16, 16)
    rotations, shifts = network(boxes, boxes)
    identity = rotations @ rotations.transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand(2, 3, 3), atol=1e-5, rtol=0)
    assert shifts.abs().max() <= 2
    with pytest.raises(ConfigError, match="preset"):
        build_network("large", 2.0)


def test_spectral_pooling_keeps_smooth_lines():
    np.testing.assert_allclose(pooling_matrix(7, 7, 7), np.eye(7), atol=1e-12)
    line = np.cos(np.pi * (np.arange(30) + 0.5) / 30)
    shrunk = pooling_matrix(30, 26, 22) @ line
    # The same cosine, at fewer places; without a factor for their number, as published.
    expected = np.cos(np.pi * (np.arange(26) + 0.5) / 26) * np.sqrt(30 / 26)
    np.testing.assert_allclose(shrunk, expected, atol=1e-12)


def test_published_answers_are_the_poses_of_published_lists(tmp_path):
    unit = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    rotations, _ = published_pose(unit.double(), 4.0)
    angles = (2 * unit[:, :3].double() - 1) * np.pi
    lines = ["a.mrc\tb.mrc\t" + "\t".join(f"{v:.12f}" for v in row) + "\t0\t0\t0" for row in angles]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = read_legacy_poses(tmp_path / "list.txt")
    np.testing.assert_allclose(rotations.numpy(), found.rotations, atol=1e-6)
    # Turning about (n - 1) / 2 is turning about n / 2 and moving.
    half = np.full(3, 0.5)
    np.testing.assert_allclose(
        found.shifts_px, np.einsum("nij,j->ni", found.rotations, half) - half, atol=1e-9
    )


def pairs(**others):
    settings = {"box_px": 16, "max_shift_px": 1.5, "batch_size": 8, "snr_range": (1e5, 1e6)}
    return PairSettings(**{**settings, **others})


def test_labels_are_what_turns_the_template_into_the_particle():
    source = PairSource(pairs(), phantom(n=16), None, None)
    batch = source.batch(0, 0, 0, 1)
    template = batch["template"][0, 0].numpy()
    for i in range(4):
        moved = rotate_volume(
            template,
            batch["rotation"][i].double().numpy(),
            translation_px=-batch["shift"][i].numpy(),
            order=3,
        )
        particle = batch["particle"][i, 0].numpy()
        middle = (slice(3, 13),) * 3
        assert np.corrcoef(moved[middle].ravel(), particle[middle].ravel())[0, 1] > 0.97


def test_rotations_are_uniform_or_within_the_cone():
    batch = PairSource(pairs(cone_degrees=40.0), phantom(n=16)).batch(0, 0, 0, 1)
    angles = angular_distance_degrees(batch["rotation"].double().numpy().round(9), np.eye(3))
    assert angles.max() < 40.1
    many = PairSettings(16, 1.0, batch_size=256)
    batch = PairSource(many, phantom(n=16)).batch(0, 0, 0, 1)
    traces = batch["rotation"].diagonal(dim1=1, dim2=2).sum(1)
    angles = np.rad2deg(np.arccos(np.clip((traces.numpy() - 1) / 2, -1, 1)))
    assert abs(angles.mean() - 126.5) < 6


def test_members_have_noise_of_their_own_and_batches_differ():
    settings = PairSettings(16, 0.0, batch_size=32, snr_range=(1e-4, 1.1e-4), fixed_template=False)
    source = PairSource(settings, phantom(n=16), None, missing_wedge(16, -60, 60))
    first, again, other = (source.batch(step, 0, 0, 1) for step in (0, 0, 1))
    torch.testing.assert_close(first["particle"], again["particle"])
    assert not torch.equal(first["particle"], other["particle"])
    a, b = first["particle"].flatten(), first["template"].flatten()
    assert abs(np.corrcoef(a.numpy(), b.numpy())[0, 1]) < 0.035
    seen = [source.batch(step, 0, 0, 1)["rotation"][0] for step in range(16)]
    assert len({tuple(r.flatten().tolist()) for r in seen}) == 16


def test_loss_is_zero_for_equivalent_poses():
    group = torch.as_tensor(symmetry_matrices("D3")).float()
    true = torch.as_tensor(random_rotations(4, np.random.default_rng(0))).float()
    zero = torch.zeros(4, 3)
    turn, move = pose_losses(true @ group[4], zero + 1, true, zero, group)
    assert turn < 1e-5 and move == pytest.approx(3)
    turn, _ = pose_losses(true @ group[4], zero, true, zero, torch.eye(3)[None])
    assert turn > 0.5
    six = rotation_of_six(torch.randn(3, 6))
    assert torch.linalg.det(six).allclose(torch.ones(3), atol=1e-5)


def test_a_few_steps_make_the_loss_fall():
    settings = PairSettings(16, 1.0, cone_degrees=30, snr_range=(5, 10), batch_size=16, seed=1)
    source = PairSource(settings, phantom(n=16))
    step = PoseStep(build_network("refcnn", 1.0), torch.eye(3)[None], 0.25)
    optimizer = torch.optim.AdamW(step.parameters(), lr=1e-3)
    losses = []
    for number in range(30):
        optimizer.zero_grad()
        loss = step(source.batch(number, 0, 0, 1))["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:4])
