"""Labels on the grid of the file, things of one class each, their outlines, made up boxes."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from subvolume_cases import shape, turned

from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d import segment
from cryodl.methods.autoencoder3d.model import SegmentSize, build_segmentation
from cryodl.methods.autoencoder3d.pose_normalization import Pose
from cryodl.methods.autoencoder3d.segment import probabilities
from cryodl.methods.autoencoder3d.segment_kinds import kinds_of
from cryodl.methods.autoencoder3d.segment_labels import cut_mask
from cryodl.methods.autoencoder3d.segment_synthesis import (
    Model,
    Synthesis,
    cleaned,
    strength_of,
)
from cryodl.methods.autoencoder3d.segment_things import Found, find_things, labels_of_file
from cryodl.methods.autoencoder3d.working_tomogram import WorkingTomogram, prepare

N = 16
OPEN = np.ones((N, N, N), np.float32)


def chances_of(balls, shape_zyx=(20, 30, 30)):
    """Return probabilities of balls: (centre x y z, radius, chance of class 1 of its voxels)."""
    found = np.zeros((3, *shape_zyx), np.float32)
    found[0] = 1
    z, y, x = np.indices(shape_zyx)
    for (cx, cy, cz), radius, share in balls:
        inside = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 <= radius**2
        found[:, inside] = np.array([0.1, 0.9 * share, 0.9 * (1 - share)])[:, None]
    return found


def test_a_thing_is_of_one_class_and_small_ones_are_none():
    chances = chances_of([((8, 8, 10), 4, 0.6), ((22, 20, 10), 4, 0.2), ((22, 5, 5), 1, 0.9)])
    chances[1:, 10, 8, 6:9] = chances[2:0:-1, 10, 8, 6:9]  # some voxels of the first disagree
    values = np.zeros(chances.shape[1:], np.float32)
    working = WorkingTomogram(values, 1.0, values.shape)
    description = {"volumes_px": {"1": 257, "2": 257}}
    inside = find_things(chances, working, description, 0.5, 0.25)
    labels, found = inside.labels, inside.things
    assert [(thing.kind, *np.round(thing.point_xyz_px)) for thing in found] == [
        (1, 8, 8, 10),
        (2, 22, 20, 10),
    ]
    assert set(np.unique(labels)) == {0, 1, 2} and (labels[:, :13, :13] == 1).sum() == 257


def test_labels_of_a_finer_file_have_smooth_borders():
    chances = chances_of([((15, 15, 10), 5, 1.0)])
    chances[0] = ndimage.gaussian_filter(chances[0], 1)
    values = np.zeros(chances.shape[1:], np.float32)
    working = WorkingTomogram(values, 2.0, (40, 60, 60))
    labels = np.where(chances[0] < 0.5, 1, 0).astype(np.uint8)
    level = np.full(3, 0.5, np.float32)
    found = labels_of_file(Found(labels, [], level), chances[0], working)
    assert found.shape == (40, 60, 60) and set(np.unique(found)) == {0, 1}
    z, y, x = np.indices(found.shape)
    radius = np.sqrt((x - 30.5) ** 2 + (y - 30.5) ** 2 + (z - 20.5) ** 2)
    truth = radius <= (found.sum() * 3 / 4 / np.pi) ** (1 / 3)
    assert (truth & (found > 0)).sum() / (truth | (found > 0)).sum() > 0.93


def test_contrast_is_measured_and_made_up_boxes_have_it():
    rng = np.random.default_rng(0)
    mask = (ndimage.gaussian_filter(shape(0), 1) > 0.8).astype(np.float32)
    volume = cleaned(shape(0), mask)
    assert abs(volume[0, 0, 0]) == 0 and volume.max() > 1
    poses = [Pose(rotation, rng.uniform(-1, 1, 3)) for rotation in random_rotations(6, rng)]
    boxes = [
        0.4 * turned(volume, pose.rotation, pose.centre_px) + rng.normal(0, 0.1, (N,) * 3)
        for pose in poses
    ]
    strength = strength_of(volume, poses, boxes, [OPEN] * 6)
    assert abs(strength - 0.4) < 0.08
    noise = [rng.normal(size=(N,) * 3) for _ in poses]
    assert strength_of(volume, poses, noise, [OPEN] * 6) is None
    ground = rng.normal(0, 0.01, (3, N, N, N)).astype(np.float16)
    drawn = Synthesis([Model(volume, mask, 2, strength, 1.0)], ground)
    box, labels = drawn.draw(np.random.default_rng(4))
    assert set(np.unique(labels)) == {0, 2}
    assert box[labels == 2].mean() > box[labels == 0].mean() + 0.1


def test_the_size_of_a_thing_tells_its_class_where_the_network_is_unsure():
    rng = np.random.default_rng(3)
    kinds = np.arange(40) % 2
    volumes = np.array([1000.0, 600.0])[kinds] * np.exp(rng.normal(0, 0.05, 40))
    votes = np.where(kinds[:, None] == np.arange(2), 0.9, 0.1)
    confused = np.array([1, 3, 5, 7])  # small ones that the network takes for the other class
    votes[confused] = [0.85, 0.15]
    whole = np.ones(40, bool)
    found = kinds_of(votes, volumes, whole)
    assert np.allclose(found.sum(axis=1), 1) and np.array_equal(found.argmax(axis=1), kinds)
    # Of those that are cut off by the border, and of too few, the network decides alone.
    whole[confused] = False
    assert (kinds_of(votes, volumes, whole)[confused].argmax(axis=1) == 0).all()
    assert np.allclose(kinds_of(votes[:6], volumes[:6], np.ones(6, bool)), votes[:6])
    # Classes of one size are told apart by the network alone.
    same = kinds_of(votes, np.full(40, 800.0), np.ones(40, bool))
    assert np.array_equal(same.argmax(axis=1), votes.argmax(axis=1))


def soft_balls(places, radius, blur=2.0, shape_zyx=(24, 40, 60)):
    """Return chances of balls of class 1 with soft borders."""
    hard = chances_of([(place, radius, 1.0) for place in places], shape_zyx)
    anything = ndimage.gaussian_filter(1 - hard[0], blur)
    return np.stack([1 - anything, 0.9 * anything, 0.1 * anything])


@pytest.mark.parametrize("wanted", [200, 500, 700])
def test_outlines_are_drawn_where_things_have_the_volume_of_their_class(wanted):
    places = [(12, 12, 12), (30, 12, 11), (48, 12, 12), (12, 29, 12), (30, 29, 13), (48, 29, 12)]
    chances = soft_balls(places, 5)
    values = np.zeros(chances.shape[1:], np.float32)
    working = WorkingTomogram(values, 1.0, values.shape)
    description = {"volumes_px": {"1": wanted, "2": wanted}}
    found = find_things(chances, working, description, 0.5, 0.25)
    assert len(found.things) == 6 and found.levels[1] != 0.5 and found.levels[2] == 0.5
    sizes = np.array([thing.voxels for thing in found.things])
    assert np.abs(sizes / wanted - 1).max() < 0.1
    plain = find_things(chances, working, description, 0.5, 0.25, by_volume=False)
    assert plain.levels[1] == 0.5 and (plain.labels > 0).sum() == (chances[0] <= 0.5).sum()


def test_things_without_a_volume_of_their_own_keep_the_threshold():
    """Membranes, and what touches, of every size."""
    places = [((12, 12, 12), 3), ((30, 14, 12), 9), ((50, 12, 12), 5), ((12, 30, 12), 6)]
    hard = sum(1 - chances_of([(p, r, 1.0)], (24, 40, 60))[0] for p, r in places)
    anything = ndimage.gaussian_filter(hard, 1.0)
    chances = np.stack([1 - anything, 0.9 * anything, 0.1 * anything])
    working = WorkingTomogram(anything, 1.0, anything.shape)
    found = find_things(chances, working, {"volumes_px": {"1": 500, "2": 500}}, 0.5, 0.1)
    assert len(found.things) == 4 and np.array_equal(found.levels, np.float32([0.5] * 3))


def test_masks_of_coarse_boxes_grow_by_parts_of_voxels():
    volume = shape(2)
    sizes = np.array([cut_mask(volume, "1.0", grow).sum() for grow in (0, 0.4, 0.8, 1.2, 1.6)])
    radii = (3 * sizes / (4 * np.pi)) ** (1 / 3)
    assert np.allclose(np.diff(radii), 0.4, atol=0.15)
    middle = np.argwhere(cut_mask(volume, "1.0", 1.0) > 0.5).mean(axis=0)
    wanted = np.argwhere(volume > volume.mean() + volume.std()).mean(axis=0)
    assert np.abs(middle - wanted).max() < 0.4


def test_parts_of_the_depth_and_views_give_what_the_whole_gives(monkeypatch):
    values = np.random.default_rng(0).normal(size=(48, 16, 24)).astype(np.float32)
    network = build_segmentation(SegmentSize("tiny", 3, 16), 1).eval()
    whole = probabilities(network, values, "cpu")
    assert np.allclose(whole.sum(axis=0), 1, atol=5e-3)
    told = []
    monkeypatch.setattr(segment, "_MOST_BYTES", 4 * 3 * 16 * 24 * 24)
    parts = probabilities(network, values, "cpu", told.append, 1)
    assert len(told) == 2 and told[-1] == 1 and np.abs(parts - whole).max() < 5e-3
    four = probabilities(network, values, "cpu", views=4)
    turned = probabilities(network, np.flip(values, (0, 1)), "cpu", views=4)
    assert np.abs(four - np.flip(turned, (1, 2))).max() < 5e-3
    assert np.abs(four - whole).max() > 1e-3


@pytest.mark.parametrize("step", [1.0, 1.5])
def test_a_segmentation_takes_few_bytes_a_voxel(step):
    """400^3 voxels fit into 3 GB: 40 bytes a voxel, with the data and the chances of 3 classes."""
    places = [(x, y, 24) for x in range(16, 96, 21) for y in range(16, 96, 21)]
    chances = soft_balls(places, 6, 1.5, (48, 96, 96)).astype(np.float16)
    file = np.zeros([round(size * step) for size in (48, 96, 96)], np.float32)
    description = {"volumes_px": {"1": 900, "2": 900}}
    tracemalloc.start()
    try:
        working = prepare(file, step, 16, dark=True)
        found = find_things(chances, working, description, 0.5, 0.25)
        labels_of_file(found, chances[0], working)
        working.smooth_on_file_grid(chances[1])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.things) == len(places)
    assert 8 < (peak + chances.nbytes) / file.size + 4 < 40
