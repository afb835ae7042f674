"""Sums over similarities: equal to writing all of them out, with their gradient."""

from __future__ import annotations

import pytest
import torch

from cryodl.methods.cet_pick import similarity
from cryodl.methods.cet_pick.similarity import similarity_sums

TEMPERATURE = 0.2


def written_out(vectors, anchors, groups, with_self):
    scores = ((vectors[anchors] @ vectors.T - 1) / TEMPERATURE).exp()
    value = torch.full((len(anchors), 1), float(with_self), dtype=scores.dtype)
    return scores.scatter(1, anchors[:, None], value) @ groups.T.to(scores.dtype)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    anchors = torch.randperm(40, generator=generator)[:9]
    return vectors, anchors, torch.rand(2, 40, generator=generator) > 0.4


@pytest.mark.parametrize("with_self", [False, True])
@pytest.mark.parametrize("cached", [2**18, 30])  # all at once, and blocks of a few voxels
@pytest.mark.parametrize("kept", [2**26, 0])  # for the gradient, or computed again
def test_value_and_gradient_are_those_of_the_whole_matrix(
    case, monkeypatch, with_self, cached, kept
):
    monkeypatch.setattr(similarity, "_KEPT", kept)
    monkeypatch.setattr(similarity, "_CACHED", cached)
    monkeypatch.setattr(similarity, "_ROWS", 4)
    vectors, anchors, groups = case
    outer = torch.linspace(1, 2, 18, dtype=torch.float64).reshape(9, 2)
    results = []
    for compute in (
        lambda v: written_out(v, anchors, groups, with_self),
        lambda v: similarity_sums(v, anchors, groups, TEMPERATURE, with_self),
    ):
        leaf = vectors.clone().requires_grad_()
        sums = compute(leaf)
        (sums * outer).sum().backward()
        results.append((sums.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_half_precision_around_it_does_not_reach_it(case):
    vectors, anchors, groups = case
    single = vectors.float()
    expected = similarity_sums(single, anchors, groups, TEMPERATURE, False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarity_sums(single, anchors, groups, TEMPERATURE, False)
    assert torch.equal(found, expected)
