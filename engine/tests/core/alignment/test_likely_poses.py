"""Look-alike turns are found and tried, blurred poses are averaged, rough look-ups are near."""

import numpy as np
import torch

from cryodl.core.alignment.aligner import Aligner
from cryodl.core.alignment.candidates import Candidates
from cryodl.core.alignment.expectation import expected_pose
from cryodl.core.alignment.lookalikes import chosen_lookalikes, with_lookalikes
from cryodl.core.alignment.reference import MapReference, TransformLookup
from cryodl.core.alignment.refinement import Step, shift_search
from cryodl.core.alignment.rotation_grid import rotation_vectors_to_matrices
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, observe
from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    random_rotations,
    rotate_volume,
)

N = 20


def phantom(seed=3):
    rng, axis = np.random.default_rng(seed), np.arange(N) - N // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((N, N, N))
    for centre in rng.uniform(-N / 5, N / 5, (12, 3)):
        d2 = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        volume += rng.uniform(0.5, 1.5) * np.exp(-d2 / 3.4)
    return volume.astype(np.float32)


def tensors(rotations, shifts):
    rotations, shifts = (torch.as_tensor(np.array(v)).float() for v in (rotations, shifts))
    return Candidates(rotations, shifts, torch.zeros(shifts.shape[:2]))


def test_rough_values_are_those_of_the_nearest_frequency():
    volume, points = phantom(), FourierPoints(N, 6)
    lookup = TransformLookup(volume, 6)
    turns = torch.as_tensor(random_rotations(4, np.random.default_rng(0))).float()
    rough = lookup.turned(points.xyz, turns, True)
    exact = lookup.turned(points.xyz, turns, False)
    upright = torch.eye(3)[None]
    torch.testing.assert_close(
        lookup.turned(points.xyz, upright, True), lookup.turned(points.xyz, upright, False)
    )
    error = (rough - exact).abs().square().sum() / exact.abs().square().sum()
    assert 1e-6 < error < 0.05


def test_shifts_are_found_without_turning():
    volume, points = phantom(), FourierPoints(N, N // 2 - 1)
    moved = rotate_volume(volume, np.eye(3), translation_px=[-1.0, 0.0, 0.5], order=3)
    seen = observe(points, moved[None])
    start = tensors([[np.eye(3)] * 2], [[[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]])
    start.scores[0, 1] = -torch.inf
    step = Step(0.0, 0.5, len(points), 4.0)
    reference = MapReference(volume, points)
    found = shift_search(reference, reference.matched(seen), start, step)
    np.testing.assert_allclose(found.shifts[0, 0], [1.0, 0.0, -0.5], atol=1e-6)
    # What was left out stays as it was.
    assert found.scores[0, 1] == -torch.inf and found.scores[0, 0] > 0
    np.testing.assert_allclose(found.shifts[0, 1], 0)


def test_a_pseudo_twofold_is_known_and_its_other_pose_tried():
    half = phantom(5)
    turn = np.diag([-1.0, -1.0, 1.0])
    volume = half + 0.6 * rotate_volume(half, turn, order=3)
    points = FourierPoints(N, N // 2 - 1)
    aligner = Aligner(MapReference(volume, points), SearchSettings(rotations=1152, max_shift_px=2))
    rotation = random_rotations(1, np.random.default_rng(1))[0]
    seen = observe(points, rotate_volume(volume, rotation, order=3)[None])
    # The search begins at the wrong one of the two and is not to leave it.
    start = {"rotations": (rotation @ turn)[None], "shifts_px": np.zeros((1, 3))}
    found = aligner.align(seen, "refine", **start)
    assert angular_distance_degrees(found.rotations[0], rotation) < 3
    assert 0 < found.margin[0] < 0.3 * found.score[0]
    plain = Aligner(MapReference(phantom(), points), SearchSettings(max_shift_px=2))
    plain.align(observe(points, phantom()[None]), "auto")
    assert plain.alike is None and aligner.alike is not None


def test_lookalikes_are_chosen_and_put_after_the_pose():
    turns = rotation_vectors_to_matrices(
        np.deg2rad([[0, 0, 0], [0, 0, 90], [0, 20, 0], [80, 0, 0]])
    )
    moves = np.array([[0.0] * 3, [1.0, 0, 0], [0.0] * 3, [0.0] * 3])
    found = tensors(turns[None], moves[None])
    found = found._replace(scores=torch.tensor([[10.0, 8.0, 9.0, 2.0]]))
    group = torch.eye(3)[None].double()
    alike = chosen_lookalikes(found, 10.0, group)
    assert alike is not None and alike.scores.tolist() == [[8.0]]
    pose = tensors([[turns[3]]], [[[0.0, 0.0, 2.0]]])
    other = with_lookalikes(pose, alike)
    np.testing.assert_allclose(other.rotations[0, 0], turns[3] @ turns[1], atol=1e-6)
    np.testing.assert_allclose(other.shifts[0, 0], [1.0, 0.0, 2.0], atol=1e-6)
    assert chosen_lookalikes(found, 100.0, group) is None


def test_the_mean_pose_is_nearer_than_where_it_began():
    volume, points = phantom(), FourierPoints(N, N // 2 - 1)
    rng = np.random.default_rng(4)
    noisy = volume + 1.2 * volume.std() * rng.standard_normal((6, N, N, N))
    seen = observe(points, noisy.astype(np.float32))
    off = rotation_vectors_to_matrices(np.deg2rad(rng.normal(0, 3, (6, 3))))
    start = tensors(off[:, None], np.zeros((6, 1, 3)))
    step = Step(0.0, 0.4, len(points), 3.0)
    reference = MapReference(volume, points)
    matched = reference.matched(seen)
    found = expected_pose(reference, matched, start, torch.full((6,), 4.0), step)
    before = angular_distance_degrees(off, np.eye(3))
    after = angular_distance_degrees(found.rotations[:, 0].double().numpy(), np.eye(3))
    assert after.mean() < 0.7 * before.mean()
