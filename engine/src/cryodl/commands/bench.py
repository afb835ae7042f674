"""``cryodl bench``: how fast this machine is, and how close the methods come to what it can do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cryodl.core.config.parameters import BareConfig, parameter
from cryodl.core.config.registry import Command
from cryodl.errors import ConfigError, DeviceError


class BenchConfig(BareConfig):
    """Time what runs spend their time in: shared operations, and a training step of each method.

    Each step stands beside the plainest loop in float32 and beside a floor: its convolutions,
    matrix products and Fourier transforms at the rates that this device was measured to reach, and
    the same library calls alone. Times are the best of some repeats: what the machine can do when
    nothing disturbs it.
    """

    methods: str = parameter(
        "all",
        help="Methods whose steps are timed: all, none, or names such as spisonet,alignment.",
        group="What",
    )
    scale: Literal["auto", "tiny", "small", "large"] = parameter(
        "auto",
        help="Sizes of networks and batches: small suits a processor, large a GPU, tiny a trial; "
        "auto takes what suits the device.",
        group="What",
    )
    box_size_px: int = parameter(
        128, help="Edge of the maps.", unit="px", group="Size", ge=16, le=512
    )
    cube_size_px: int = parameter(
        64, help="Edge of the training cubes.", unit="px", group="Size", ge=16, multiple_of=8
    )
    repeats: int = parameter(3, help="Times each operation is run.", group="Size", ge=1)
    steps: int = parameter(
        0, help="Training steps that are timed together; 0 chooses 1 on a processor, 20 on a GPU.",
        group="Size", ge=0,
    )  # fmt: skip
    devices: str = parameter(
        "auto", help="auto, cpu, cuda, or the number of one GPU.", group="Run", changeable=True
    )
    precision: Literal["auto", "32", "bf16", "16"] = parameter(
        "auto", help="Number format of the steps; auto is bf16 on a GPU, else 32.", group="Run"
    )
    results: Path | None = parameter(
        None, help="Write all that was measured to this JSON file.", group="Run"
    )


COMMANDS = [
    Command(
        "bench",
        "",
        "Time the core operations and the training steps on this machine.",
        BenchConfig,
        "cryodl.commands.bench:run_bench",
    )
]


def run_bench(config: BenchConfig) -> None:
    """Print the tables."""
    import torch

    from cryodl.commands.bench_methods import chosen_methods, describe_machine, measure_methods
    from cryodl.core.training.devices import limit_threads

    device = _device_name(config.devices, torch.cuda.device_count())
    methods = chosen_methods(config.methods)
    limit_threads()
    machine = describe_machine(device)
    _write(f"{machine}\n\n")
    found: dict[str, Any] = {"machine": machine, "operations": _operations(config, device)}
    if methods:
        found["methods"] = measure_methods(methods, config, device, _write)
    if config.results is not None:
        from cryodl.core.io.atomic import write_json

        write_json(config.results, found)


def _operations(config: BenchConfig, device: str) -> dict[str, float]:
    from cryodl.commands.bench_operations import host_operations, network_operations

    found = {}
    _write(f"{'operation':<44}{'seconds':>10}\n")
    operations = (
        *host_operations(config.box_size_px),
        *network_operations(config.cube_size_px, device),
    )
    for name, operation in operations:
        seconds = min(_time(operation) for _ in range(config.repeats))
        found[name] = seconds
        _write(f"{name:<44}{seconds:>10.3f}\n")
    return found


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _time(operation: Callable[[], Any]) -> float:
    started = time.perf_counter()
    operation()
    return time.perf_counter() - started


def _device_name(devices: str, count: int) -> str:
    """Return PyTorch's name of the device; one that was asked for by number must be there."""
    if devices == "auto":
        return "cuda:0" if count else "cpu"
    if devices == "cpu":
        return devices
    number = "0" if devices == "cuda" else devices
    if not number.isdecimal():
        raise ConfigError(
            f"--devices: found {devices!r}, expected auto, cpu, cuda or the number of one GPU"
        )
    if int(number) >= count:
        raise DeviceError(
            f"--devices: found {devices}, expected one of the {count} GPUs that PyTorch sees; "
            "use auto or cpu, or see cryodl doctor"
        )
    return f"cuda:{number}"
