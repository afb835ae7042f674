"""``cryodl bench``: how fast this machine is, and how close the methods come to what it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryodl.core.config.parameters import BareConfig, parameter
from cryodl.core.config.registry import Command


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
        "cryodl.commands.bench_run:run_bench",
    )
]
