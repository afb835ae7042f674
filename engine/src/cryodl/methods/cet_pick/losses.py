"""Losses of the picker: positive-unlabelled focal, voxel contrast, consistency.

Formulas after Huang et al., ECCV 2022 (LNCS 13681); labels are 1 at a particle's centre, between 0
and 1 around it, and -1 where nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodl.methods.cet_pick.similarity import similarity_sums

_LEAST_PROBABILITY = 1e-4
_SURE = 0.99  # anchors surer than this are averaged by themselves


def probabilities(logits: Tensor) -> Tensor:
    """Return probabilities, kept away from 0 and 1."""
    return logits.float().sigmoid().clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)


def positive_unlabelled_loss(
    logits: Float[Tensor, "*shape"],
    labels: Float[Tensor, "*shape"],
    prior: float,
    emphasis: float | None = None,
) -> Tensor:
    """Return the non-negative positive-unlabelled focal loss.

    Unlabelled voxels count as negatives, less what the positives among them contribute when a
    share `prior` of all voxels is positive; the difference is never taken below zero.

    Parameters
    ----------
    logits
        Heat map.
    labels
        1 hard positive, (0, 1) ring around one, 0 known to be empty, -1 unlabelled.
    prior
        Share of positive voxels (tau).
    emphasis
        Share that positives are given in the loss. By default their share of the voxels, as
        published; particles are so rare that the network then first learns to find nothing.

    References
    ----------
    Su, Chen and Xu, IJCAI 2021, for positives that count for more than their share.
    """
    emphasis = prior if emphasis is None else emphasis
    p = probabilities(logits)
    as_positive = -((1 - p) ** 2) * p.log()
    as_negative = -(p**2) * (1 - p).log()
    hard, unlabelled, empty = labels == 1, labels < 0, labels == 0
    ring = (labels > 0) & (labels < 1)
    positive_risk = _mean(as_positive, hard) + _mean((1 - labels) ** 4 * as_negative, ring)
    mistaken_risk = _mean(as_negative, hard) + _mean(labels**4 * as_positive, ring)
    negative_risk = _mean(as_negative, unlabelled) - prior * mistaken_risk
    unlike = (1 - emphasis) * (negative_risk.clamp(min=0) / (1 - prior) + _mean(as_negative, empty))
    return emphasis * positive_risk + unlike


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the focal loss with every unlabelled voxel a negative, per positive voxel."""
    p = probabilities(logits)
    hard = labels == 1
    closeness = labels.clamp(min=0)
    positive = -((1 - p) ** 2) * p.log() * hard
    negative = -((1 - closeness) ** 4) * p**2 * (1 - p).log() * ~hard
    return (positive.sum() + negative.sum()) / hard.sum().clamp(min=1)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean over the chosen voxels, 0 when there are none."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def consistency_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared difference of two views' probabilities, voxel by voxel."""
    return ((probabilities(first) - probabilities(second)) ** 2).mean()


@dataclass(frozen=True)
class Contrast:
    """Settings of the contrastive loss.

    Attributes
    ----------
    temperature : float
        Of the similarities.
    prior : float
        Share of positive voxels (tau).
    threshold : float
        Labels above it are positives.
    anchors : int
        Unlabelled anchors drawn per step, 0 for all as published.
    with_self : bool
        Keep each anchor's similarity to itself in the sums, as published.
    """

    temperature: float = 0.07
    prior: float = 0.1
    threshold: float = 0.5
    anchors: int = 512
    with_self: bool = False


def contrastive_loss(
    first: Float[Tensor, "n c"],
    second: Float[Tensor, "n c"],
    labels: Float[Tensor, " n"],
    chances: tuple[Float[Tensor, " n"], Float[Tensor, " n"]],
    settings: Contrast,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the debiased contrastive loss over the voxels of two views.

    Evaluated for chunks of anchors against all voxels, and again in the backward pass, so that
    memory grows with the number of voxels and not with its square.

    Parameters
    ----------
    first, second
        Embeddings of length one of the same n voxels in both views.
    labels
        Of the voxels, see the module.
    chances
        Predicted probabilities of the voxels in both views; gradients reach them.
    settings
        See `Contrast`.
    generator
        Draws the anchors; needed when `settings.anchors` is not 0.
    """
    vectors = torch.cat([first, second]).float()
    both = torch.cat([labels, labels])
    threshold = min(settings.threshold, 1.0)
    positive = both >= 1 if threshold >= 1 else both > threshold
    other = both < threshold
    supervised = _supervised(vectors, positive, other, settings)
    unsupervised = _unsupervised(vectors, both, positive, torch.cat(chances), settings, generator)
    return supervised + 0.1 * unsupervised


def _supervised(vectors: Tensor, positive: Tensor, other: Tensor, settings: Contrast) -> Tensor:
    anchors = positive.nonzero().squeeze(1)
    if len(anchors) < 2 or not bool(other.any()):
        return vectors.sum() * 0
    groups = torch.stack([positive, other])
    sums = similarity_sums(vectors, anchors, groups, settings.temperature, settings.with_self)
    alike = sums[:, 0] / (len(anchors) - 1)
    unlike = sums[:, 1] / other.sum()
    return _contrast(alike, unlike, settings.prior, settings.temperature).mean()


def _unsupervised(
    vectors: Tensor,
    labels: Tensor,
    positive: Tensor,
    chances: Tensor,
    settings: Contrast,
    generator: torch.Generator | None,
) -> Tensor:
    count = len(vectors) // 2
    anchors = (labels < 0).nonzero().squeeze(1)
    if settings.anchors and len(anchors) > settings.anchors:
        drawn = torch.randperm(len(anchors), generator=generator)[: settings.anchors]
        anchors = anchors[drawn.to(anchors.device)]
    if not len(anchors):
        return vectors.sum() * 0
    everything = torch.ones(1, len(vectors), dtype=torch.bool, device=vectors.device)
    temperature, with_self = settings.temperature, settings.with_self
    sums = similarity_sums(vectors, anchors, everything, temperature, with_self)[:, 0]
    partners = (anchors + count) % len(vectors)
    same_place = (vectors[anchors] * vectors[partners]).sum(1)
    alike = ((same_place - 1) / settings.temperature).exp()
    unlike = (sums - alike) / (2 * (count - int(positive[:count].sum())))
    q = chances[anchors].float()
    as_positive = _contrast(alike, unlike, settings.prior, settings.temperature) * q
    as_negative = _contrast(alike, unlike, 1 - settings.prior, settings.temperature) * (1 - q)
    surely, surely_not = q > _SURE, q < 1 - _SURE
    rest = ~surely & ~surely_not
    return (
        _mean(as_positive, surely)
        + _mean(as_negative, surely_not)
        + _mean(as_positive, rest)
        + _mean(as_negative, rest)
    )


def _contrast(alike: Tensor, unlike: Tensor, prior: float, temperature: float) -> Tensor:
    least = torch.tensor(-1 / temperature, device=alike.device).exp()
    debiased = ((unlike - prior * alike) / (1 - prior)).maximum(least)
    return -(alike / (alike + debiased)).log()
