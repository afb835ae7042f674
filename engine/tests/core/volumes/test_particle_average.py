"""Particles from files: each kind of image and of tilts, and real ribosomes."""

import mrcfile
import numpy as np
import pytest
from tilt_cases import tilt_series

from cryodl.core.fourier.ctf import ctf_volume
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.fourier.tilts import view_rotations
from cryodl.core.fourier.transform import centred_to_half
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.make import (
    particles_from_coordinates,
    particles_from_subtomograms,
    particles_from_tilt_stacks,
)
from cryodl.core.volumes.particle_average import (
    AverageSettings,
    average_particles,
    particle_transfer,
    read_ctf_volume,
)
from cryodl.errors import InputError

POINTS = np.array([[4.0, 0, 0], [-1.5, 3, 2], [0, -3, -5], [-4, -4, 3]])
HEIGHTS, WIDTH, PIXEL = (1.0, 0.7, 0.5, 0.6), 1.5, 8.0
ANGLES = np.arange(-60, 61, 4.0)


def blobs(n, points, dimensions=3):
    axes = np.meshgrid(*[np.arange(n) - n // 2] * dimensions, indexing="ij")[::-1]
    total = np.zeros((n,) * dimensions)
    for point, height in zip(points, HEIGHTS):
        square = sum((axis - p) ** 2 for axis, p in zip(axes, point))
        total += height * np.exp(-square / (2 * WIDTH**2))
    return total.astype(np.float32)


def poses(count, seed=0):
    rng = np.random.default_rng(seed)
    return random_rotations(count, rng), rng.uniform(-1.5, 1.5, (count, 3))


def written(folder, n, transfers, **others):
    """Write subtomograms seen through transfers and return their set."""
    rotations, shifts = poses(len(transfers))
    paths = []
    for i, transfer in enumerate(transfers):
        volume = blobs(n, POINTS @ rotations[i].T - shifts[i])
        paths.append(folder / f"particle{i}.mrc")
        seen = volume if transfer is None else apply_transfer(volume, transfer)
        write_volume(paths[-1], seen, pixel_size_angstrom=PIXEL)
    return particles_from_subtomograms(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=n,
        rotations=rotations,
        shifts_angstrom=shifts * PIXEL,
        **others,
    )


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("n", [20, 21])
def test_subtomograms_with_a_range_of_tilts(tmp_path, n):
    wedge = missing_wedge(n, -60, 60)
    particles = written(tmp_path, n, [wedge] * 14, tilt_range_degrees=(-60.0, 60.0))
    done = []
    found = average_particles(particles, AverageSettings(batch=4), progress=done.append)
    assert correlation(found.average, blobs(n, POINTS)) > 0.995
    assert found.counts == (7, 7) and done[-1] == 1
    assert correlation(found.half1, found.half2) > 0.98
    np.testing.assert_array_equal(particle_transfer(particles, 3, AverageSettings()), wedge)
    blind = average_particles(particles, AverageSettings(transfer="none"))
    assert (
        np.abs(blind.average - blobs(n, POINTS)).max()
        > np.abs(found.average - blobs(n, POINTS)).max()
    )


@pytest.mark.parametrize("half_format", [False, True])
def test_subtomograms_with_ctf_volumes(tmp_path, half_format):
    n, count = 20, 14
    transfers, paths = [], []
    for i in range(count):
        tilts = tilt_series(ANGLES, defocus=15000.0 + 900 * i)
        transfers.append(ctf_volume(n, PIXEL, tilts, dose="none", nyquist_limit=False))
        paths.append(tmp_path / f"ctf{i}.mrc")
        stored = centred_to_half(transfers[-1]) if half_format else transfers[-1]
        write_volume(paths[-1], stored, pixel_size_angstrom=PIXEL)
    np.testing.assert_allclose(read_ctf_volume(paths[0], n), transfers[0], atol=1e-6)
    particles = written(tmp_path, n, transfers, ctf_paths=paths)
    found = average_particles(particles)
    assert fourier_shell_correlation(found.average, blobs(n, POINTS))[:6].min() > 0.97
    with pytest.raises(InputError, match="expected"):
        read_ctf_volume(paths[0], n + 2)


def test_subtomograms_with_a_tilt_series_and_their_own_defocus(tmp_path):
    n, count = 20, 12
    tilts = tilt_series(ANGLES, defocus=30000.0, hand=1, size_xyz_px=(400, 400, 200))
    rng = np.random.default_rng(1)
    places = rng.uniform(50, 150, (count, 3))
    offsets = (places - [200, 200, 100]) * 2.0
    transfers = [
        ctf_volume(n, PIXEL, tilts, offset_xyz_angstrom=offset, nyquist_limit=False)
        for offset in offsets
    ]
    particles = written(
        tmp_path,
        n,
        transfers,
        tomograms=["ts"] * count,
        tilts={"ts": tilts},
        coordinates_px=places,
        coordinate_pixel_size_angstrom=2.0,
    )
    expected = ctf_volume(n, PIXEL, tilts, offset_xyz_angstrom=offsets[2])
    np.testing.assert_allclose(particle_transfer(particles, 2, AverageSettings()), expected)
    assert np.abs(expected - ctf_volume(n, PIXEL, tilts)).max() > 1e-3
    found = average_particles(particles)
    assert fourier_shell_correlation(found.average, blobs(n, POINTS))[1:6].min() > 0.9


def tilt_stacks(folder, n, count):
    rotations, shifts = poses(count)
    tilts = tilt_series(ANGLES, defocus=np.nan, axis=84.7)
    views, paths = view_rotations(tilts), []
    for i in range(count):
        points = POINTS @ rotations[i].T - shifts[i]
        paths.append(folder / f"stack{i}.mrcs")
        images = np.stack([blobs(n, (points @ view.T)[:, :2], 2) for view in views])
        with mrcfile.new(paths[-1], images) as file:
            file.voxel_size = PIXEL
    return particles_from_tilt_stacks(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=n,
        tomograms=["ts"] * count,
        tilts={"ts": tilts},
        rotations=rotations,
        shifts_angstrom=shifts * PIXEL,
    )


@pytest.mark.parametrize("n", [20, 21])
def test_stacks_of_tilt_images(tmp_path, n):
    particles = tilt_stacks(tmp_path, n, 10)
    found = average_particles(particles, AverageSettings(dose="none"))
    assert correlation(found.average, blobs(n, POINTS)) > 0.98
    mirrored = np.roll(found.average[::-1], 1 - n % 2, axis=0)
    assert correlation(mirrored, blobs(n, POINTS)) < 0.9
    assert correlation(found.half1, found.half2) > 0.95


def test_what_cannot_be_averaged_is_refused(tmp_path):
    particles = written(tmp_path, 16, [None] * 3)
    with pytest.raises(InputError, match="1 particles"):
        average_particles(particles.subset(np.array([0])))
    with pytest.raises(InputError, match="half set"):
        average_particles(particles.with_half_sets(np.array([1, 1, 1])))
    particles.pixel_size_angstrom[1] = 9.0
    with pytest.raises(InputError, match="pixel sizes"):
        average_particles(particles)
    bare = particles_from_coordinates(
        np.arange(6.0).reshape(2, 3), pixel_size_angstrom=8.0, tomograms=["a", "a"]
    )
    with pytest.raises(InputError, match="extract"):
        average_particles(bare)
    stacks = tilt_stacks(tmp_path, 16, 2)
    stacks.tilts.clear()
    with pytest.raises(InputError, match="tilt series"):
        average_particles(stacks)


def test_tilts_of_some_particles_only_are_refused(tmp_path):
    particles = written(
        tmp_path, 16, [None] * 2, tomograms=["ts", "other"], tilts={"ts": tilt_series(ANGLES)}
    )
    with pytest.raises(InputError, match="has no tilts"):
        average_particles(particles)
