"""Classical filling of missing directions: support and positivity with weighted data.

Papoulis-Gerchberg type alternating projections.  On its own this already restores a good part of
the missing directions; the network starts from its result and learns what it gets wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SOLVENT = 0.01


def project_constraints(volume: Tensor, mask: Tensor, *, positive: bool = True) -> Tensor:
    """Subtract the solvent level, remove negative density and apply the mask."""
    solvent = mask < _SOLVENT
    level = volume[solvent].mean() if bool(solvent.any()) else volume.median()
    out = volume - level
    if positive:
        out = out.clamp(min=0.0)
    return out * mask


def fill_missing(
    data: Tensor,
    weight: Tensor,
    mask: Tensor,
    *,
    iterations: int = 20,
    positive: bool = True,
    start: Tensor | None = None,
) -> Tensor:
    """Fill unmeasured directions by alternating projections.

    One iteration is ``y = mask * max(v - solvent, 0)`` followed by
    ``V = data + (1 - weight) * FFT(y)``, which is the posterior mean of a Wiener
    filter with prior mean y.  Twenty iterations are a compromise: the low shells have converged
    and the noise of the high ones has not yet been amplified.

    Parameters
    ----------
    data : Tensor, shape (N, N, N//2+1), complex
        ``weight * rfftn(half map)``; zero where nothing was measured.
    weight : Tensor, shape (N, N, N//2+1)
        Wiener weight (`SnrModel.rho`) in the layout of ``rfftn``.
    mask : Tensor, shape (N, N, N)
        Solvent mask in [0, 1]; all ones leaves positivity alone.
    start : Tensor, shape (N, N, N), optional
        First estimate; default the Wiener-filtered map.

    Returns
    -------
    Tensor, shape (N, N, N)
        The estimate after the last constraint step (solvent at zero).
    """
    n = mask.shape[-1]
    shape = (n, n, n)
    current = torch.fft.irfftn(data, s=shape) if start is None else start
    y = project_constraints(current, mask, positive=positive)
    for _ in range(iterations - 1):
        current = torch.fft.irfftn(data + (1 - weight) * torch.fft.rfftn(y), s=shape)
        y = project_constraints(current, mask, positive=positive)
    return y
