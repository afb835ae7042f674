"""What a step asks of a machine: every convolution, matrix product and transform, counted.

The count needs no knowledge of the networks: each operation is seen as PyTorch carries it out, in
the forward and in the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry

CONVOLUTION, PRODUCT, TRANSFORM, OTHER = "convolution", "product", "transform", "other"
KERNELS = (CONVOLUTION, PRODUCT, TRANSFORM)


@dataclass(frozen=True)
class Described:
    """A tensor without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def made(self) -> Tensor:
        """Return a tensor like it, with values of no meaning."""
        shape = (self.shape, self.stride)
        empty = torch.empty_strided(*shape, dtype=self.dtype, device=self.device)
        return empty.fill_(0.5) if self.dtype.is_floating_point else empty.zero_()


@dataclass
class Call:
    """One kind of call: an operation with arguments of some shapes.

    Attributes
    ----------
    family : str
        ``convolution``, ``product`` (of matrices), ``transform`` (Fourier) or ``other``.
    flops, moved : float
        Operations, and bytes read and written, of one call.
    times : int
        How often it was made.
    """

    family: str
    operation: Callable[..., Any]
    arguments: tuple[Any, ...]
    words: dict[str, Any]
    flops: float
    moved: float
    times: int = 0

    def repeated(self) -> Callable[[], Any]:
        """Return what makes this call again, alone and with other values."""
        arguments, words = tree_map(_made, (self.arguments, self.words))
        return lambda: self.operation(*arguments, **words)


class Ledger(TorchDispatchMode):
    """Counts what is computed within ``with Ledger() as ledger:``.

    Attributes
    ----------
    calls : dict
        `Call` by a key of operation and shapes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Any, Call] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        words = kwargs or {}
        result = func(*args, **words)
        if not func.is_view:
            self._note(func, args, words, result)
        return result

    def _note(self, func: Any, args: Any, words: Any, result: Any) -> None:
        described: tuple[Any, Any] = tree_map(_described, (args, words))
        key = (func, repr(described))
        if key not in self.calls:
            packet = func._overloadpacket
            family = _family(packet)
            flops = _flops(packet, family, args, words, result)
            moved = sum(_bytes(t) for t in tree_flatten((args, words, result))[0])
            arguments, named = described
            self.calls[key] = Call(family, func, arguments, named, flops, moved)
        self.calls[key].times += 1

    def of(self, family: str) -> list[Call]:
        """Return the calls of a family."""
        return [call for call in self.calls.values() if call.family == family]

    def flops(self, family: str) -> float:
        """Return the operations of a family."""
        return sum(call.flops * call.times for call in self.of(family))

    def moved(self, family: str) -> float:
        """Return the bytes that a family reads and writes when nothing stays in a cache."""
        return sum(call.moved * call.times for call in self.of(family))


def transform_flops(shape: tuple[int, ...], axes: tuple[int, ...], is_real: bool) -> float:
    """Return the usual count of a Fourier transform: 5 n log2 n a batch, half for real values."""
    points = math.prod(shape[axis] for axis in axes)
    return (2.5 if is_real else 5.0) * math.prod(shape) * math.log2(max(2, points))


def _family(packet: Any) -> str:
    name = str(packet)
    if "convolution" in name or "conv_transpose" in name:
        return CONVOLUTION
    if "_fft_" in name:
        return TRANSFORM
    return PRODUCT if packet in flop_registry else OTHER


def _flops(packet: Any, family: str, args: Any, words: Any, result: Any) -> float:
    if family == TRANSFORM:
        # The real side has the whole last axis.
        is_real = "c2c" not in str(packet)
        whole = args[0] if args[0].numel() >= result.numel() else result
        return transform_flops(tuple(whole.shape), tuple(args[1]), is_real)
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **words, out_val=result))
    return 0.0


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Described(tuple(value.shape), tuple(value.stride()), value.dtype, value.device)
    return value


def _made(value: Any) -> Any:
    return value.made() if isinstance(value, Described) else value
