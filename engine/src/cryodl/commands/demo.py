"""``cryodl demo``: simulated data through our commands, with the truth beside every result."""

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
    """Take simulated data through all methods, in some minutes on a CPU, and say how good it is.

    Tomograms of a crowded scene go from picking, extraction, sorting, averaging and states to a
    corrected map of one state; the report compares every stage with the truth. The case half-maps
    is the last part alone, with preferred orientation. Each stage is a folder inside the output
    folder, with a report of its own.
    """

    case: Literal["tomogram-to-map", "half-maps"] = parameter(
        "tomogram-to-map", help="The whole chain, or the correction of half maps.", group="Demo"
    )
    tomograms: int = parameter(
        3, help="Tomograms of the chain; the first is labelled.", group="Demo", ge=1, le=99
    )
    number: int = parameter(110, help="Particles of a tomogram.", group="Demo", ge=40)
    snr: float = parameter(0.5, help="Signal-to-noise ratio of the tomograms.", group="Demo", gt=0)
    structure: str = parameter(
        "groel_groes",
        help="For half-maps: a density that comes with cryodl; see simulate half-maps.",
        group="Demo",
    )
    mode: Literal["cone", "preferred"] = parameter(
        "preferred", help="For half-maps: a missing cone, or preferred views.", group="Demo"
    )
    epochs: int = parameter(6, help="Passes of the training of the correction.", group="Demo", ge=1)
    folders: Path | None = parameter(
        None,
        help="JSON file with the folders of a chain that has run elsewhere, in a Scipion project: "
        "nothing is run, and only the report is made.",
        group="Demo",
        expert=True,
    )


def run_demo(config: DemoConfig, run: RunFolder) -> None:
    """Run the case that is asked for."""
    if config.case == "half-maps" and config.folders is None:
        run_half_maps(config, run)
        return
    from cryodl.commands.demo_chain import folders_of, run_chain
    from cryodl.commands.demo_report import report_chain

    folders = folders_of(config.folders) if config.folders else run_chain(config, run)
    report_chain(folders, run)


def run_half_maps(config: DemoConfig, run: RunFolder) -> None:
    """Simulate half maps, measure and correct them."""
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
        "Simulated tomograms to a map, compared with the truth.",
        DemoConfig,
        "cryodl.commands.demo:run_demo",
    )
]
