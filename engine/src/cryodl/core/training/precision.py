"""Half precision in the forward pass: autocast, and the scaling that float16 needs."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from cryodl.errors import ConfigError

_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class Precision:
    """How a training computes.

    Parameters
    ----------
    name
        ``32``, ``bf16`` or ``16``.
    device_type
        ``cpu`` or ``cuda``; float16 needs the latter.

    Raises
    ------
    ConfigError
        float16 on the CPU.
    """

    def __init__(self, name: str, device_type: str) -> None:
        if name == "16" and device_type != "cuda":
            raise ConfigError(
                "--precision: found 16 on the CPU, expected a GPU for it; use bf16 or 32"
            )
        self._type = _TYPES.get(name)
        self._device_type = device_type
        self._scaler = torch.amp.GradScaler(device_type) if name == "16" else None

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        if self._type is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device_type, dtype=self._type)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return what to differentiate."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Undo the scaling of the gradients, before they are clipped."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the optimiser step; float16 skips it when a gradient overflowed."""
        if self._scaler is None:
            optimizer.step()
            return
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the scaling."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of the scaling."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)
