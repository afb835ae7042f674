"""Averages find the object again: in place, unmirrored, whole where it was measured."""

import time

import numpy as np
import pytest
from tilt_cases import tilt_series

from cryodl.core.fourier.ctf import ctf_sums, ctf_volume
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.fourier.grids import radius_grid_px
from cryodl.core.fourier.transform import forward_centred, friedel_mate
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.core.geometry.symmetry import symmetrise, symmetry_matrices
from cryodl.core.volumes.averaging import WedgeAverage, divide_by_weight
from cryodl.errors import ConfigError, InputError

POINTS = np.array([[5.0, 0, 0], [-1.5, 4, 3], [0, -3, -7], [-7, -5, 3]])
HEIGHTS, WIDTHS = (1.0, 0.7, 0.5, 0.6), (1.3, 1.5, 1.4, 1.2)


def particle(n, rotation=None, shift=(0.0, 0.0, 0.0)):
    """Return an object without symmetry in a pose, drawn anew and not interpolated."""
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    matrix = np.eye(3) if rotation is None else rotation
    volume = np.zeros((n, n, n))
    for point, width, height in zip(POINTS * n / 32, WIDTHS, HEIGHTS):
        p = matrix @ point - shift
        square = (x - p[0]) ** 2 + (y - p[1]) ** 2 + (z - p[2]) ** 2
        volume += height * np.exp(-square / (2 * width**2))
    return volume.astype(np.float32)


def posed(n, count, seed=0):
    rng = np.random.default_rng(seed)
    rotations, shifts = random_rotations(count, rng), rng.uniform(-2, 2, (count, 3))
    return np.stack([particle(n, r, s) for r, s in zip(rotations, shifts)]), rotations, shifts


@pytest.mark.parametrize("n", [31, 32])
def test_one_pose_is_undone(n):
    average = WedgeAverage(n)
    average.add(particle(n)[None], np.eye(3)[None], np.zeros((1, 3)))
    np.testing.assert_allclose(average.result(), particle(n), atol=2e-3)
    for volume, rotation, shift in zip(*posed(n, 3)):
        average = WedgeAverage(n)
        average.add(volume[None], rotation[None], shift[None])
        np.testing.assert_allclose(average.result(), particle(n), atol=4e-3)


@pytest.mark.parametrize("n", [31, 32])
def test_particles_with_different_wedges_give_the_whole_object(n):
    volumes, rotations, shifts = posed(n, 20)
    wedges = np.stack([missing_wedge(n, -60 + i, 50 + i, tilt_axis_degrees=84.7) for i in range(9)])
    wedges = wedges[np.arange(20) % 9]
    seen = np.stack([apply_transfer(v, w) for v, w in zip(volumes, wedges)])
    average = WedgeAverage(n)
    average.add(seen[:7], rotations[:7], shifts[:7], wedges[:7])
    average.add(seen[7:], rotations[7:], shifts[7:], wedges[7:])
    assert average.counts.tolist() == [10, 10]
    np.testing.assert_allclose(average.result(), particle(n), atol=0.02)
    weight = average.weight()
    np.testing.assert_allclose(weight, friedel_mate(weight), atol=1e-4)
    assert weight[n // 2, n // 2, n // 2] == pytest.approx(20)
    wrong = WedgeAverage(n)
    wrong.add(seen, rotations, -shifts, wedges)
    assert np.abs(wrong.result() - particle(n)).max() > 0.3


def test_what_no_particle_saw_is_empty_and_all_else_is_right():
    n = 24
    wedge = missing_wedge(n, -40, 40, edge_px=0)
    average = WedgeAverage(n)
    volume = apply_transfer(particle(n), wedge)
    average.add(np.stack([volume] * 2), np.stack([np.eye(3)] * 2), np.zeros((2, 3)), wedge)
    found = average.result()
    assert np.corrcoef(found.ravel(), volume.ravel())[0, 1] > 0.98
    unseen = (wedge == 0) & (radius_grid_px(n) < n / 2)
    transform = np.abs(forward_centred(found))
    assert transform[unseen].max() < 1e-4 * transform.max()
    assert average.weight()[-1, n // 2, n // 2] == 0


def test_a_pose_beyond_the_rim_does_not_come_back_at_the_other_side():
    n = 24
    corner = np.zeros((n, n, n), dtype=np.float32)
    corner[1:4, 1:4, 1:4] = 1
    average = WedgeAverage(n)
    average.add(corner[None], random_rotations(1, np.random.default_rng(3)), np.zeros((1, 3)))
    assert np.abs(average.result()).max() < 1e-3


@pytest.mark.parametrize("weighting", ["transfer", "premultiplied"])
def test_ctf_volumes_are_divided_out(weighting):
    n, pixel = 24, 8.0
    volumes, rotations, shifts = posed(n, 24, seed=1)
    average = WedgeAverage(n, weighting=weighting)
    for i, (volume, rotation, shift) in enumerate(zip(volumes, rotations, shifts)):
        tilts = tilt_series(np.arange(-60, 61, 6.0), defocus=15000.0 + 700 * i)
        if weighting == "transfer":
            weight = ctf_volume(n, pixel, tilts, nyquist_limit=False)
            seen = apply_transfer(volume, weight)
        else:
            weight = ctf_sums(n, pixel, tilts, nyquist_limit=False).squared
            seen = apply_transfer(volume, weight)
        average.add(seen[None], rotation[None], shift[None], weight)
    found = average.result()
    fsc = fourier_shell_correlation(found, particle(n))
    assert fsc[:8].min() > 0.97  # the object has little beyond
    # Where it is loudest the scale is right too: nothing is left of the CTF.
    assert found[particle(n) > 0.5].mean() == pytest.approx(
        particle(n)[particle(n) > 0.5].mean(), rel=0.15
    )


@pytest.mark.parametrize("n", [24, 25])
def test_symmetry_copies_one_particle(n):
    wedge = missing_wedge(n, -60, 60)
    volume = symmetrise(particle(n), "C3")
    pose = random_rotations(1, np.random.default_rng(4))
    average = WedgeAverage(n, "C3")
    seen = apply_transfer(rotate_volume(volume, pose[0], order=3), wedge)
    average.add(seen[None], pose, np.zeros((1, 3)), wedge)
    found = average.result()
    assert np.corrcoef(found.ravel(), volume.ravel())[0, 1] > 0.98
    for matrix in symmetry_matrices("C3"):
        np.testing.assert_allclose(rotate_volume(found, matrix, order=3), found, atol=0.03)
    assert average.weight()[(n // 2,) * 3] == pytest.approx(3, rel=0.02)


def test_halves_are_disjoint_and_sum_to_all():
    n = 16
    rng = np.random.default_rng(5)
    volumes = rng.normal(size=(6, n, n, n))
    poses, shifts = random_rotations(6, rng), np.zeros((6, 3))
    average, first = WedgeAverage(n), WedgeAverage(n)
    halves = np.array([1, 2, 2, 1, 2, 2])
    average.add(volumes, poses, shifts, half_sets=halves)
    first.add(volumes[halves == 1], poses[halves == 1], shifts[halves == 1])
    one, two = average.halves()
    np.testing.assert_allclose(one, first.result(), atol=1e-5)
    np.testing.assert_allclose(average.result(), (2 * one + 4 * two) / 6, atol=1e-4)
    damped = average.result(regularisation=6.0)
    np.testing.assert_allclose(damped, average.result() / 2, atol=1e-4)


def test_the_average_of_noise_falls_with_the_root_of_the_number():
    n = 16
    rng = np.random.default_rng(6)
    average = WedgeAverage(n)
    for _ in range(4):
        volumes = rng.normal(size=(16, n, n, n))
        average.add(volumes, random_rotations(16, rng), rng.uniform(-1, 1, (16, 3)))
    inside = np.s_[5:12, 5:12, 5:12]
    full = WedgeAverage(n)
    full.add(rng.normal(size=(1, n, n, n)), np.eye(3)[None], np.zeros((1, 3)))
    ratio = average.result()[inside].std() / full.result()[inside].std()
    assert ratio == pytest.approx(1 / 8, rel=0.15)


def test_speed_of_one_core():
    n, count = 32, 16
    volumes = np.random.default_rng(7).normal(size=(count, n, n, n)).astype(np.float32)
    poses, wedge = random_rotations(count, np.random.default_rng(8)), missing_wedge(n, -60, 60)
    average = WedgeAverage(n)
    average.add(volumes[:1], poses[:1], np.zeros((1, 3)), wedge)
    start = time.process_time()
    average.add(volumes, poses, np.zeros((count, 3)), wedge)
    # 80 a second on a free core; half of that where others share its memory.
    assert count / (time.process_time() - start) > 25


def test_bad_input_is_refused():
    n = 8
    average = WedgeAverage(n)
    good = (np.zeros((2, n, n, n)), np.stack([np.eye(3)] * 2), np.zeros((2, 3)))
    with pytest.raises(InputError, match="no particles"):
        average.result()
    for place, bad, words in (
        (0, np.zeros((2, n, n, n + 1)), "subtomograms"),
        (0, np.full((2, n, n, n), np.nan), "subtomograms"),
        (0, np.zeros((n, n, n)), "subtomograms"),
        (1, np.eye(3), "rotations"),
        (2, np.zeros((3, 3)), "shifts"),
    ):
        given = [*good]
        given[place] = bad
        with pytest.raises(InputError, match=words):
            average.add(*given)
    with pytest.raises(InputError, match="wedges"):
        average.add(*good, np.ones((3, n, n, n)))
    with pytest.raises(InputError, match="half sets"):
        average.add(*good, half_sets=[1, 3])
    assert average.counts.sum() == 0
    with pytest.raises(ConfigError, match="weighting"):
        WedgeAverage(n, weighting="none")
    with pytest.raises(ConfigError, match="symmetry"):
        WedgeAverage(n, "Q1")
    with pytest.raises(ConfigError, match="mask radius"):
        WedgeAverage(n, mask_radius_px=0)
    average.add(*good, half_sets=[1, 1])
    with pytest.raises(InputError, match="half 2"):
        average.result(2)
    with pytest.raises(ConfigError, match="expected 1, 2"):
        average.result(3)
    with pytest.raises(ConfigError, match="floor"):
        divide_by_weight(np.zeros((4, 4, 3)), np.ones((4, 4, 3)), 4, floor=-1)
