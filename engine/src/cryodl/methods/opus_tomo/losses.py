"""What is minimised: the misfit of particles and densities, and what keeps latents in order."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from cryodl.methods.opus_tomo.canonical import half_weights

Rise = Literal["cos", "linear", "constant"]
_RAMP = 0.74  # of a cycle, as published: 20,000 of 27,000 particles
_START = 0.1
_TINY = 1e-3
_AXES = (1, 2, 3)


def misfit(seen: Tensor, data: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Compare transforms of densities with particles.

    Parameters
    ----------
    seen : (b, c, c, c // 2 + 1) complex
        Transform V of each particle's density.
    data, weight : same shape
        N and D in units of the noise.

    Returns
    -------
    misfit, power : (b,)
        ``|y - T V|^2 - |y|^2`` and ``|T V|^2``.
    """
    count = half_weights(seen.shape[-3], seen.device)
    found, power = _Misfit.apply(seen, data * count, weight * count)  # type: ignore[no-untyped-call]
    return found, power


class _Misfit(torch.autograd.Function):
    """Both sums with their gradient, in few passes."""

    @staticmethod
    def forward(ctx: Any, seen: Tensor, data: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return misfit and power of spectra whose columns are counted already."""
        ctx.save_for_backward(seen, data, weight)
        values = torch.view_as_real(seen)
        power = (values.square() * weight[..., None]).flatten(1).sum(dim=1)
        match = (values * torch.view_as_real(data)).flatten(1).sum(dim=1)
        return power - 2 * match, power

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the densities' transforms."""
        seen, data, weight = ctx.saved_tensors
        of_misfit, of_power = (2 * g[:, None, None, None] for g in outer)
        gradient = seen * (weight * (of_misfit + of_power))
        return gradient.sub_(data * of_misfit), None, None


def divergence(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Return the divergence of normal latents from the prior, (b,) nats."""
    return (-log_deviation + 0.5 * torch.exp(2 * log_deviation) + 0.5 * mean**2 - 0.5).sum(dim=1)


def prior_weight(fraction: float, rise: Rise, cycles: int) -> float:
    """Return the weight of the prior at a fraction of the training.

    ``cos`` is the published schedule, which is a saw tooth: from 0.1 to 1 over 74 % of a cycle.
    """
    if rise == "constant":
        return 1.0
    place = (fraction * cycles) % 1.0 if rise == "cos" else fraction
    return min(1.0, _START + (1 - _START) * place / _RAMP)


def roughness(density: Tensor, mask: Tensor) -> Tensor:
    """Return the published 0.1 total variation + 0.3 mean magnitude within a mask, (b,)."""
    inside = (mask > 0).to(density.dtype)
    found: Tensor = _Roughness.apply(density, inside / inside.sum())  # type: ignore[no-untyped-call]
    return found


class _Roughness(torch.autograd.Function):
    """The sums with their gradient, in a quarter of the time: few passes, nothing is gathered."""

    @staticmethod
    def forward(ctx: Any, density: Tensor, share: Tensor) -> Tensor:
        """Return 0.1 of the slopes and 0.3 of the magnitudes, weighted by their shares."""
        slopes, steps = torch.full_like(density, 1e-8), []
        for axis in _AXES:
            steps.append(density.diff(dim=axis))
            slopes.narrow(axis, 1, density.shape[axis] - 1).addcmul_(steps[-1], steps[-1])
        slopes.sqrt_()
        ctx.save_for_backward(density, share, slopes, *steps)
        # No matrix product: in half precision it would be rounded.
        return ((0.1 * slopes + 0.3 * density.abs()) * share).sum(dim=_AXES)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the density."""
        density, share, slopes, *steps = ctx.saved_tensors
        weight = share * outer[0][:, None, None, None]
        found = density.sign().mul_(weight).mul_(0.3)
        weight = weight.mul_(0.1).div_(slopes)
        for axis, step in zip(_AXES, steps, strict=True):
            count = density.shape[axis] - 1
            pull = weight.narrow(axis, 1, count) * step
            found.narrow(axis, 1, count).add_(pull)
            found.narrow(axis, 0, count).sub_(pull)
        return found, None


def disentanglement(
    mean: Tensor, bank: Tensor, elsewhere: Tensor, uniform: Tensor, neighbours: int
) -> Tensor:
    """Draw latents to those of like particles seen from elsewhere, and away from unlike ones.

    Parameters
    ----------
    mean : (b, zdim)
        Latents with gradient.
    bank : (s, zdim)
        Latents of other particles.
    elsewhere : (b, s) bool
        Which of them are seen from another direction.
    uniform : (b, 4 * neighbours)
        Random numbers in [0, 1) that choose among them.
    neighbours : int
        k: as many nearest are drawn to, four times as many farthest pushed from.

    Returns
    -------
    Tensor
        Scalar, published weights.
    """
    usable = elsewhere.sum(dim=1) >= 5 * neighbours
    if neighbours < 1 or not bool(usable.any()):
        return mean.sum() * 0
    mean, elsewhere, uniform = mean[usable], elsewhere[usable], uniform[usable]
    with torch.no_grad():
        distance = torch.cdist(mean, bank)
        near = distance.masked_fill(~elsewhere, math.inf).topk(neighbours, largest=False).indices
        far = distance.masked_fill(~elsewhere, -math.inf).topk(4 * neighbours).indices
        # The random ones: the order statistics of those that may be taken.
        order = elsewhere.float().argsort(dim=1, descending=True, stable=True)
        place = (uniform * elsewhere.sum(dim=1, keepdim=True)).long()
        others = 0.8 * bank[far] + 0.2 * bank[order.gather(1, place)]
    attract = torch.log(1 + _squared(mean, bank[near]) + _TINY).mean()
    repel = 3 * torch.log(1 + 1 / (_squared(mean, others) + _TINY)).mean()
    return attract + repel + _within_batch(mean)


def _within_batch(mean: Tensor) -> Tensor:
    """Spread the latents of a batch, and draw each to its two nearest."""
    count = len(mean)
    if count < 4:
        return mean.sum() * 0
    squared = _squared(mean, mean[None])
    apart = ~torch.eye(count, dtype=torch.bool, device=mean.device)
    pairs = squared[apart]
    spread = (torch.log(1 + 1 / (pairs + _TINY)) * pairs.detach().clamp(max=1)).mean()
    near = squared.detach().masked_fill(~apart, math.inf).topk(2, largest=False).indices
    return spread + torch.log(1 + squared.gather(1, near)).mean()


def _squared(one: Tensor, many: Tensor) -> Tensor:
    return ((one[:, None] - many) ** 2).sum(dim=-1)


def published_weight(lamb: float, snr: Tensor, beta: Tensor) -> Tensor:
    """Return the published weight of the disentanglement, to be divided by the mask."""
    rise = 1 - torch.exp(-torch.clamp((snr / 0.01) ** 2, max=16.0))
    return lamb * rise * (beta + 0.05) / 1.05
