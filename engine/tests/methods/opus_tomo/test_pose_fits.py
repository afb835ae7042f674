"""Fitting of poses and latents against known answers, and what the linear method sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    random_rotations,
    rotate_volume,
)
from cryodl.core.simulation.poses import rotations_near_identity
from cryodl.methods.opus_tomo.canonical import CanonicalFrame, Sampling
from cryodl.methods.opus_tomo.consensus import Sums, signal_share
from cryodl.methods.opus_tomo.density import DensityModel, Scene
from cryodl.methods.opus_tomo.latents import encode_all
from cryodl.methods.opus_tomo.losses import misfit
from cryodl.methods.opus_tomo.model import NetworkSize, build_network
from cryodl.methods.opus_tomo.motions import corrected_poses
from cryodl.methods.opus_tomo.poses import PosePrior, fit_poses

N, COUNT = 20, 8
NOISE = 0.15


def reference() -> np.ndarray:
    volume = np.zeros((N,) * 3)
    for weight, (x, y, z) in enumerate(((4, 0, 0), (0, -5, 1), (-3, 2, 5), (0, 4, -4)), start=2):
        volume[N // 2 + z, N // 2 + y, N // 2 + x] += weight
    return (gaussian_filter(volume, 1.2) * 10).astype(np.float32)


class Particles:
    """What the fits need of a `ParticleStore`, without files."""

    def __init__(self, volumes, rotations, shifts):
        frame = CanonicalFrame(Sampling(N, N, N, 5.0))
        self.sampling, self.rotations = frame.sampling, rotations
        self.found = [
            frame.transform(v, None, r, s)
            for v, r, s in zip(volumes, rotations, shifts, strict=True)
        ]

    def __len__(self):
        return len(self.found)

    def canonical(self, index):
        return self.found[index]

    def stacked(self, rows):
        names = ("data", "weight", "energy")
        return {
            n: torch.from_numpy(np.stack([getattr(self.found[i], n) for i in rows])) for n in names
        }


def known() -> Sums:
    """An average in which one particle more or less makes no difference."""
    transform = np.fft.rfftn(reference())
    many = 1e6
    whole = np.ones(transform.shape, np.float32)
    return Sums((many * transform).astype(np.complex64), many * whole, whole)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(3)
    rotations, shifts = random_rotations(COUNT, rng), rng.uniform(-1, 1, (COUNT, 3))
    volumes = [
        rotate_volume(reference(), r, translation_px=-s, order=3)
        + NOISE * rng.standard_normal((N,) * 3)
        for r, s in zip(rotations, shifts, strict=True)
    ]
    wrong = rotations_near_identity(COUNT, 4.0, rng) @ rotations
    return volumes, rotations, shifts, wrong, shifts + rng.normal(0, 1, (COUNT, 3))


@pytest.fixture(scope="module")
def model():
    found = DensityModel(build_network(NetworkSize("compact", 0.25, 3, 2, N - 4), 0), N, True)
    noise = np.full(N // 2 + 1, NOISE**2, np.float32)
    found.set_scene(Scene(reference(), np.ones((N,) * 3, np.float32), noise), 0.0, 5.0)
    return found.eval()


def test_poses_are_found_again(given, model):
    volumes, rotations, shifts, wrong, away = given
    store = Particles(volumes, wrong, away)
    found = fit_poses(model, store, known(), PosePrior(4.0, 1.0))
    turned, moved = corrected_poses(wrong, away, found.vectors, found.shifts_px)
    # What all share is not theirs: the mean correction was taken off.
    assert np.abs(found.vectors.mean(axis=0)).max() < 1e-9
    before = np.median(angular_distance_degrees(wrong, rotations))
    after = np.median(angular_distance_degrees(common_removed(turned, rotations), rotations))
    assert after < 0.4 * before
    rest = np.einsum("nji,nj->ni", turned, moved - shifts)  # in the frame of the reference
    assert np.median(np.linalg.norm(rest - rest.mean(axis=0), axis=1)) < 0.2
    assert (found.gained > 0).all()


def common_removed(turned, rotations):
    u, _, vt = np.linalg.svd((np.swapaxes(rotations, 1, 2) @ turned).sum(axis=0))
    return turned @ (u @ vt).T


def test_good_poses_stay(given, model):
    volumes, rotations, shifts, _, _ = given
    found = fit_poses(model, Particles(volumes, rotations, shifts), known(), PosePrior(4.0, 1.0))
    assert np.median(np.degrees(np.linalg.norm(found.vectors, axis=1))) < 1.0
    assert np.linalg.norm(found.shifts_px, axis=1).max() < 0.2


def test_earlier_corrections_count_as_errors(given, model):
    volumes, rotations, shifts, _, _ = given
    store = Particles(volumes, rotations, shifts)
    prior = PosePrior(0.05, 0.01)  # hardly any error is expected
    earlier = np.tile([0.02, 0, 0, 0, 0, 0.0], (COUNT, 1))
    earlier[: COUNT // 2] *= -1
    found = fit_poses(model, store, known(), prior, earlier=earlier)
    # Each is drawn back to the pose it was given with, or left alone as not to be believed.
    moving = found.gained > 0
    signs = np.sign(found.vectors[moving, 0])
    assert (signs == -np.sign(earlier[moving, 0])).all()


def test_refined_latents_fit_better_and_are_always_the_same(given, model):
    volumes, rotations, shifts, _, _ = given
    store = Particles(volumes, rotations, shifts)
    plain = encode_all(model, store)
    refined = encode_all(model, store, refine_steps=2)
    again = encode_all(model, store, refine_steps=2)
    np.testing.assert_array_equal(refined.mean, again.mean)
    voxels = float((model.mask > 0.5).sum())

    def objective(found):
        return 0.5 * found.misfit * voxels + 0.5 * (found.mean**2).sum(axis=1)

    assert (objective(refined) <= objective(plain) + 1e-3).all()
    assert objective(refined).mean() < objective(plain).mean()


def test_scaled_distances_are_differences_of_densities(model):
    from cryodl.methods.opus_tomo.latents import scaled_latents

    around = np.random.default_rng(0).standard_normal((6, 3))
    mean = (np.array([4.0, -3.0, 5.0]) + 0.3 * around).astype(np.float32)
    scaled = scaled_latents(model, mean)
    with torch.no_grad():
        decoded = model.decode(torch.from_numpy(mean)).flatten(1).numpy()
    ours = np.linalg.norm(scaled[0] - scaled[1:], axis=1)
    theirs = np.linalg.norm(decoded[0] - decoded[1:], axis=1)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    assert scaled.std(axis=0)[0] >= scaled.std(axis=0)[-1]


def test_truth_fits_best(given, model):
    volumes, rotations, shifts, wrong, away = given
    seen = model.seen(model.base[None])
    values = []
    for turned, moved in ((rotations, shifts), (wrong, away)):
        batch = Particles(volumes, turned, moved).stacked(range(COUNT))
        data = model.whitened(batch["data"], batch["weight"])
        values.append(misfit(seen.expand(COUNT, -1, -1, -1), *data)[0].mean())
    assert values[0] < values[1] < 0


def test_signal_share_of_halves():
    rng = np.random.default_rng(0)
    first = np.fft.rfftn(rng.standard_normal((16,) * 3))
    second = np.fft.rfftn(rng.standard_normal((16,) * 3))
    assert signal_share(first, first).min() == pytest.approx(1)
    assert signal_share(first, second)[4:8, 4:8, 4:8].mean() < 0.2
    with_noise = signal_share(first + second, first)  # correlation 0.71 of each shell
    assert with_noise[4:8, 4:8, 4:8].mean() == pytest.approx(0.83, abs=0.05)
