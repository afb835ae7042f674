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
from cryodl.methods.opus_tomo.belief import believe, likely_errors
from cryodl.methods.opus_tomo.canonical import CanonicalFrame, Sampling
from cryodl.methods.opus_tomo.consensus import signal_share
from cryodl.methods.opus_tomo.density import DensityModel, Scene
from cryodl.methods.opus_tomo.latents import encode_all
from cryodl.methods.opus_tomo.losses import misfit
from cryodl.methods.opus_tomo.model import NetworkSize, build_network
from cryodl.methods.opus_tomo.motions import corrected_poses
from cryodl.methods.opus_tomo.poses import Fits, PosePrior, fit_poses
from cryodl.methods.opus_tomo.regression import Regression, basis_of

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
        self.sampling, self.views = frame.sampling, rotations[:, 2]
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


def known(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the density itself, whatever the particle."""
    return np.fft.rfftn(reference()).astype(np.complex64)[None], np.zeros(0)


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


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture(scope="module")
def model():
    found = DensityModel(build_network(NetworkSize("compact", 0.25, 3, 2, N - 4), 0), N, True)
    noise = np.full(N // 2 + 1, NOISE**2, np.float32)
    found.set_scene(Scene(reference(), np.ones((N,) * 3, np.float32), noise), 0.0, 5.0)
    return found.eval()


def test_poses_are_found_again(given, model):
    volumes, rotations, shifts, wrong, away = given
    store, prior = Particles(volumes, wrong, away), PosePrior(4.0, 1.0)
    found = believe(fit_poses(model, store, known, prior), prior, np.zeros((COUNT, 6)))
    turned, moved = corrected_poses(wrong, away, found.errors[:, :3], found.errors[:, 3:])
    # What all share is not theirs: the mean correction was taken off.
    assert np.abs(found.errors.mean(axis=0)).max() < 1e-9
    before = np.median(angular_distance_degrees(wrong, rotations))
    after = np.median(angular_distance_degrees(common_removed(turned, rotations), rotations))
    assert after < 0.4 * before
    rest = np.einsum("nji,nj->ni", turned, moved - shifts)  # in the frame of the reference
    assert np.median(np.linalg.norm(rest - rest.mean(axis=0), axis=1)) < 0.2
    assert found.trust > 0 and found.gain > 3 * found.deviation


def common_removed(turned, rotations):
    u, _, vt = np.linalg.svd((np.swapaxes(rotations, 1, 2) @ turned).sum(axis=0))
    return turned @ (u @ vt).T


def test_good_poses_stay(given, model):
    volumes, rotations, shifts, _, _ = given
    prior = PosePrior(4.0, 1.0)
    fits = fit_poses(model, Particles(volumes, rotations, shifts), known, prior)
    found = believe(fits, prior, np.zeros((COUNT, 6))).errors
    assert np.median(np.degrees(np.linalg.norm(found[:, :3], axis=1))) < 1.0
    assert np.linalg.norm(found[:, 3:], axis=1).max() < 0.2


def test_earlier_corrections_count_as_errors(given, model):
    volumes, rotations, shifts, _, _ = given
    store = Particles(volumes, rotations, shifts)
    prior = PosePrior(0.05, 0.01)  # hardly any error is expected
    earlier = np.tile([0.02, 0, 0, 0, 0, 0.0], (COUNT, 1))
    earlier[: COUNT // 2] *= -1
    found = fit_poses(model, store, known, prior, earlier=earlier).best
    # Each is drawn back to the pose it was given with.
    assert (np.abs(found[:, 0]) < 0.5 * np.abs(earlier[:, 0])).all()


def quadratic(count, errors, deviation, rng):
    """Fits that see errors (n, 6) with noise of one deviation."""
    seen = errors + deviation * rng.standard_normal(errors.shape)
    curvature = np.tile(np.eye(6) / deviation**2, (count, 3, 1, 1))
    slope = np.einsum("nkij,nj->nki", curvature, seen)
    return Fits(seen, curvature, slope, np.zeros((count, 0)))


def test_widths_are_learned(rng):
    count, prior = 2000, PosePrior(3.0, 1.0)
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    angles = np.radians(3.0) * rng.standard_normal((count, 1))
    errors = np.concatenate([direction * angles, rng.standard_normal((count, 3))], axis=1)
    fits = quadratic(count, errors, np.radians(1.5), rng)
    found = likely_errors(fits.curvature[:, 0], fits.slope[:, 0], prior)
    wide = np.linalg.solve(
        fits.curvature[:, 0] + np.diag(prior.precision), fits.slope[:, 0, :, None]
    )[..., 0]

    def median(values):
        return np.degrees(np.median(np.linalg.norm(values[:, :3] - errors[:, :3], axis=1)))

    # One normal distribution of errors: 1.65 degrees; what can be had: 1.5.
    assert median(found) < 0.95 * median(wide)


def test_fits_to_noise_give_the_poses_back(rng):
    prior, earlier = PosePrior(3.0, 1.0), 0.01 * rng.standard_normal((300, 6))
    fits = quadratic(300, np.zeros((300, 6)), 0.02, rng)
    fits.slope[:, 2] = 0  # what was judged by knows that the poses were right as they were given
    found = believe(fits, prior, earlier)
    assert found.trust == 0
    assert not found.errors.any()


def state(amount: float) -> np.ndarray:
    """Return the reference with some of a change."""
    return reference() + amount * 0.4 * (np.roll(reference(), 3, axis=0) - reference())


def test_regression_follows_a_change_and_leaves_one_out(rng):
    x = rng.standard_normal(60)
    volumes = [state(value) + NOISE * rng.standard_normal((N,) * 3) for value in x]
    store = Particles(volumes, np.tile(np.eye(3), (60, 1, 1)), np.zeros((60, 3)))
    mask = np.ones((N,) * 3, np.float32)
    basis = basis_of(np.column_stack([x, 0.01 * rng.standard_normal(60)]))
    np.testing.assert_allclose(basis.T @ basis / 60, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(basis_of(np.zeros((60, 0))), np.ones((60, 1)))
    regression = Regression(store, mask, basis)
    inner = (slice(3, -3),) * 3
    for index in (int(x.argmin()), int(x.argmax())):
        parts, amounts = regression.without(index)
        found = np.fft.irfftn(parts[0] + amounts[0] * parts[1], s=(N,) * 3)[inner]
        assert np.corrcoef(found.ravel(), state(x[index])[inner].ravel())[0, 1] > 0.97
    # Leaving one out is exact: what the particle itself says does not matter.
    found, _ = regression.without(5)
    kept = store.found[5]
    store.found[5] = type(kept)(kept.data + 100, kept.weight, kept.energy)
    again = Regression(store, mask, basis)
    again._share = regression._share  # which all particles decide
    np.testing.assert_allclose(again.without(5)[0], found, atol=2e-2 * np.abs(found).max())


def test_amounts_are_fitted_along_with_poses(given, model, rng):
    _, rotations, shifts, wrong, away = given
    true = rng.standard_normal(COUNT)
    volumes = [
        rotate_volume(state(value), r, translation_px=-s, order=3)
        + NOISE * rng.standard_normal((N,) * 3)
        for value, r, s in zip(true, rotations, shifts, strict=True)
    ]
    parts = np.fft.rfftn(np.stack([state(0), state(1) - state(0)]), axes=(1, 2, 3))

    def fitted(goal):
        store, prior = Particles(volumes, wrong, away), PosePrior(4.0, 1.0)
        fits = fit_poses(model, store, goal, prior)
        turned, _ = corrected_poses(wrong, away, fits.best[:, :3], fits.best[:, 3:])
        off = angular_distance_degrees(common_removed(turned, rotations), rotations)
        return fits.amounts, np.median(off)

    parts = parts.astype(np.complex64)
    amounts, along = fitted(lambda index: (parts, np.zeros(1)))
    _, alone = fitted(lambda index: (parts[:1], np.zeros(0)))
    assert np.corrcoef(amounts[:, 0], true)[0, 1] > 0.95
    assert along < 0.8 * alone


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
