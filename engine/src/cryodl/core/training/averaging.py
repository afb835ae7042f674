"""The exponential running mean of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Running mean of the trainable weights of a module; other state is the module's own.

    Parameters
    ----------
    module
        Already on its device.
    decay
        Weight of the past, between 0 and 1. At step `s` the smaller ``(1 + s) / (10 + s)`` is
        used, so that the first, untrained weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self._names = [name for name, p in module.named_parameters() if p.requires_grad]
        self._weights = [p.detach().clone() for p in module.parameters() if p.requires_grad]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._weights, self._trained(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights by name."""
        return dict(zip(self._names, self._weights, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over saved averages."""
        for name, weight in zip(self._names, self._weights, strict=True):
            weight.copy_(state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the module, and the trained weights back at the end."""
        trained = [p.detach().clone() for p in self._trained()]
        self._assign(self._weights)
        try:
            yield
        finally:
            self._assign(trained)

    @torch.no_grad()
    def _assign(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._trained(), values, strict=True):
            parameter.copy_(value)

    def _trained(self) -> list[Tensor]:
        return [p for p in self._module.parameters() if p.requires_grad]
