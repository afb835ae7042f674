"""The work of ``cryodl demo``: the chain, or the correction of half maps alone."""

from __future__ import annotations

import json
from pathlib import Path

from cryodl.commands.demo import DemoConfig
from cryodl.commands.demo_chain import folders_of, run_chain
from cryodl.commands.demo_report import report_chain
from cryodl.commands.demo_step import step
from cryodl.core.run.folder import RunFolder
from cryodl.errors import CryodlError


def run_demo(config: DemoConfig, run: RunFolder) -> None:
    """Run the case that is asked for."""
    if config.case == "half-maps" and config.folders is None:
        run_half_maps(config, run)
        return
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
