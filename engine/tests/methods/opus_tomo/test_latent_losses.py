"""Losses, schedules, batches and clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cryodl.methods.opus_tomo.clusters import (
    along_component,
    cluster,
    principal_components,
    silhouette,
)
from cryodl.methods.opus_tomo.data import ParticleSource, Plan
from cryodl.methods.opus_tomo.leakage import direction_leakage
from cryodl.methods.opus_tomo.losses import (
    disentanglement,
    divergence,
    prior_weight,
    published_weight,
    roughness,
)
from cryodl.methods.opus_tomo.select import inside_polygon


def test_divergence_is_that_of_normals():
    mean, log_deviation = torch.tensor([[1.0, 0.0]]), torch.tensor([[math.log(0.5), 0.0]])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, log_deviation.exp()), normal(0.0, 1.0)
    ).sum()
    torch.testing.assert_close(divergence(mean, log_deviation)[0], expected)


def test_prior_rises_in_saw_teeth():
    assert prior_weight(0.0, "cos", 4) == pytest.approx(0.1)
    assert prior_weight(0.24, "cos", 4) == 1.0
    assert prior_weight(0.2501, "cos", 4) < 0.11
    assert prior_weight(0.37, "linear", 4) == pytest.approx(0.1 + 0.9 * 0.5)
    assert prior_weight(0.0, "constant", 4) == 1.0


def test_roughness_of_a_ramp():
    ramp = torch.arange(8.0).expand(1, 8, 8, 8)
    inside = torch.zeros(8, 8, 8)
    inside[2:6, 2:6, 2:6] = 1
    expected = 0.1 * 1.0 + 0.3 * 3.5
    assert float(roughness(ramp, inside)) == pytest.approx(expected, rel=1e-4)


def test_roughness_has_the_gradient_of_its_value():
    generator = torch.Generator().manual_seed(0)
    density = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)
    mask = (torch.rand(4, 5, 6, generator=generator) > 0.4).double()
    assert torch.autograd.gradcheck(lambda d: roughness(d, mask), density.requires_grad_())


def test_disentanglement_draws_to_like_latents_seen_from_elsewhere():
    bank = torch.cat([torch.zeros(40, 2), torch.full((160, 2), 5.0)])
    mean = torch.tensor([[1.0, 0.0]] * 3, requires_grad=True)
    elsewhere = torch.ones(3, 200, dtype=torch.bool)
    disentanglement(mean, bank, elsewhere, torch.rand(3, 32), 8).backward()
    assert (mean.grad[:, 0] > 0).all()  # down the slope is towards zero
    alone = disentanglement(mean, bank, torch.zeros_like(elsewhere), torch.rand(3, 32), 8)
    assert float(alone.detach()) == 0


def test_weight_of_disentanglement_needs_signal():
    beta = torch.tensor(1.0)
    assert float(published_weight(1.0, torch.tensor(0.0), beta)) == 0
    assert float(published_weight(0.8, torch.tensor(0.1), beta)) == pytest.approx(0.8, rel=1e-4)


@pytest.mark.parametrize(("count", "batch", "world"), [(23, 4, 1), (23, 8, 2), (5, 8, 1)])
def test_every_particle_once_an_epoch(count, batch, world):
    plan = Plan(np.arange(100, 100 + count), batch, 3, seed=1)
    steps = plan.steps_per_epoch(world)
    source = ParticleSource(None, plan, steps)
    orders = []
    for epoch in range(2):
        seen = [
            source.members(epoch * steps + s, rank, world)
            for s in range(steps)
            for rank in range(world)
        ]
        assert max(map(len, seen)) <= batch and min(map(len, seen)) >= 1
        assert sorted(np.concatenate(seen)) == list(range(100, 100 + count))
        orders.append(np.concatenate(seen).tolist())
    assert steps * world == 1 or orders[0] != orders[1]


def test_clusters_are_found_and_stay_the_same():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [8, 0], [0, 9.0]])
    truth = rng.integers(0, 3, 120)
    points = centres[truth] + rng.standard_normal((120, 2))
    labels, nearest = cluster(points, 3, 0)
    again, _ = cluster(points, 3, 0)
    assert (labels == again).all()
    assert len({(a, b) for a, b in zip(labels, truth, strict=True)}) == 3
    assert set(labels) == {1, 2, 3}
    for k, row in enumerate(nearest):
        assert labels[row] == k + 1
    assert silhouette(points, labels) > 0.6
    assert silhouette(points, rng.integers(1, 4, 120)) < 0.1


def test_more_clusters_than_kinds_are_none_empty():
    labels, _ = cluster(np.zeros((6, 2)), 4)
    assert set(labels) == {1, 2, 3, 4}


def test_principal_components():
    rng = np.random.default_rng(1)
    line = rng.standard_normal(200)
    points = np.outer(line, [3.0, 4.0]) + 0.1 * rng.standard_normal((200, 2))
    projections, directions, shares = principal_components(points)
    np.testing.assert_allclose(directions[0], [0.6, 0.8], atol=0.02)
    assert shares[0] > 0.99 and shares.sum() == pytest.approx(1)
    assert abs(np.corrcoef(projections[:, 0], line)[0, 1]) > 0.99
    places = along_component(projections[:, 0], 5)
    assert places[0] == pytest.approx(np.percentile(projections[:, 0], 5))


def test_leakage_sees_directions_and_nothing_else():
    from cryodl.core.geometry.rotations import random_rotations

    rng = np.random.default_rng(2)
    rotations = random_rotations(400, rng)
    assert direction_leakage(rng.standard_normal((400, 3)), rotations) < 0.05
    assert direction_leakage(rotations[:, 2], rotations) > 0.3


def test_points_in_a_polygon():
    corners = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4.0]])
    points = np.array([[1, 1], [2, 3], [3, 2], [-1, 1], [2, 0.5]])
    assert inside_polygon(points, corners).tolist() == [True, False, True, False, True]
