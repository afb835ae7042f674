"""Losses against formulas written out in full."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as functional

from cryodl.methods.cet_pick.losses import (
    Contrast,
    contrastive_loss,
    focal_loss,
    positive_unlabelled_loss,
)


def full_matrix_loss(first, second, labels, chances, settings: Contrast):
    """The published loss from the whole similarity matrix, in double precision."""
    vectors = torch.cat([first, second])
    n, t, tau = len(labels), settings.temperature, settings.prior
    similarity = ((vectors @ vectors.T - 1) / t).exp()
    similarity = (
        similarity * (1 - torch.eye(2 * n, dtype=vectors.dtype))
        + torch.eye(2 * n) * settings.with_self
    )
    both = torch.cat([labels, labels])
    q = torch.cat(chances)
    positive, other = both > settings.threshold, both < settings.threshold
    least = math.exp(-1 / t)

    def contrast(a, b, prior):
        return -(a / (a + ((b - prior * a) / (1 - prior)).clamp(min=least))).log()

    a = similarity[positive][:, positive].sum(1) / (positive.sum() - 1)
    b = similarity[positive][:, other].sum(1) / other.sum()
    supervised = contrast(a, b, tau).mean()
    anchors = (both < 0).nonzero().squeeze(1)
    partners = (anchors + n) % (2 * n)
    a = ((vectors[anchors] * vectors[partners]).sum(1) / t - 1 / t).exp()
    b = (similarity[anchors].sum(1) - a) / (2 * (n - positive[:n].sum()))
    as_positive = contrast(a, b, tau) * q[anchors]
    as_negative = contrast(a, b, 1 - tau) * (1 - q[anchors])
    total = 0.0
    sure, never = q[anchors] > 0.99, q[anchors] < 0.01
    for values, group in (
        (as_positive, sure),
        (as_negative, never),
        (as_positive, ~sure & ~never),
        (as_negative, ~sure & ~never),
    ):
        total = total + (values[group].mean() if group.any() else 0.0)
    return supervised + 0.1 * total


@pytest.mark.parametrize("with_self", [True, False])
def test_chunks_give_the_value_and_gradient_of_the_whole_matrix(with_self):
    torch.manual_seed(1)
    count = 700  # two views: more than two chunks of anchors
    raw = torch.randn(2, count, 16)
    labels = -torch.ones(count)
    labels[:12], labels[12:30], labels[30:40] = 1.0, 0.7, 0.3
    logits = 3 * torch.randn(2, count)
    settings = Contrast(anchors=0, with_self=with_self)
    results = []
    for kind in (torch.float32, torch.float64):
        leaves = [t.detach().clone().to(kind).requires_grad_() for t in (raw, logits)]
        first, second = functional.normalize(leaves[0], dim=2)
        chances = leaves[1].sigmoid()
        loss = contrastive_loss if kind == torch.float32 else full_matrix_loss
        value = loss(first, second, labels.to(kind), (chances[0], chances[1]), settings)
        value.backward()
        results.append((value.double(), leaves[0].grad.double(), leaves[1].grad.double()))
    (value, *gradients), (true_value, *true_gradients) = results
    assert abs(value - true_value) < 1e-6 * abs(true_value) + 1e-6
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert (gradient - true).abs().max() < 1e-5 * true.abs().max()


def test_fewer_anchors_estimate_the_same_mean():
    torch.manual_seed(0)
    first = functional.normalize(torch.randn(400, 8), dim=1)
    second = functional.normalize(first + 0.2 * torch.randn(400, 8), dim=1)
    labels = -torch.ones(400)
    labels[:10] = 1
    chances = torch.full((400,), 0.3), torch.full((400,), 0.3)
    whole = contrastive_loss(first, second, labels, chances, Contrast(anchors=0))
    some = [
        contrastive_loss(
            first,
            second,
            labels,
            chances,
            Contrast(anchors=100),
            torch.Generator().manual_seed(seed),
        )
        for seed in range(40)
    ]
    assert torch.stack(some).mean() == pytest.approx(float(whole), rel=0.02)


def test_the_positive_unlabelled_loss_is_the_formula():
    p = torch.tensor([0.9, 0.6, 0.2, 0.4], dtype=torch.float64)
    labels = torch.tensor([1.0, 0.5, -1.0, -1.0], dtype=torch.float64)
    prior = 0.1

    def as_positive(x):
        return -((1 - x) ** 2) * math.log(x)

    def as_negative(x):
        return -(x**2) * math.log(1 - x)

    positive = as_positive(0.9) + 0.5**4 * as_negative(0.6)
    mistaken = as_negative(0.9) + 0.5**4 * as_positive(0.6)
    negative = (as_negative(0.2) + as_negative(0.4)) / 2 - prior * mistaken
    found = positive_unlabelled_loss(torch.logit(p), labels, prior)
    assert float(found) == pytest.approx(prior * positive + max(0.0, negative), rel=1e-5)
    found = positive_unlabelled_loss(torch.logit(p), labels, prior, emphasis=0.4)
    expected = 0.4 * positive + 0.6 / (1 - prior) * max(0.0, negative)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_prior_that_is_too_large_leaves_less_risk_of_negatives():
    """The check of the specification: the true prior keeps the pressure on the background."""
    torch.manual_seed(0)
    labels = -torch.ones(2000)
    labels[:20] = 1
    logits = torch.where(labels == 1, 2.0, -1.0) + 0.3 * torch.randn(2000)
    gradients = {}
    for prior in (0.01, 0.1):
        leaf = logits.clone().requires_grad_()
        positive_unlabelled_loss(leaf, labels, prior).backward()
        gradients[prior] = float(leaf.grad[labels < 0].abs().sum())
    assert gradients[0.1] == 0.0 < gradients[0.01]


def test_nothing_labelled_leaves_a_finite_loss():
    for loss in (focal_loss, lambda x, y: positive_unlabelled_loss(x, y, 0.1)):
        leaf = torch.zeros(5, requires_grad=True)
        value = loss(leaf, -torch.ones(5))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(leaf.grad).all()


@pytest.mark.slow
def test_the_published_crop_fits_in_two_gigabytes():
    """All anchors against all voxels of both views: 24,576 squared, which as a matrix is 2.4 GB."""
    code = """
import resource, torch
from cryodl.methods.cet_pick.losses import Contrast, contrastive_loss
torch.manual_seed(0)
views = torch.nn.functional.normalize(torch.randn(2, 12288, 32), dim=2).requires_grad_()
labels = -torch.ones(12288); labels[:60] = 1
chances = torch.full((12288,), 0.4)
contrastive_loss(views[0], views[1], labels, (chances, chances), Contrast(anchors=0)).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert float(done.stdout) < 2.0
