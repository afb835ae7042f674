"""The work of ``cryodl bench``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from cryodl.commands.bench import BenchConfig
from cryodl.errors import ConfigError, DeviceError


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
