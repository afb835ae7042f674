"""Particles of files become what the aligner takes, whatever their images are."""

import mrcfile
import numpy as np
import pytest
from tilt_cases import tilt_series

from cryodl.core.alignment.aligner import Aligner
from cryodl.core.alignment.particle_volumes import ParticleVolumes
from cryodl.core.alignment.reference import MapReference
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, observe
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.fourier.tilts import view_rotations
from cryodl.core.geometry.rotations import angular_distance_degrees, random_rotations
from cryodl.core.io.particles.make import particles_from_coordinates, particles_from_tilt_stacks
from cryodl.core.volumes.particle_average import AverageSettings
from cryodl.errors import InputError

N, PIXEL, COUNT = 20, 8.0, 6
POINTS = np.array([[4.0, 0, 0], [-1.5, 3, 2], [0, -3, -5], [-4, -4, 3]])
HEIGHTS = (1.0, 0.7, 0.5, 0.6)


def blobs(points, dimensions):
    axes = np.meshgrid(*[np.arange(N) - N // 2] * dimensions, indexing="ij")[::-1]
    total = np.zeros((N,) * dimensions)
    for point, height in zip(points, HEIGHTS):
        square = sum((axis - p) ** 2 for axis, p in zip(axes, point))
        total += height * np.exp(-square / (2 * 1.5**2))
    return total.astype(np.float32)


@pytest.fixture
def stacks(tmp_path):
    rng = np.random.default_rng(0)
    rotations, shifts = random_rotations(COUNT, rng), rng.uniform(-1.5, 1.5, (COUNT, 3))
    tilts = tilt_series(np.arange(-60, 61, 4.0), defocus=np.nan, axis=84.7)
    paths = []
    for i in range(COUNT):
        points = POINTS @ rotations[i].T - shifts[i]
        images = [blobs((points @ view.T)[:, :2], 2) for view in view_rotations(tilts)]
        paths.append(tmp_path / f"stack{i}.mrcs")
        with mrcfile.new(paths[-1], np.stack(images)) as file:
            file.voxel_size = PIXEL
    return particles_from_tilt_stacks(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=N,
        tomograms=["ts"] * COUNT,
        tilts={"ts": tilts},
        rotations=rotations,
        shifts_angstrom=shifts * PIXEL,
    )


def test_stacks_of_tilt_images_are_the_density_times_their_weight(stacks):
    source = ParticleVolumes(stacks, AverageSettings(dose="none"))
    volumes, weights = source.read(np.arange(COUNT))
    assert source.premultiplied and volumes.shape == weights.shape == (COUNT, N, N, N)
    for i in (0, 3):
        shift = stacks.shifts_angstrom[i] / PIXEL
        density = blobs(POINTS @ stacks.rotations[i].T - shift, 3)
        expected = apply_transfer(density, weights[i])
        assert fourier_shell_correlation(volumes[i], expected)[1:6].min() > 0.97
        mirrored = apply_transfer(density[::-1], weights[i])
        assert fourier_shell_correlation(volumes[i], mirrored)[4:6].min() < 0.85


def test_stacks_of_tilt_images_are_aligned(stacks):
    volumes, weights = ParticleVolumes(stacks, AverageSettings(dose="none")).read(np.arange(COUNT))
    points = FourierPoints(N, N // 2 - 1)
    reference = MapReference(blobs(POINTS, 3), points)
    aligner = Aligner(reference, SearchSettings(max_shift_px=3))
    found = aligner.align(observe(points, volumes, weights, premultiplied=True))
    errors = angular_distance_degrees(found.rotations, stacks.rotations)
    good = errors < 3
    assert np.median(errors) < 1.5 and good.sum() >= COUNT - 1
    shifts = stacks.shifts_angstrom / PIXEL
    np.testing.assert_allclose(found.shifts_px[good], shifts[good], atol=0.3)


def test_bare_coordinates_cannot_be_aligned():
    particles = particles_from_coordinates([[1, 2, 3]], pixel_size_angstrom=8, tomograms=["a"])
    with pytest.raises(InputError, match="extract them"):
        ParticleVolumes(particles, AverageSettings())
