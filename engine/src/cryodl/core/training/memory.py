"""How much memory a training step needs, told before it begins.

The step is walked through with tensors that have shapes and no values, which takes no memory and
next to no time, and what it keeps for the gradient is added up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cryodl.core.training.batches import Batch
from cryodl.core.training.precision import Precision

_GIB = 2**30
_COPIES = 4  # weights, gradients, and two moments of the optimiser
_SMALL = 2**20


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step.

    Attributes
    ----------
    weights, kept, largest : int
        Bytes of weights with all that belongs to them; of what is kept for the gradient; and of
        the largest tensor, of which a few come and go.
    is_whole : bool
        False where the step looks at values to decide what to compute: then only what comes
        before is counted, the networks as a rule.
    """

    weights: int
    kept: int
    largest: int
    is_whole: bool

    @property
    def gib(self) -> float:
        """Estimate of the whole."""
        return (self.weights + self.kept + 3 * self.largest) / _GIB

    def words(self, items: int) -> str:
        """Say it."""
        about = "about" if self.is_whole else "at least"
        return f"{about} {self.gib:.2g} GB for {items} items at a time, libraries not counted"


class _Counter:
    """Adds up what is kept, each piece of memory once."""

    def __init__(self, known: list[Tensor]) -> None:
        self.seen = {_place(tensor) for tensor in known}
        self.total = self.largest = 0

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept for the gradient."""
        place, size = _place(tensor), tensor.untyped_storage().nbytes()
        if place not in self.seen:
            self.seen.add(place)
            self.total += size
            self.largest = max(self.largest, size)
        return tensor


def is_small(step: nn.Module, batch: Batch) -> bool:
    """Tell whether a step needs so little that it is not worth a second to find out how much."""
    return max(_bytes(step.parameters()), _bytes(batch.values())) < _SMALL


def step_memory(
    step: nn.Module, batch: Batch, precision: Precision, *, is_averaged: bool = False
) -> StepMemory:
    """Estimate the memory of one forward and backward pass.

    Parameters
    ----------
    step
        As for `cryodl.core.training.loop.fit`; it is not changed.
    batch
        Of which only shapes are looked at.
    precision
        What the forward pass is run in.
    is_averaged
        Whether a running mean of the weights is kept.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    trained = _bytes(p for p in step.parameters() if p.requires_grad)
    device = next((p.device for p in step.parameters()), torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        held: dict[str, Tensor] = dict(step.named_buffers())
        held.update(step.named_parameters())
        fakes: dict[str, Tensor] = {n: mode.from_tensor(tensor) for n, tensor in held.items()}
        given = {name: mode.from_tensor(tensor).to(device) for name, tensor in batch.items()}
        counter = _Counter(list(fakes.values()))
        is_whole = True
        hooks = torch.autograd.graph.saved_tensors_hooks(counter.keep, lambda kept: kept)
        try:
            with hooks, precision.autocast():
                torch.func.functional_call(step, fakes, (given,))
        except Exception:  # whatever a step does that needs values; nothing has been changed
            is_whole = False
    weights = trained * (_COPIES + is_averaged)
    kept = counter.total + _bytes(batch.values())
    return StepMemory(weights, kept, counter.largest, is_whole)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
