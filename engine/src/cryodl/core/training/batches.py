"""Micro-batches in the order the loop needs them, made ahead while a GPU computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, product
from typing import Protocol

import torch
from torch import Tensor

from cryodl.errors import DeviceError

Batch = dict[str, Tensor]


class BatchSource(Protocol):
    """Training data.

    To be used in several processes a source must survive pickling: hold paths of files and map
    them when first used, rather than arrays. It may be called from another thread.
    """

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return one micro-batch.

        A pure function of its arguments (and of a seed the source was made with, see
        `cryodl.core.training.seeds`), so that a resumed run sees the same data.

        Parameters
        ----------
        step
            Optimiser step, from 0.
        micro
            Micro-batch within the step, from 0.
        rank, world_size
            Which process asks, and how many there are; each must get its own part.

        Returns
        -------
        dict
            Tensors whose first axis is the batch, or without axes.
        """


@dataclass(frozen=True)
class Place:
    """Which process this is, and where its tensors go."""

    rank: int
    world_size: int
    device: torch.device


def stream(
    source: BatchSource, place: Place, steps: range, accumulate: int, prefetch: int
) -> Iterator[Batch]:
    """Yield the micro-batches of `steps` in order, on the device.

    With a GPU, `prefetch` of them are made ahead by a thread.
    """
    counters = product(steps, range(accumulate))
    on_gpu = place.device.type == "cuda"

    def make(step: int, micro: int) -> Batch:
        batch = source.batch(step, micro, place.rank, place.world_size)
        return {name: _pinned(t) for name, t in batch.items()} if on_gpu else batch

    if not on_gpu or prefetch == 0:
        for step, micro in counters:
            yield _to_device(make(step, micro), place.device)
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque()
        waiting.extend(pool.submit(make, *c) for c in islice(counters, prefetch))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(make, *c) for c in islice(counters, 1))
                yield _to_device(batch, place.device)
        finally:
            for future in waiting:
                future.cancel()


def split(batch: Batch, parts: int) -> list[tuple[Batch, float]]:
    """Cut a batch into parts for a device with little memory.

    Returns
    -------
    list
        Parts and their shares of the whole, which add up to one.

    Raises
    ------
    DeviceError
        The batch has fewer items than parts.
    """
    if parts == 1:
        return [(batch, 1.0)]
    size = max(t.shape[0] for t in batch.values() if t.ndim)
    if parts > size:
        raise DeviceError(
            "micro-batch: found too little device memory for a single item, expected room for "
            "one; use smaller cubes, a narrower network, another precision or a larger device"
        )
    pieces = []
    for indices in torch.arange(size).tensor_split(parts):
        first, stop = int(indices[0]), int(indices[-1]) + 1
        part = {name: t[first:stop] if t.ndim else t for name, t in batch.items()}
        pieces.append((part, (stop - first) / size))
    return pieces


def _pinned(tensor: Tensor) -> Tensor:
    """Lock a host tensor for a quick copy; a source may also keep its data on the GPU."""
    return tensor if tensor.is_cuda else tensor.pin_memory()


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
