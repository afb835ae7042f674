"""A training step of each method, timed in a process of its own."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodl.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from cryodl.commands.bench import BenchConfig

METHODS = ("spisonet", "cet-pick", "selfalign", "autoencoder3d", "opus-tomo", "alignment")
_HEAD = (
    "| method | step s | item s | plain | data | kernels alone | times these | counted floor "
    "| ceiling | host GB | GPU GB |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


@dataclass(frozen=True)
class Task:
    """What a process is told."""

    method: str
    scale: str
    device: str
    precision: str
    steps: int
    repeats: int


def chosen_methods(text: str) -> list[str]:
    """Return the methods named.

    Raises
    ------
    ConfigError
        There is no such method.
    """
    if text in ("all", "none"):
        return list(METHODS) if text == "all" else []
    names = [name.strip().replace("_", "-") for name in text.split(",")]
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ConfigError(
            f"--methods: found {unknown[0]!r}, expected all, none or some of {', '.join(METHODS)}"
        )
    return names


def describe_machine(device: str) -> str:
    """Return device, threads and versions in a line."""
    import torch

    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []:
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    if device != "cpu":
        name = torch.cuda.get_device_name(device)
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def measure_methods(
    methods: list[str], config: BenchConfig, device: str, write: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure each method in a fresh process, and write a table as they come.

    Raises
    ------
    ResourceError
        A process was ended, as the system does when memory runs out.
    """
    on_gpu = device != "cpu"
    scale = config.scale if config.scale != "auto" else ("large" if on_gpu else "small")
    precision = config.precision if config.precision != "auto" else ("bf16" if on_gpu else "32")
    write(f"\nTraining steps at scale {scale}, precision {precision}\n\n{_HEAD}")
    found = []
    for method in methods:
        steps = config.steps or (20 if on_gpu else 1)
        task = Task(method, scale, device, precision, steps, config.repeats)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                row = pool.submit(measure, task).result()
            except BrokenProcessPool as error:
                raise ResourceError(
                    f"{method}: its process was ended from outside, expected it to finish; the "
                    "machine may be short of memory: use --scale small or tiny"
                ) from error
        write(table_line(row))
        found.append(row)
    write("\n" + explanation(found) + "\n")
    return found


def measure(task: Task) -> dict[str, Any]:
    """Measure one method, in the process that calls."""
    import torch

    from cryodl.commands.bench_alignment import measure_alignment
    from cryodl.commands.bench_cases import CASES, SCALES
    from cryodl.core.benchmark.ceilings import measure_ceilings
    from cryodl.core.benchmark.clock import Clock
    from cryodl.core.benchmark.steps import time_step
    from cryodl.core.training.devices import limit_threads
    from cryodl.core.training.settings import TrainingSettings

    limit_threads()
    clock = Clock(torch.device(task.device))
    if task.device != "cpu":
        torch.cuda.set_device(clock.device)
    row: dict[str, Any] = {"method": task.method, "clock": clock.name}
    if task.method == "alignment":
        return {**row, **measure_alignment(clock, task.scale, task.repeats)}
    ceilings = measure_ceilings(clock, task.precision)
    number = task.device.partition(":")[2]
    with tempfile.TemporaryDirectory() as name:
        case = CASES[task.method](SCALES[task.scale], Path(name))
        settings = TrainingSettings(
            steps_per_epoch=task.steps,
            epochs=1,
            devices=number or "cpu",
            precision=task.precision,
            gradient_clip=case.gradient_clip,
            checkpoint_seconds=1e9,
        )
        times = time_step(
            case.step, case.source, settings, ceilings, clock, Path(name), task.repeats
        )
    return {
        **row,
        "what": case.what,
        "rates": ceilings.rates,
        "bandwidth": ceilings.bandwidth,
        "particles": times.particles,
        "step_seconds": times.ours,
        "plain_seconds": times.plain,
        "data_seconds": times.data,
        "flops": times.flops,
        "counted_seconds": times.floors.counted,
        "alone_seconds": times.floors.alone,
        "dominating": times.floors.dominating,
        "host_gib": times.host_gib,
        "device_gib": times.device_gib,
    }


def table_line(row: dict[str, Any]) -> str:
    """Return a line of the table."""
    if row["method"] == "alignment":
        return (
            f"| alignment: {row['what']} | | {row['particle_seconds']:.3g} "
            f"| {row['plain_seconds'] / row['particle_seconds']:.0f} x | | | | "
            f"| {row['kernel_share']:.0%} in kernels | {row['host_gib']:.2f} | |\n"
        )
    step, counted, alone = row["step_seconds"], row["counted_seconds"], row["alone_seconds"]
    kernels = sum(alone.values())
    floor = sum(seconds for family, seconds in counted.items() if family != "other")
    gpu = "" if row["device_gib"] is None else f"{row['device_gib']:.2f}"
    return (
        f"| {row['method']}: {row['what']} | {step:.3g} | {step / row['particles']:.3g} "
        f"| {row['plain_seconds'] / step:.2f} x | {row['data_seconds'] / step:.1%} "
        f"| {kernels:.3g} | {step / kernels:.2f} | {floor:.3g} | {floor / step:.0%} "
        f"| {row['host_gib']:.2f} | {gpu} |\n"
    )


def explanation(rows: list[dict[str, Any]]) -> str:
    """Return what the columns mean, with the rates that were measured."""
    lines = [
        f"Times are {rows[0]['clock']}. plain: how many times longer the plainest float32 loop "
        "takes. data: share of a step that makes its batch. kernels alone: convolutions, matrix "
        "products and transforms of the step as bare library calls. counted floor: the same from "
        "operations and bytes at the best rates of this device; ceiling: that floor over the step."
    ]
    rates = [row["rates"] | {"bytes": row["bandwidth"]} for row in rows if "rates" in row]
    if rates:
        best = {name: max(rate[name] for rate in rates) for name in rates[0]}
        lines.append(
            f"Best rates: convolutions {best['convolution'] / 1e9:,.0f}, products "
            f"{best['product'] / 1e9:,.0f}, transforms {best['transform'] / 1e9:,.0f} GFLOP/s; "
            f"copies {best['bytes'] / 1e9:,.0f} GB/s."
        )
    return "\n".join(lines)
