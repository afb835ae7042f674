"""Sums over the similarities of many voxels, block by block.

The similarities of 512 anchors with all voxels of a batch are tens of megabytes, which no cache
holds: written out they cost ten times their arithmetic. Here each block is used up at once. For the
gradient blocks are kept while there are few, and computed again otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_ROWS = 256
_CACHED = 2**18  # similarities of a block: 1 MB on a processor
_ON_A_GPU = 2**26
_KEPT = 2**26  # similarities that are kept for the gradient: 256 MB


def similarity_sums(
    vectors: Tensor, anchors: Tensor, groups: Tensor, temperature: float, with_self: bool
) -> Tensor:
    """Return, for every anchor, the sum of ``exp((a v - 1) / temperature)`` over groups of voxels.

    Parameters
    ----------
    vectors
        (2n, c), of length one.
    anchors
        (a,) int, which of them.
    groups
        (g, 2n) bool.
    temperature
        Of the similarities.
    with_self
        Count an anchor's similarity to itself, as 1 and without a gradient, else not at all.

    Returns
    -------
    Tensor
        (a, g).
    """
    columns = groups.T.to(vectors.dtype)
    found: Tensor = _Sums.apply(vectors, anchors, columns, temperature, with_self)  # type: ignore[no-untyped-call]
    return found


class _Sums(torch.autograd.Function):
    """The sums and their gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        anchors: Tensor,
        columns: Tensor,
        temperature: float,
        with_self: bool,
    ) -> Tensor:
        """Return the sums."""
        ctx.save_for_backward(vectors, anchors, columns)
        ctx.temperature = temperature
        ctx.blocks = []
        is_kept = len(anchors) * len(vectors) <= _KEPT and not with_self
        sums = vectors.new_zeros(len(anchors), columns.shape[1])
        with torch.autocast(vectors.device.type, enabled=False):
            for rows, part, block in _blocks(vectors, anchors, temperature, float(with_self)):
                sums[rows].addmm_(block, columns[part])
                if is_kept:
                    ctx.blocks.append((rows, part, block))
        return sums

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the vectors."""
        vectors, anchors, columns = ctx.saved_tensors
        gradient = outer[0].to(vectors.dtype) / ctx.temperature
        found, of_anchors = torch.zeros_like(vectors), torch.zeros_like(vectors[anchors])
        with torch.autocast(vectors.device.type, enabled=False):
            blocks = ctx.blocks or _blocks(vectors, anchors, ctx.temperature, 0.0)
            for rows, part, similar in blocks:
                block = (gradient[rows] @ columns[part].T).mul_(similar)
                found[part].addmm_(block.T, vectors[anchors[rows]])
                of_anchors[rows].addmm_(block, vectors[part])
        return found.index_add_(0, anchors, of_anchors), None, None, None, None


def _blocks(
    vectors: Tensor, anchors: Tensor, temperature: float, of_itself: float
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield which anchors, which voxels, and their similarities."""
    size = _ON_A_GPU if vectors.is_cuda else _CACHED
    count = max(1, size // max(1, min(_ROWS, len(anchors))))
    for first in range(0, len(anchors), _ROWS):
        rows = slice(first, min(first + _ROWS, len(anchors)))
        sharp = vectors[anchors[rows]] / temperature
        for start in range(0, len(vectors), count):
            part = slice(start, min(start + count, len(vectors)))
            block = (sharp @ vectors[part].T).sub_(1 / temperature).exp_()
            place = (anchors[rows] - start)[:, None]
            inside = (place >= 0) & (place < block.shape[1])
            place = place.clamp(0, block.shape[1] - 1)
            block.scatter_(1, place, block.gather(1, place).masked_fill(inside, of_itself))
            yield rows, part, block
