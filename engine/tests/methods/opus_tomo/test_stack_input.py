"""Stacks of tilt images say the same of a density as the density itself."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryodl.core.fourier.tilts import view_rotations
from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.core.io.particles.make import particles_from_tilt_stacks
from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.volumes.particle_average import AverageSettings
from cryodl.methods.opus_tomo.canonical import Sampling
from cryodl.methods.opus_tomo.stacks import noise_factor, stack_canonical

N, PIXEL, COUNT = 24, 5.0, 3
ANGLES = np.arange(-60.0, 61.0, 10.0)


def reference() -> np.ndarray:
    volume = np.zeros((N,) * 3)
    for weight, (x, y, z) in enumerate(((4, 0, 0), (0, -5, 1), (-3, 2, 4), (0, 3, -4)), start=2):
        volume[N // 2 + z, N // 2 + y, N // 2 + x] += weight
    return (gaussian_filter(volume, 1.3) * 10).astype(np.float32)


def write_stack(path, images) -> None:
    with mrcfile.new(path) as file:
        file.set_data(np.asarray(images, dtype=np.float32))
        file.voxel_size = PIXEL


def series() -> TiltSeries:
    none = np.zeros(len(ANGLES))
    return TiltSeries(
        "t", ANGLES, 90.0, none, none + np.nan, none + np.nan, none, none, 300.0, 2.7, 0.07, PIXEL
    )


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    rng = np.random.default_rng(2)
    rotations, shifts = random_rotations(COUNT, rng), rng.uniform(-2, 2, (COUNT, 3))
    paths = [folder / f"p{i}.mrcs" for i in range(COUNT)]
    for path, rotation, shift in zip(paths, rotations, shifts, strict=True):
        images = []
        for view in view_rotations(series()):
            turned = rotate_volume(
                reference(), view @ rotation, translation_px=-(view @ shift), order=3
            )
            images.append(turned.sum(axis=0) + 1e-3 * rng.standard_normal((N, N)))
        write_stack(path, images)
    particles = particles_from_tilt_stacks(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=N,
        tomograms=["t"] * COUNT,
        tilts={"t": series()},
        rotations=rotations,
        shifts_angstrom=shifts * PIXEL,
    )
    return particles


@pytest.mark.parametrize("crop", [N, 20])
def test_data_are_weight_times_density(stacks, crop):
    sampling = Sampling(N, N, crop, PIXEL)
    start = N // 2 - crop // 2
    middle = reference()[(slice(start, start + crop),) * 3]
    transform = np.fft.rfftn(middle)
    for index in range(COUNT):
        settings = AverageSettings(dose="none")
        found = stack_canonical(stacks, index, settings, sampling, 1)
        assert found.data.shape == sampling.shape and found.weight.min() >= 0
        expected = (found.weight * transform).ravel()
        match = np.vdot(expected, found.data.ravel())
        norms = np.linalg.norm(expected) * np.linalg.norm(found.data)
        # Images were scaled to noise of variance 1, which changes no angle between the two.
        assert match.real / norms > 0.97


def test_a_wrong_pose_fits_worse(stacks):
    sampling = Sampling(N, N, N, PIXEL)
    wrong = stacks.with_poses(np.roll(stacks.rotations, 1, axis=0), stacks.shifts_angstrom)
    transform = np.fft.rfftn(reference())
    fits = []
    for particles in (stacks, wrong):
        found = stack_canonical(particles, 0, AverageSettings(dose="none"), sampling, 1)
        expected = (found.weight * transform).ravel()
        fits.append(
            np.vdot(expected, found.data.ravel()).real
            / (np.linalg.norm(expected) * np.linalg.norm(found.data))
        )
    assert fits[0] > fits[1] + 0.05


def test_noise_factor_is_that_of_noise(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(4):
        paths.append(tmp_path / f"n{i}.mrcs")
        images = rng.standard_normal((len(ANGLES), N, N)).astype(np.float32)
        write_stack(paths[-1], images)
    particles = particles_from_tilt_stacks(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=N,
        tomograms=["t"] * 4,
        tilts={"t": series()},
        rotations=random_rotations(4, rng),
    )
    power = weight = 0.0
    for index in range(4):
        settings = AverageSettings(dose="none")
        found = stack_canonical(particles, index, settings, Sampling(N, N, N, PIXEL), 1)
        seen = found.weight > 0.05 * found.weight.max()
        power += float((np.abs(found.data[seen]) ** 2).sum())
        weight += float(found.weight[seen].sum())
    as_volumes = power / weight / (np.pi / 6 * (N - 2) ** 3)
    # Per frequency of the images, of variance 1, what the misfit divides by is 1 / N.
    assert as_volumes * noise_factor(N) == pytest.approx(1 / N, rel=0.2)
