"""Turns of a sub-unit are found again, and move what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from test_pose_fits import NOISE, Particles

from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.methods.opus_tomo.bodies import BodyDensity, fit_bodies
from cryodl.methods.opus_tomo.density import DensityModel, Scene
from cryodl.methods.opus_tomo.model import NetworkSize, build_network

N, COUNT, RANGE = 20, 32, 40.0


def hinge(angle_degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a body with an arm turned about z at the arm's middle, and the mask of the arm."""
    body, arm = np.zeros((2, N, N, N))
    body[7:13, 4:9, 6:14] = 1.0
    arm[8:12, 11:15, 5:15] = 1.0
    mask = np.zeros((N,) * 3)
    mask[5:15, 10:17, 2:18] = 1.0
    angle = np.radians(angle_degrees)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = np.array([-0.5, 2.5, -0.5])
    moved = rotate_volume(
        gaussian_filter(arm, 0.7), turn, translation_px=centre - turn @ centre, order=3
    )
    return (gaussian_filter(body, 0.7) + moved), gaussian_filter(mask, 0.8).astype(np.float32)


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(2)
    angles = rng.uniform(-RANGE / 2, RANGE / 2, COUNT)
    rotations = random_rotations(COUNT, rng)
    volumes = [
        rotate_volume(hinge(angle)[0], r, order=3) + NOISE * rng.standard_normal((N,) * 3)
        for angle, r in zip(angles, rotations, strict=True)
    ]
    mean = np.mean([hinge(angle)[0] for angle in angles], axis=0).astype(np.float32)
    model = DensityModel(build_network(NetworkSize("compact", 0.25, 3, 2, N - 4), 0), N, True)
    noise = np.full(N // 2 + 1, NOISE**2, np.float32)
    model.set_scene(Scene(mean, np.ones((N,) * 3, np.float32), noise), 0.0, 5.0)
    return angles, Particles(volumes, rotations, np.zeros((COUNT, 3))), model.eval()


def test_a_hinge_is_found_again(simulated):
    angles, store, model = simulated
    rng = np.random.default_rng(4)
    # A latent that bends with the angle, in units of its own, and one that means nothing.
    latents = np.column_stack([np.tanh(angles / 20), 0.1 * rng.standard_normal(COUNT)])
    found = fit_bodies(model, store, latents, hinge(0)[1][None], steps=120)
    seen = found.angles_degrees()[:, 0]
    true = angles - angles.mean()
    slope = np.polyfit(true, seen, 1)[0]
    assert abs(spearmanr(seen, true).statistic) > 0.95
    assert 0.75 < abs(slope) < 1.2
    axis = np.linalg.svd(found.vectors[:, 0], full_matrices=False)[2][0]
    assert abs(axis[2]) > 0.95
    # A positive turn is that of the pose conventions: counter-clockwise about z.
    assert np.corrcoef(found.vectors[:, 0, 2], true)[0, 1] > 0.95


def test_sub_units_move_and_the_rest_stays():
    volume, mask = hinge(0)
    bodies = BodyDensity(torch.as_tensor(volume).float(), torch.as_tensor(mask)[None], 2)
    still = bodies.moved(torch.zeros(1, 1, 6))[0].detach().numpy()
    np.testing.assert_allclose(still, volume, atol=1e-4)
    motion = torch.zeros(2, 1, 6)
    motion[0, 0, 3], motion[1, 0, 2] = 2.0, float(np.radians(30))
    shifted, turned = bodies.moved(motion).detach().numpy()
    np.testing.assert_allclose(shifted[:, :8], volume[:, :8], atol=1e-3)
    middle = [(v * np.arange(N)).sum() / v.sum() for v in (volume[:, 11:], shifted[:, 11:])]
    assert middle[1] - middle[0] == pytest.approx(2.0, abs=0.1)
    assert np.corrcoef(turned.ravel(), hinge(30)[0].ravel())[0, 1] > 0.97


def test_overlapping_sub_units_share_their_density():
    volume, mask = hinge(0)
    both = torch.as_tensor(np.stack([mask, mask]))
    bodies = BodyDensity(torch.as_tensor(volume).float(), both, 2)
    np.testing.assert_allclose(
        bodies.moved(torch.zeros(1, 2, 6))[0].detach().numpy(), volume, atol=1e-4
    )
