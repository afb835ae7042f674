"""Poses: no mirroring, turned copies agree, and the way back."""

import numpy as np
import pytest
from scipy import ndimage
from subvolume_cases import shape, turned

from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d.pose_normalization import (
    FINE,
    NO_MATTER,
    ROUND,
    WRONG_AMOUNT,
    Pose,
    PoseSettings,
    apply_pose,
    matter,
    normalise_pose,
    otsu,
    undo_pose,
)

FULL = PoseSettings("full", smooth_px=1.0)


@pytest.mark.parametrize("mode", ["axis", "full"])
def test_nothing_is_ever_mirrored(mode):
    rng = np.random.default_rng(0)
    settings = PoseSettings(mode)
    for _ in range(250):
        volume = ndimage.gaussian_filter(rng.normal(size=(12, 12, 12)), rng.uniform(0.8, 2))
        rotation = normalise_pose(volume, settings).rotation
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert np.allclose(rotation @ rotation.T, np.eye(3))


@pytest.mark.parametrize("threshold", ["1.0", "otsu", "level-set"])
def test_turned_copies_agree(threshold):
    rng = np.random.default_rng(1)
    settings = PoseSettings("full", threshold, smooth_px=1.0)
    copies = []
    for rotation in random_rotations(12, rng):
        volume = turned(shape(1, 24), rotation, rng.uniform(-2, 2, 3))
        pose = normalise_pose(volume, settings)
        assert pose.state == FINE
        copies.append(apply_pose(volume, pose).ravel())
    together = np.corrcoef(copies)
    assert together.min() > 0.9
    assert np.corrcoef(copies[0], shape(2, 24).ravel())[0, 1] < 0.8


def test_a_mirror_image_stays_one():
    volume = np.zeros((24, 24, 24))
    for x, y, z, weight in ((-6, 0, 0, 2), (-1, 0, 0, 1), (4, 4, 0, 1), (4, 3, 5, 1.2)):
        volume[12 + z, 12 + y, 12 + x] = weight
    volume = ndimage.gaussian_filter(volume, 1.5).astype(np.float32)
    copies = [volume, turned(volume, random_rotations(1, np.random.default_rng(4))[0])]
    copies.append(volume[:, :, ::-1].copy())
    first, again, mirrored = (apply_pose(v, normalise_pose(v, FULL)).ravel() for v in copies)
    assert np.corrcoef(first, again)[0, 1] > 0.95
    assert np.corrcoef(first, mirrored)[0, 1] < 0.92


def test_the_centre_is_found_whatever_gain_and_offset():
    place = np.array([2.0, -1.0, 1.5])
    volume = turned(shape(2, 24), np.eye(3), place)
    first = normalise_pose(volume, PoseSettings("center"))
    other = normalise_pose(3 * volume + 70, PoseSettings("center"))
    here = normalise_pose(shape(2, 24), PoseSettings("center"))
    assert np.allclose(first.centre_px - here.centre_px, place, atol=0.15)
    assert np.allclose(first.centre_px, other.centre_px, atol=1e-3)
    assert np.array_equal(first.rotation, np.eye(3))


def test_there_and_back():
    volume = ndimage.gaussian_filter(shape(1, 24), 1)
    pose = Pose(random_rotations(1, np.random.default_rng(2))[0], np.array([1.0, -2.0, 0.5]))
    back = undo_pose(apply_pose(volume, pose), pose)
    middle = (slice(6, 18),) * 3
    assert np.corrcoef(back[middle].ravel(), volume[middle].ravel())[0, 1] > 0.99
    # x_box = A x_standard + c: the origin of the standard frame lies at c.
    point = np.zeros((15, 15, 15), np.float32)
    point[7, 7, 7] = 1
    moved = undo_pose(point, Pose(pose.rotation, np.array([3.0, 1.0, -2.0])), order=1)
    assert np.unravel_index(moved.argmax(), moved.shape) == (5, 8, 10)


def test_the_main_axis_goes_up_and_a_membrane_lies_flat():
    rod = np.zeros((24, 24, 24), np.float32)
    rod[11:13, 6:19, 11:13] = 1
    upright = apply_pose(rod, normalise_pose(rod, PoseSettings("axis")))
    assert upright.sum(axis=(1, 2))[8:17].min() > 2.5
    plate = np.zeros((24, 24, 24), np.float32)
    plate[6:19, 6:19, 11:13] = 1
    pose = normalise_pose(plate, PoseSettings("axis", membrane=True, smooth_px=1))
    flat = apply_pose(plate, pose).sum(axis=(1, 2))
    assert flat[11:14].sum() > 0.9 * flat.sum()


def test_what_has_no_shape_keeps_its_box():
    assert normalise_pose(np.zeros((12, 12, 12), np.float32), FULL).state == NO_MATTER
    ball = np.linalg.norm(np.indices((17,) * 3) - 8, axis=0) < 4
    found = normalise_pose(ball.astype(np.float32), FULL)
    assert found.state == ROUND and np.array_equal(found.rotation, np.eye(3))
    speck = np.zeros((24, 24, 24), np.float32)
    speck[12, 12, 12] = 100
    assert normalise_pose(speck, PoseSettings("full", "5", smooth_px=0)).state == WRONG_AMOUNT
    untouched = normalise_pose(shape(0), PoseSettings("none"))
    assert np.array_equal(untouched.rotation, np.eye(3)) and not untouched.centre_px.any()


def test_otsu_splits_two_levels_and_matter_is_nearest_the_centre():
    values = np.concatenate([np.zeros(500), np.ones(100)])
    assert 0 < otsu(values) < 1
    two = np.zeros((20, 20, 20), np.float32)
    two[9:12, 9:12, 9:12] = 1
    two[9:13, 9:13, 15:18] = 1
    found = matter(two, "otsu")
    assert found.sum() == 27 and found[10, 10, 10]
