"""The operations that all methods share, for ``cryodl bench``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def host_operations(n: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what runs in numpy on the CPU, whatever device a run has, on maps of edge `n`."""
    from cryodl.core.fourier.fsc import fourier_shell_correlation
    from cryodl.core.fourier.transform import forward_centred, inverse_centred
    from cryodl.methods.spisonet.fsc3d import compute_fsc3d

    generator = np.random.default_rng(0)
    signal = generator.standard_normal((n, n, n), dtype=np.float32)
    first, second = (
        signal + generator.standard_normal((n, n, n), dtype=np.float32) for _ in range(2)
    )
    yield (
        f"Fourier transform there and back, {n}³",
        lambda: inverse_centred(forward_centred(signal)),
    )
    yield f"Fourier shell correlation, {n}³", lambda: fourier_shell_correlation(first, second)
    yield (
        f"3DFSC, default mode, to Nyquist, {n}³",
        lambda: compute_fsc3d(first, second, None, 1.0, limit_resolution_angstrom=2.0),
    )


def network_operations(n: int, device_name: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield passes of the smallest U-Net on one cube of edge `n`."""
    import torch

    from cryodl.core.networks.unet import UNET_WIDTHS, UNet3D

    device = torch.device(device_name)
    torch.manual_seed(0)
    network = UNet3D(UNET_WIDTHS[16]).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    cubes = torch.randn(1, 1, n, n, n, device=device)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def forward() -> None:
        with torch.no_grad():
            network(cubes)
        wait()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(cubes).square().mean().backward()
        optimizer.step()
        wait()

    yield f"U-Net width 16, forward, 1 x {n}³, {device}", forward
    yield f"U-Net width 16, training step, 1 x {n}³, {device}", step
