"""``cryodl demo``: from simulated half maps to an isotropic map, with the truth beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodl.core.config.parameters import CommandConfig, parameter
from cryodl.core.config.registry import Command
from cryodl.errors import CryodlError

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder


class DemoConfig(CommandConfig):
    """Simulate half maps with preferred orientation and correct them, in some minutes on a CPU.

    Makes half_maps/, fsc3d/ and corrected/ inside the output folder, each with its own report.
    """

    structure: str = parameter(
        "groel_groes",
        help="A density that comes with cryodl; see simulate half-maps.",
        group="Demo",
    )
    mode: Literal["cone", "preferred"] = parameter(
        "preferred", help="A missing cone, or preferred views.", group="Demo"
    )
    epochs: int = parameter(6, help="Passes of the training.", group="Demo", ge=1)


def run_demo(config: DemoConfig, run: RunFolder) -> None:
    """Run the three commands of the demonstration one after the other."""
    halves, fsc3d, corrected = (run.path(name) for name in ("half_maps", "fsc3d", "corrected"))
    inputs = [str(halves / "half1.mrc"), str(halves / "half2.mrc")]
    mask = ["--mask", str(halves / "mask.mrc")]
    seed = ["--seed", str(config.seed)]
    step(
        [
            *["simulate", "half-maps", "--structure", config.structure, "--mode", config.mode],
            *["--output", str(halves), *seed],
        ]
    )
    run.progress(0.05, "half maps simulated")
    step(["spisonet", "fsc3d", *inputs, *mask, "--output", str(fsc3d)])
    run.progress(0.1, "3DFSC computed")
    step(
        [
            *["spisonet", "correct", *inputs, *mask, "--width", "16", *seed],
            *["--aniso-file", str(fsc3d / "fsc3d.mrc"), "--devices", config.devices],
            *["--epochs", str(config.epochs), "--n-subvolume", "40", "--batch-size", "4"],
            *["--truth", str(halves / "truth" / "truth.mrc")],
            *["--truth-region", str(halves / "truth" / "cone.mrc")],
            *["--output", str(corrected)],
        ]
    )
    summarise(corrected, run)


def step(arguments: list[str]) -> None:
    """Run one command of ours in this process; go on where an interrupted demo stopped."""
    from cryodl.cli import run_command

    run_command([*arguments, "--resume"])


def summarise(corrected: Path, run: RunFolder) -> None:
    """Say what came out, in numbers."""
    result = json.loads((corrected / "result.json").read_text(encoding="utf-8"))
    if "truth_before" not in result:
        raise CryodlError(f"{corrected}: found no comparison with the truth; report this bug")
    before, after = result["truth_before"], result["truth_after"]
    rows = []
    for name in ("fsc_inside_low", "fsc_inside_high", "fsc_outside_low", "fsc_outside_high"):
        rows.append([name.replace("_", " "), before[name], after[name]])
        run.log(f"{name.replace('_', ' '):18s} {before[name]:.2f} -> {after[name]:.2f}")
        run.add_value(name, after[name])
    run.report.heading("FSC with the known structure")
    run.report.table(["part and band", "before", "after"], rows)
    run.report.text(
        "The folders half_maps, fsc3d and corrected hold one report each; open "
        "corrected/report.html for the pictures."
    )


COMMANDS = [
    Command(
        "demo",
        "",
        "Simulated half maps to an isotropic map.",
        DemoConfig,
        "cryodl.commands.demo:run_demo",
    )
]
