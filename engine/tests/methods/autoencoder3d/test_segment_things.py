"""Labels on the grid of the file, things of one class each, boxes that are made up."""

import numpy as np
from scipy import ndimage
from subvolume_cases import shape, turned

from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d.pose_normalization import Pose
from cryodl.methods.autoencoder3d.segment_synthesis import (
    Model,
    Synthesis,
    cleaned,
    strength_of,
)
from cryodl.methods.autoencoder3d.segment_things import Found, find_things, labels_of_file
from cryodl.methods.autoencoder3d.working_tomogram import WorkingTomogram

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
