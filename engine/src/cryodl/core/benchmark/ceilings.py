"""What a device reaches at best in convolutions, matrix products, transforms and copies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from cryodl.core.benchmark.clock import Clock
from cryodl.core.benchmark.ledger import (
    CONVOLUTION,
    KERNELS,
    PRODUCT,
    TRANSFORM,
    Call,
    Ledger,
    transform_flops,
)

_TYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
_REPEATS = 4


@dataclass(frozen=True)
class Sizes:
    """Shapes that come close to a device's ceiling.

    Attributes
    ----------
    convolutions : tuple
        (batch, channels, edge) of 3 x 3 x 3 convolutions.
    product, transforms, copied
        Edge of matrices; (batch, edge) of transforms; numbers that are copied.
    """

    convolutions: tuple[tuple[int, int, int], ...]
    product: int
    transforms: tuple[tuple[int, int], ...]
    copied: int


SIZES = {
    "cpu": Sizes(((1, 64, 32), (4, 64, 16), (1, 32, 32)), 1024, ((16, 16), (8, 32)), 2**24),
    "cuda": Sizes(
        ((4, 64, 64), (4, 128, 64), (8, 256, 32)), 8192, ((64, 32), (16, 64), (4, 128)), 2**28
    ),
}


@dataclass(frozen=True)
class Ceilings:
    """Best rates: operations a second by family, and bytes a second."""

    rates: dict[str, float]
    bandwidth: float

    def least_seconds(self, call: Call) -> float:
        """Return how long one call takes at least, by its operations and its bytes."""
        rate = self.rates.get(call.family)
        return max(call.flops / rate if rate else 0.0, call.moved / self.bandwidth)


def measure_ceilings(clock: Clock, precision: str) -> Ceilings:
    """Measure the ceilings of a device in a number format.

    Transforms are measured in float32, in which they are always computed.
    """
    sizes, dtype = SIZES[clock.device.type], _TYPES[precision]
    rates = {
        CONVOLUTION: max(_convolution(clock, dtype, *shape) for shape in sizes.convolutions),
        PRODUCT: _product(clock, dtype, sizes.product),
        TRANSFORM: max(_transform(clock, *shape) for shape in sizes.transforms),
    }
    return Ceilings(rates, _bandwidth(clock, sizes.copied))


def _convolution(clock: Clock, dtype: torch.dtype, batch: int, channels: int, edge: int) -> float:
    """Return the best rate of one shape: memory formats and passes are tried."""
    best = 0.0
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        values = torch.randn(batch, channels, edge, edge, edge, device=clock.device, dtype=dtype)
        weight = torch.randn(channels, channels, 3, 3, 3, device=clock.device, dtype=dtype)
        values, weight = values.to(memory_format=layout), weight.to(memory_format=layout)

        def forward(v: torch.Tensor = values, w: torch.Tensor = weight) -> None:
            functional.conv3d(v, w, padding=1)

        flops = 2.0 * 27 * batch * channels**2 * edge**3
        best = max(best, flops / clock.best(forward, _REPEATS))
    return best


def _product(clock: Clock, dtype: torch.dtype, edge: int) -> float:
    one = torch.randn(edge, edge, device=clock.device, dtype=dtype)
    return 2.0 * edge**3 / clock.best(lambda: one @ one, _REPEATS)


def _transform(clock: Clock, batch: int, edge: int) -> float:
    values = torch.randn(batch, edge, edge, edge, device=clock.device)
    seconds = clock.best(lambda: torch.fft.rfftn(values, dim=(1, 2, 3)), 3 * _REPEATS)
    return transform_flops(tuple(values.shape), (1, 2, 3), True) / seconds


def _bandwidth(clock: Clock, count: int) -> float:
    values = torch.randn(count, device=clock.device)
    out = torch.empty_like(values)
    return 8.0 * count / clock.best(lambda: out.copy_(values), _REPEATS)


@dataclass(frozen=True)
class Floors:
    """How long a step takes at least.

    Attributes
    ----------
    counted : dict
        Seconds by family, from operations and bytes at the ceilings.
    alone : dict
        Seconds by family that the same library calls take when nothing else is done.
    """

    counted: dict[str, float]
    alone: dict[str, float]

    @property
    def dominating(self) -> str:
        """The family of kernels that the step spends most in."""
        return max(KERNELS, key=lambda family: self.alone[family])


def floors_of(ledger: Ledger, ceilings: Ceilings, clock: Clock) -> Floors:
    """Return the floors of what was counted."""
    counted = {
        family: sum(ceilings.least_seconds(call) * call.times for call in ledger.of(family))
        for family in (*KERNELS, "other")
    }
    alone = {}
    with torch.no_grad():
        for family in KERNELS:
            alone[family] = sum(
                clock.best(call.repeated(), 2, at_least=2e-3) * call.times
                for call in ledger.of(family)
            )
    return Floors(counted, alone)
