"""Groups by likelihood: mirror images, mixed up groups, how many there are, poses."""

import numpy as np
import pytest
import torch
from subvolume_cases import particles, shape, turned

from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d import mixture_groups
from cryodl.methods.autoencoder3d.averages import Poses, average_boxes, upright, working_boxes
from cryodl.methods.autoencoder3d.data import standardised
from cryodl.methods.autoencoder3d.mixture import (
    AROUND,
    Mixture,
    expect,
    learn,
    maximise,
    mixture_of_groups,
    total_power,
)
from cryodl.methods.autoencoder3d.mixture_groups import Particles, merge_groups, refine_groups
from cryodl.methods.autoencoder3d.resolution import Resolution, observe

OPEN = np.ones((1, 16, 16, 16), np.float32)


def as_particles(boxes, wedges=OPEN, kinds=None):
    kinds = np.zeros(len(boxes), np.int64) if kinds is None else kinds
    return Particles(np.stack([standardised(box) for box in boxes]), wedges, kinds)


def correlation(first, second):
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_a_turned_map_fits_in_its_pose_and_sums_give_it_back():
    at = Resolution(16, 4, 1152)
    volume = shape(1)
    rotation = at.grid[77].double().numpy()
    box = turned(volume, rotation, (1, 0, 0))[None].astype(np.float32)
    seen = observe(at, box, OPEN, np.zeros(1, np.int64))
    mixture = Mixture([volume], total_power(at, seen) * 0.05, np.ones(1))
    found, sums = expect(at, seen, mixture, np.zeros((1, 3)))
    assert np.allclose(found.rotations[0], rotation) and found.centres_px[0].tolist() == [1, 0, 0]
    # One direction of a particle is all that there is: as many numbers as points, no noise.
    values, weights = at.insert(sums.values[0], sums.weights[0])
    back = at.volume(values / weights.clamp(min=1e-3))
    assert correlation(back, volume) > 0.9


@pytest.mark.parametrize("edge", ["hard", "soft"])
def test_noise_is_measured_right_whatever_the_edge_of_the_wedge_and_where_noise_lies(edge):
    # Through a wedge of another make than ours, and noise that was never in it.
    rng, at, wedge = np.random.default_rng(8), Resolution(16, 3, 1152), missing_wedge(16, -60, 60)
    through = (wedge > 0.99).astype(np.float32) if edge == "hard" else wedge
    turns = at.grid.double().numpy()[::57]
    boxes = np.stack([turned(shape(1), turn) for turn in turns])
    boxes = np.stack([apply_transfer(box, through) for box in boxes])
    boxes = (boxes + rng.normal(0, 1, boxes.shape)).astype(np.float32)
    seen = observe(at, boxes, wedge[None], np.zeros(len(boxes), np.int64))
    mixture = Mixture([shape(1)], torch.ones(4), np.ones(1))
    found, sums = expect(at, seen, mixture, np.zeros((len(boxes), 3)))
    assert found.chances.shape == (len(boxes), 1)
    noise = maximise(at, sums, found.chances).noise[1:]
    # In the first shell there is also what a map within its ball cannot be.
    assert noise[0] < 2.1 and torch.allclose(noise[1:], torch.ones(2), rtol=0.25), noise


def test_the_probabilities_of_a_particle_are_one():
    boxes, _ = particles((6, 6), noise=1.0)
    at = Resolution(16, 3, 300)
    seen = observe(at, boxes, OPEN, np.zeros(12, np.int64))
    mixture = Mixture([shape(0), shape(1)], total_power(at, seen), np.full(2, 0.5))
    found, sums = expect(at, seen, mixture, np.zeros((12, 3)))
    assert np.allclose(found.chances.sum(axis=1), 1, atol=1e-4)
    counted = sum(float(weights[:, 0].sum()) for weights in sums.weights)
    assert counted == pytest.approx(12, rel=1e-4)
    assert sum(float(v.abs().sum()) for v in sums.values) > 0
    assert not torch.isnan(sums.residual).any()


def test_mirror_images_are_told_apart_and_never_mirrored():
    rng = np.random.default_rng(5)
    truth = rng.permutation(np.repeat([0, 1], 20))
    pair = [shape(1), shape(1)[:, :, ::-1]]
    # The plate is its own mirror image but for a knob out of its plane.
    pair[0][10:13, 6:8, 5:7] += 3
    pair[1] = pair[0][:, :, ::-1].copy()
    boxes = np.stack(
        [
            turned(pair[kind], rotation) + rng.normal(0, 0.3, (16,) * 3)
            for kind, rotation in zip(truth, random_rotations(40, rng), strict=True)
        ]
    )
    start = rng.integers(2, size=40)
    many = rng.integers(4, size=40)
    found = refine_groups(as_particles(boxes), start, many, 2, rounds=8, rotations=768, seed=1)
    assert adjusted_rand_index(truth, found.labels) > 0.8 and found.better
    assert np.allclose(np.linalg.det(found.rotations), 1)


def test_mixed_groups_are_mended_through_two_kinds_of_wedge():
    boxes, truth = particles((24, 16), noise=1.0)
    wedges = np.stack([missing_wedge(16, -60, 60), missing_wedge(16, -40, 60)])
    start = truth.copy()
    start[::6] = 1 - start[::6]
    kinds = np.arange(40) % 2
    found = refine_groups(
        as_particles(boxes, wedges, kinds), start, start, 2, rounds=6, rotations=576, seed=0
    )
    assert adjusted_rand_index(truth, start) < 0.6
    assert adjusted_rand_index(truth, found.labels) > 0.8
    assert found.merges[-1].groups == 2 and found.merges[-1].ratio > 1


def test_groups_of_one_structure_are_merged():
    boxes, truth = particles((28, 20), noise=1.0, seed=3)
    many = truth * 2 + np.arange(48) % 2
    found = refine_groups(as_particles(boxes), truth, many, None, rounds=4, rotations=576, seed=0)
    assert found.labels.max() == 1 and adjusted_rand_index(truth, found.labels) > 0.8
    assert [merge.groups for merge in found.merges] == [4, 3, 2]


def test_strong_signals_of_one_structure_are_one_group_however_many():
    # Half a voxel aside: what a grid of whole voxels cannot fit must not make a second group.
    rng = np.random.default_rng(6)
    boxes = [
        turned(shape(1), turn, rng.uniform(-1, 1, 3)) + rng.normal(0, 0.5, (16,) * 3)
        for turn in random_rotations(90, rng)
    ]
    at = Resolution(16, 3, 576)
    seen = as_particles(np.array(boxes, dtype=np.float32)).at(at)
    mixture = mixture_of_groups(at, seen, np.arange(90) % 3, rng)
    mixture, sorting = learn(at, seen, mixture, np.zeros((90, 3)), 6, AROUND)
    assert len(np.unique(sorting.labels)) > 1
    merged, merges = merge_groups(at, seen, mixture, sorting, None)
    assert len(merged.volumes) == 1, merges


def test_averages_stand_upright():
    rotations = random_rotations(12, np.random.default_rng(2))
    boxes = np.stack([turned(shape(0), rotation) for rotation in rotations])
    turn = random_rotations(1, np.random.default_rng(3))[0]
    poses, rows = Poses(rotations @ turn, np.zeros((12, 3))), np.arange(12)
    average = average_boxes(boxes, rows, *poses, OPEN, np.zeros(12, np.int64))
    stood = average_boxes(boxes, rows, *upright(poses, rows, average), OPEN, np.zeros(12, np.int64))
    z, y, x = np.indices((16,) * 3) - 8
    weight = np.maximum(stood - stood.mean() - stood.std(), 0)
    spread = [float((weight * axis**2).sum()) for axis in (x, y, z)]
    assert spread[0] > 2 * spread[1] and spread[0] > 2 * spread[2]
    assert working_boxes(boxes, 8).shape == (12, 8, 8, 8)


@pytest.mark.parametrize("groups_stay", [False, True])
def test_groups_that_are_kept_are_turned_to_fit(groups_stay, monkeypatch):
    boxes, truth = particles((12, 10), noise=0.5)
    start = truth.copy()
    if groups_stay:  # whatever is found explains the particles no better
        start[np.flatnonzero(truth == 1)[0]] = 0
        monkeypatch.setattr(mixture_groups, "_explained", lambda at, seen, labels, seed: 0.0)
    found = refine_groups(as_particles(boxes), start, truth, 2, rounds=4, rotations=576, seed=0)
    assert adjusted_rand_index(start, found.labels) == 1 and found.better != groups_stay
    assert (found.chances > 0.5).mean() > 0.9
    poses = Poses(found.rotations, found.centres_px)
    as_cut = Poses(np.tile(np.eye(3), (22, 1, 1)), np.zeros((22, 3)))
    for kind in range(2):
        rows, kinds = np.flatnonzero(truth == kind), np.zeros(22, np.int64)
        fitted, raw = (average_boxes(boxes, rows, *p, OPEN, kinds) for p in (poses, as_cut))
        assert fitted.std() > 1.1 * raw.std()
