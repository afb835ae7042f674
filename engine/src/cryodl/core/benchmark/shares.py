"""Where the time of some work goes, by kind of operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from cryodl.core.benchmark.clock import Clock

PRODUCT, TRANSFORM, LOOK_UP, REST = "product", "transform", "look-up", "rest"
_WORDS = {
    PRODUCT: ("mm", "dot"),
    TRANSFORM: ("_fft_",),
    LOOK_UP: ("index", "gather", "grid_sampler", "take"),
}


class _Stopwatch(TorchDispatchMode):
    """Times each operation that PyTorch carries out."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.seconds = dict.fromkeys((*_WORDS, REST), 0.0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = self.clock.now()
        result = func(*args, **(kwargs or {}))
        self.seconds[_family(str(func._overloadpacket))] += self.clock.now() - started
        return result


def time_shares(work: Callable[[], Any], clock: Clock) -> dict[str, float]:
    """Return the shares of the time in PyTorch's operations, which add up to one.

    Returns
    -------
    dict
        ``product`` (of matrices), ``transform`` (Fourier), ``look-up`` and ``rest``.
    """
    with _Stopwatch(clock) as stopwatch:
        work()
    total = sum(stopwatch.seconds.values()) or 1.0
    return {name: spent / total for name, spent in stopwatch.seconds.items()}


def _family(name: str) -> str:
    for family, words in _WORDS.items():
        if any(word in name for word in words):
            return family
    return REST
