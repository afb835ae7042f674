"""Invariants, features, stability, proposals, working tomograms."""

import numpy as np
import pytest
from scipy import ndimage
from subvolume_cases import shape, tomogram, turned

from cryodl.core.evaluation.matching import score_points
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations, rotate_cube
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.averages import Poses, average_boxes, in_boxes, working_boxes
from cryodl.methods.autoencoder3d.features import (
    Trial,
    best_features,
    best_number,
    joined,
    principal_components,
    stability,
)
from cryodl.methods.autoencoder3d.invariants import invariant_features
from cryodl.methods.autoencoder3d.pose_normalization import ball
from cryodl.methods.autoencoder3d.proposals import apart, binned, propose
from cryodl.methods.autoencoder3d.working_tomogram import prepare


def test_invariants_do_not_change_when_turned():
    volume = np.random.default_rng(0).normal(size=(15, 15, 15))
    copies = np.stack([rotate_cube(volume, k) for k in range(24)])
    found = invariant_features(copies)
    assert np.abs(found - found[0]).max() < 1e-3 * np.abs(found).max()


def test_invariants_tell_shapes_apart_and_mirror_images_not():
    volumes = np.stack([shape(0, 15), shape(1, 15), shape(1, 15)[:, :, ::-1]])
    rod, plate, mirrored = invariant_features(volumes)
    assert np.allclose(plate, mirrored, rtol=1e-3, atol=1e-3 * np.abs(plate).max())
    assert np.linalg.norm(rod - plate) > 0.3 * np.linalg.norm(plate)
    with pytest.raises(InputError, match="cubes"):
        invariant_features(np.zeros((2, 4, 4, 5)))


@pytest.mark.parametrize("shape_of_data", [(40, 200), (200, 40)])
def test_principal_components_keep_distances(shape_of_data):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(shape_of_data[0], 3)) @ rng.normal(size=(3, shape_of_data[1])) + 5
    found = principal_components(data, 3)
    wanted = np.linalg.norm(data[3] - data[17])
    assert np.linalg.norm(found[3] - found[17]) == pytest.approx(wanted)
    assert (np.diff(found.var(axis=0)) <= 0).all()


def test_joined_features_weigh_the_same():
    parts = [np.random.default_rng(2).normal(0, s, (50, d)) for s, d in ((100, 2), (1, 9))]
    found = joined(parts)
    assert found[:, :2].var(axis=0).sum() == pytest.approx(found[:, 2:].var(axis=0).sum())


def test_stability_knows_groups_from_noise():
    rng = np.random.default_rng(3)
    groups = rng.normal(size=(90, 5)) + 9 * np.eye(5)[np.arange(90) % 3]
    assert stability(groups, 3, seed=0, seeds=3) == 1
    assert stability(rng.normal(size=(90, 5)), 3, seed=0, seeds=5) < 0.7


def test_the_most_stable_is_taken():
    trials = [Trial("a", 3, 0.7, 0.9, 1), Trial("b", 3, 0.99, 0.2, 1), Trial("c", 3, 1, 0.1, 1)]
    assert best_features(trials).features == "b"
    sweep = [Trial("a", k, s, q, 1) for k, s, q in ((2, 1, 0.4), (3, 0.99, 0.6), (4, 0.7, 0.7))]
    assert best_number(sweep) == 3


def test_blobs_are_proposed_where_they_are():
    volume, places, _ = tomogram(1)
    for dark in (False, True):
        found = propose(-volume if dark else volume, 8, dark=dark, most=16)
        assert score_points(found.points_xyz_px, places, 4).f1 > 0.8
        assert (np.diff(found.scores) <= 0).all()
        found = propose(-volume if dark else volume, 8, by="detail", most=16)
        assert score_points(found.points_xyz_px, places, 4).f1 > 0.7
    with pytest.raises(InputError, match="--diameter"):
        propose(volume, 500)
    with pytest.raises(InputError, match="nothing"):
        propose(np.zeros((20, 20, 20), np.float32), 8)


def test_shells_are_proposed_by_their_detail_at_their_middle():
    """Dense and hollow, of mean 0: no blob of their size."""
    rng = np.random.default_rng(2)
    volume = rng.normal(0, 0.1, (32, 64, 64)).astype(np.float32)
    places = np.array([[14, 16, 15], [46, 14, 16], [16, 46, 17], [47, 48, 14]])
    z, y, x = np.indices(volume.shape)
    for px, py, pz in places:
        radius = np.sqrt((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2)
        shell = np.exp(-((radius - 5.5) ** 2) / 2)
        volume += shell - shell.sum() * np.exp(-(radius**2) / 8) / (8 * np.pi) ** 1.5
    for dark in (False, True):
        found = propose(volume, 14, dark=dark, by="detail", most=4)
        assert score_points(found.points_xyz_px, places, 3).f1 == 1
    assert score_points(propose(volume, 14, dark=False, most=4).points_xyz_px, places, 3).f1 < 0.5


def test_points_are_kept_apart_and_bins_are_means():
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2.5, 0, 0], [4, 0, 0]])
    assert apart(line, 2).tolist() == [0, 2]
    values = np.arange(4 * 6 * 5, dtype=np.float32).reshape(4, 6, 5)
    small = binned(values, 2)
    assert small.shape == (2, 3, 2) and small[0, 0, 0] == values[:2, :2, :2].mean()


@pytest.mark.parametrize("step", [1.0, 1.5, 2.0, 0.8])
def test_working_tomograms_lie_where_the_file_does(step):
    blob = np.zeros((40, 44, 48))
    blob[18, 30, 12] = 1000
    noise = np.random.default_rng(0).normal(size=blob.shape)
    working = prepare(ndimage.gaussian_filter(blob, 3) + noise, step, 16, dark=False)
    smooth = ndimage.gaussian_filter(working.values, 3 / step)
    peak = np.array(np.unravel_index(smooth.argmax(), smooth.shape))[::-1]
    assert np.allclose(working.to_file(peak.astype(float)), [12, 30, 18], atol=step)
    assert np.allclose(working.to_file(working.to_working(np.array([3.0, 4, 5]))), [3, 4, 5])
    labels = np.zeros(working.values.shape, np.uint8)
    labels[tuple(peak[::-1])] = 7
    assert working.on_file_grid(labels).shape == blob.shape
    assert ndimage.center_of_mass(working.on_file_grid(labels) == 7) == pytest.approx(
        (18, 30, 12), abs=step
    )


def test_gain_offset_and_contrast_do_not_matter():
    volume = tomogram(2)[0]
    first = prepare(volume, 1.25, 16, dark=False).values
    other = prepare(-40 * volume + 900, 1.25, 16, dark=True).values
    assert np.abs(first - other).max() < 0.01


def test_boxes_of_eight_voxels_have_features():
    found = invariant_features(np.random.default_rng(0).normal(size=(3, 8, 8, 8)))
    assert found.shape[0] == 3 and np.isfinite(found).all()
    with pytest.raises(InputError, match="4 voxels"):
        invariant_features(np.zeros((3, 2, 2, 2)))


def test_boxes_cut_in_other_directions_are_averaged_by_what_was_measured_of_them():
    rng = np.random.default_rng(5)
    n, count = 24, 12
    wedge = missing_wedge(n, -50, 50)[None]
    poses = random_rotations(count, rng)
    still, kinds, rows = np.zeros((count, 3)), np.zeros(count, dtype=int), np.arange(count)
    seen = [apply_transfer(turned(shape(0, n), pose), wedge[0]) for pose in poses]
    cut = random_rotations(count, rng)
    # A box cut in another direction: its voxel x shows the place C x of the tomogram.
    boxes = np.stack([turned(box, turn.T) for box, turn in zip(seen, cut, strict=True)])
    ours = np.swapaxes(cut, 1, 2) @ poses
    upright = average_boxes(np.stack(seen), rows, poses, still, wedge, kinds)
    found = average_boxes(boxes, rows, ours, still, wedge, kinds, cut)
    wrong = average_boxes(boxes, rows, ours, still, wedge, kinds)
    inside = ball(n)

    def difference(volume):
        return np.std((volume - upright)[inside]) / upright[inside].std()

    assert difference(found) < 0.1 and difference(wrong) > 2 * difference(found)
    back = working_boxes(boxes, n, cut)
    assert all(np.corrcoef(a[inside], b[inside])[0, 1] > 0.97 for a, b in zip(back, seen))
    again = in_boxes(Poses(poses, still + 1.0), cut)
    assert np.allclose(again.rotations, ours)
    assert np.allclose(np.einsum("nij,nj->ni", cut, again.centres_px), 1)
