"""Random numbers as a function of counters, so that a resumed run needs no generator's state."""

from __future__ import annotations

import numpy as np
import torch


def derive_seed(seed: int, *counters: int) -> int:
    """Mix a seed and counters into an independent 63-bit seed.

    The same arguments give the same number on every machine; neighbouring counters give
    unrelated streams.

    Parameters
    ----------
    seed, *counters
        Whole numbers, 0 or more.

    Returns
    -------
    int
        In [0, 2**63).

    References
    ----------
    numpy.random.SeedSequence, whose hash is guaranteed not to change.
    """
    state = np.random.SeedSequence([seed, *counters]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def torch_generator(seed: int, *counters: int, device: str = "cpu") -> torch.Generator:
    """Return a torch generator for these counters, for example of step, micro-batch and rank."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *counters))


def numpy_generator(seed: int, *counters: int) -> np.random.Generator:
    """Return a numpy generator for these counters."""
    return np.random.default_rng(derive_seed(seed, *counters))


def seed_torch(seed: int, *counters: int) -> None:
    """Set torch's global generators, on host and GPU, for dropout and the like."""
    torch.manual_seed(derive_seed(seed, *counters))
