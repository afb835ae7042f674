"""``cryodl bench``: time the core operations on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cryodl.core.config.parameters import BareConfig, parameter
from cryodl.core.config.registry import Command
from cryodl.errors import ConfigError, DeviceError


class BenchConfig(BareConfig):
    """Time the operations that runs spend their time in.

    Prints the best of some repeats: what the machine can do when nothing disturbs it.
    """

    box_size_px: int = parameter(
        128, help="Edge of the maps.", unit="px", group="Size", ge=16, le=512
    )
    cube_size_px: int = parameter(
        64, help="Edge of the training cubes.", unit="px", group="Size", ge=16, multiple_of=8
    )
    repeats: int = parameter(3, help="Times each operation is run.", group="Size", ge=1)
    devices: str = parameter(
        "auto", help="auto, cpu, or the number of one GPU.", group="Run", changeable=True
    )


COMMANDS = [
    Command(
        "bench",
        "",
        "Time the core operations on this machine.",
        BenchConfig,
        "cryodl.commands.bench:run_bench",
    )
]


def run_bench(config: BenchConfig) -> None:
    """Print the table of times."""
    sys.stdout.write(f"{'operation':<44}{'seconds':>10}\n")
    for name, operation in (*_host_operations(config), *_network_operations(config)):
        seconds = min(_time(operation) for _ in range(config.repeats))
        sys.stdout.write(f"{name:<44}{seconds:>10.3f}\n")
        sys.stdout.flush()


def _time(operation: Callable[[], Any]) -> float:
    started = time.perf_counter()
    operation()
    return time.perf_counter() - started


def _host_operations(config: BenchConfig) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what runs in numpy on the CPU, whatever device a run has."""
    from cryodl.core.fourier.fsc import fourier_shell_correlation
    from cryodl.core.fourier.transform import forward_centred, inverse_centred
    from cryodl.methods.spisonet.fsc3d import compute_fsc3d

    n = config.box_size_px
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


def _network_operations(config: BenchConfig) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield passes of the smallest U-Net on one cube."""
    import torch

    from cryodl.core.networks.unet import UNET_WIDTHS, UNet3D

    device = torch.device(_device_name(config.devices, torch.cuda.device_count()))
    n = config.cube_size_px
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


def _device_name(devices: str, count: int) -> str:
    """Return PyTorch's name of the device; one that was asked for by number must be there."""
    if devices == "auto":
        return "cuda:0" if count else "cpu"
    if devices == "cpu":
        return devices
    if not devices.isdecimal():
        raise ConfigError(
            f"--devices: found {devices!r}, expected auto, cpu or the number of one GPU"
        )
    if int(devices) >= count:
        raise DeviceError(
            f"--devices: found {devices}, expected one of the {count} GPUs that PyTorch sees; "
            "use auto or cpu, or see cryodl doctor"
        )
    return f"cuda:{devices}"
