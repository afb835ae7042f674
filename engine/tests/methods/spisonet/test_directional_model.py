"""What was measured, the classical filling, and how far each estimate is trusted."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from cryodl.core.evaluation.directional import region_fsc
from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.transform import friedel_average
from cryodl.core.geometry.resample import centred_to_rfft
from cryodl.methods.spisonet.blend import Moments
from cryodl.methods.spisonet.constraints import fill_missing, project_constraints
from cryodl.methods.spisonet.fsc3d import compute_fsc3d
from cryodl.methods.spisonet.problem import Problem
from cryodl.methods.spisonet.snr import correlation_from_cosine, snr_model

AXES = {"z": (0.0, 0.0, 1.0), "y": (0.0, 1.0, 0.0), "x": (1.0, 0.0, 0.0)}
BOX = 32


def blobs(box, seed=0, count=25):
    """Return a compact positive density and a soft mask about it."""
    rng = np.random.default_rng(seed)
    points = rng.normal(scale=box / 9, size=(count, 3))
    points = points[np.linalg.norm(points, axis=1) < box * 0.28]
    axis = np.arange(box) - box // 2
    z, y, x = (np.exp(-((axis[:, None] - points[:, i]) ** 2) / 2.5) for i in range(3))
    density = np.einsum("zp,yp,xp->zyx", z, y, x).astype(np.float32)
    grown = ndimage.gaussian_filter((density > 0.1).astype(np.float32), 1.0)
    return density, np.clip(2 * grown, 0, 1).astype(np.float32)


def half_maps(box, seed=0, noise=0.05, empty=None):
    truth, mask = blobs(box, seed)
    rng = np.random.default_rng(seed + 100)
    halves = []
    for _ in range(2):
        half = truth + rng.normal(scale=noise, size=truth.shape)
        if empty is not None:
            spectrum = np.fft.fftshift(np.fft.fftn(half)) * ~empty
            half = np.fft.ifftn(np.fft.ifftshift(spectrum)).real
        halves.append(half.astype(np.float32))
    return truth, mask, halves


def band(box, low=4):
    shells = shell_index(box)
    return (shells >= low) & (shells < box // 2 - 2)


# --- what was measured -------------------------------------------------------------------------


@pytest.mark.parametrize("box", [32, 33])
def test_equal_halves_are_all_signal(box):
    volume = np.random.default_rng(0).normal(size=(box,) * 3).astype(np.float32)
    fsc3d = compute_fsc3d(volume, volume, None, 2.0, limit_resolution_angstrom=4.0).volume
    model = snr_model(fsc3d)
    inner = shell_index(box) < box // 2 - 2
    np.testing.assert_allclose(model.rho[inner], 1.0, atol=0.02)
    np.testing.assert_allclose(model.coverage[inner], 1.0, atol=0.02)


@pytest.mark.parametrize("box", [32, 33])
def test_even_sampling_is_covered_in_all_directions(box):
    level = np.clip(1.2 - shell_index(box) / (box / 2), 0.1, 1).astype(np.float32)
    rng = np.random.default_rng(1)
    noisy = np.clip(level + 0.05 * rng.normal(size=level.shape), -1, 1)
    model = snr_model(noisy)
    inner = band(box, 1)
    assert model.coverage[inner].mean() > 0.95
    assert np.quantile(model.coverage[inner], 0.01) > 0.8
    shells = shell_index(box)
    for shell in (5, 10):
        expected = correlation_from_cosine((level[shells == shell].mean() - 0.03) / 0.97)
        assert model.rho[shells == shell].mean() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("box", [32, 33])
@pytest.mark.parametrize("along", AXES)
def test_a_missing_cone_is_found_where_it_is(box, along):
    empty = double_cone_region(box, AXES[along], 35)
    rng = np.random.default_rng(2)
    fsc3d = np.where(empty, 0.0, 0.8) + 0.05 * rng.normal(size=empty.shape)
    coverage = snr_model(fsc3d.astype(np.float32)).coverage
    inside = double_cone_region(box, AXES[along], 25) & band(box, 6)
    outside = ~double_cone_region(box, AXES[along], 45) & band(box, 6)
    assert coverage[inside].mean() < 0.1 and coverage[outside].mean() > 0.9
    for other in set(AXES) - {along}:
        assert coverage[double_cone_region(box, AXES[other], 25) & band(box, 6)].mean() > 0.9


@pytest.mark.parametrize("box", [24, 33])
def test_the_model_is_bounded_symmetric_and_whole_at_zero_frequency(box):
    noise = np.random.default_rng(3).uniform(-1, 1, (box,) * 3).astype(np.float32)
    model = snr_model(noise)
    for volume in (model.rho, model.coverage):
        assert volume.dtype == np.float32 and volume.min() >= 0 and volume.max() <= 1
        np.testing.assert_allclose(volume, friedel_average(volume), atol=1e-5)
    assert model.rho[box // 2, box // 2, box // 2] == 1


def test_mean_cosines_become_correlations():
    """Simulated complex Gaussians of known correlation: the mean cosine leads back to it."""
    rng = np.random.default_rng(4)
    for rho in (0.2, 0.6, 0.9):
        signal, *noise = (rng.normal(size=(200000, 2)) @ [1, 1j] for _ in range(3))
        first, second = (rho**0.5 * signal + (1 - rho) ** 0.5 * n for n in noise)
        cosine = np.cos(np.angle(first * second.conj())).mean()
        assert correlation_from_cosine(np.array(cosine)) == pytest.approx(rho, abs=0.01)


# --- the classical filling ---------------------------------------------------------------------


@pytest.mark.parametrize("along", AXES)
@pytest.mark.parametrize("box", [24, 33])
def test_filling_brings_a_compact_positive_density_nearer_to_the_truth(box, along):
    truth, mask = blobs(box)
    empty = double_cone_region(box, AXES[along], 30)
    weight = centred_to_rfft(torch.from_numpy((~empty).astype(np.float32)))
    spectrum = torch.fft.rfftn(torch.from_numpy(truth))
    filled = fill_missing(weight * spectrum, weight, torch.from_numpy(mask), iterations=40)
    found = torch.fft.rfftn(filled)
    missing = weight == 0
    error = (found - spectrum)[missing].abs().square().sum()
    assert float(error / spectrum[missing].abs().square().sum()) < 0.5
    data = torch.fft.irfftn(weight * spectrum, s=(box,) * 3).numpy()
    inside = np.nanmean(region_fsc(filled.numpy(), truth, empty)[2 : box // 3])
    assert inside > 0.6 and abs(np.nanmean(region_fsc(data, truth, empty)[2 : box // 3])) < 0.5


def test_more_rounds_fill_more_and_a_start_is_gone_on_from():
    truth, mask = blobs(BOX)
    empty = double_cone_region(BOX, AXES["z"], 30)
    weight = centred_to_rfft(torch.from_numpy((~empty).astype(np.float32)))
    data = weight * torch.fft.rfftn(torch.from_numpy(truth))
    support = torch.from_numpy(mask)
    errors = [
        float((fill_missing(data, weight, support, iterations=i) - torch.from_numpy(truth)).norm())
        for i in (1, 5, 25)
    ]
    assert errors[0] > errors[1] > errors[2]
    kept = fill_missing(data, weight, support, iterations=1, start=torch.from_numpy(truth))
    assert float((kept - torch.from_numpy(truth)).norm()) < errors[2]


def test_constraints_put_the_solvent_at_zero_and_leave_no_negative_density():
    volume = torch.full((8, 8, 8), 5.0)
    volume[2:5, 2:5, 2:5] = 9.0
    volume[3, 3, 3] = -50.0
    mask = torch.zeros(8, 8, 8)
    mask[2:5, 2:5, 2:5] = 1.0
    found = project_constraints(volume, mask)
    assert float(found[2, 2, 2]) == 4.0 and float(found[3, 3, 3]) == 0.0
    assert float(found[0].abs().max()) == 0.0
    assert float(project_constraints(volume, mask, positive=False)[3, 3, 3]) == -55.0


# --- trust -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem():
    _, mask, halves = half_maps(BOX)
    weight = np.clip(1.1 - shell_index(BOX) / BOX, 0.2, 1).astype(np.float32)
    return Problem(halves, weight, mask, fill_iterations=5)


def solved(problem, estimates, target, use=(0, 1, 2)):
    moments = Moments(problem)
    # Targets of the power that the problem states, so that shares mean what they say.
    moments.add(estimates, target, torch.ones_like(problem.weight))
    return moments.solve(use)


def signal(problem, seed):
    """Return white noise in each shell, of exactly the power that the problem states."""
    noise = torch.randn((BOX,) * 3, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfftn(noise)
    flat = problem.shell.reshape(-1)
    found = torch.bincount(flat, spectrum.abs().square().reshape(-1)) / torch.bincount(flat)
    power = torch.from_numpy(problem.power.astype(np.float32)) / found.float()
    return spectrum * power.sqrt()[problem.shell]


def test_a_perfect_estimate_is_taken_whole_and_noise_is_left_out(problem):
    target, unrelated, other = (signal(problem, seed) for seed in (1, 2, 3))
    inner = slice(3, 13)
    for place in range(3):
        estimates = [unrelated, other]
        estimates.insert(place, target)
        blend = solved(problem, estimates, target)
        np.testing.assert_allclose(blend.coefficients[place, inner], 1.0, atol=0.06)
        rest = np.delete(blend.coefficients[:, inner], place, axis=0)
        assert rest.max() < 0.06
        assert blend.explained[inner].min() > 0.9


def test_noise_alone_explains_nothing(problem):
    target, *noise = (signal(problem, seed) for seed in (4, 5, 6, 7))
    blend = solved(problem, noise, target)
    assert blend.coefficients[:, 5:13].max() < 0.2
    assert blend.explained[5:13].max() < 0.02


def test_a_noisy_estimate_is_damped_as_a_wiener_filter_would(problem):
    target, noise = signal(problem, 8), signal(problem, 9)
    blend = solved(problem, [target + noise, noise * 0, noise * 0], target, use=(0,))
    np.testing.assert_allclose(blend.coefficients[0, 7:13], 0.5, atol=0.06)
    np.testing.assert_allclose(blend.explained[7:13], 0.5, atol=0.08)
    assert blend.coefficients.min() >= 0


def test_an_estimate_that_may_not_be_used_is_not(problem):
    target, noise = signal(problem, 10), signal(problem, 11)
    blend = solved(problem, [noise, target, target], target, use=(0,))
    assert blend.coefficients[1:].max() == 0
