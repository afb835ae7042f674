"""Anisotropy correction against the truth: three structures, cone and preferred views, three seeds.

Runs the real commands: simulate half-maps, then spisonet correct with 60 optimiser steps of the
16-channel network. Prints a Markdown table of FSC and power with respect to the truth inside and
outside the badly measured cone.

    python benchmarks/bench_correct.py [--quick] [--output FOLDER] [-- --method published]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cryodl.cli import run_command

STRUCTURES = ("groel_groes", "proteasome_20s", "rubisco")
# (name, options of simulate half-maps). The cone of the scores is the cone of the damage.
DAMAGES: dict[str, list[str]] = {
    "cone 30 z": ["--mode", "cone", "--cone-angle", "30", "--attenuation", "0"],
    "preferred z": ["--mode", "preferred", "--cone-angle", "30"],
}
SNR = "5"
FIGURES = ("fsc_inside_low", "fsc_inside_high", "power_inside_low", "power_inside_high")
OUTSIDE = ("fsc_outside_low", "fsc_outside_high")


def run_case(
    folder: Path, structure: str, damage: list[str], seed: int, extra: list[str]
) -> dict[str, dict[str, float]]:
    """Simulate, correct, and return the scores before and after."""
    halves, corrected = folder / "half_maps", folder / "corrected"
    run_command(
        [
            *["simulate", "half-maps", "--structure", structure, "--snr", SNR, *damage],
            *["--seed", str(seed), "--output", str(halves), "--resume"],
        ]
    )
    run_command(
        [
            *["spisonet", "correct", str(halves / "half1.mrc"), str(halves / "half2.mrc")],
            *["--mask", str(halves / "mask.mrc"), "--width", "16", "--devices", "cpu"],
            *["--epochs", "6", "--n-subvolume", "40", "--batch-size", "4", "--seed", str(seed)],
            *["--truth", str(halves / "truth" / "truth.mrc")],
            *["--truth-region", str(halves / "truth" / "cone.mrc")],
            *["--output", str(corrected), "--resume", *extra],
        ]
    )
    result = json.loads((corrected / "result.json").read_text(encoding="utf-8"))
    return {"before": result["truth_before"], "after": result["truth_after"]}


def main() -> int:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one structure, one seed")
    parser.add_argument("--structures", nargs="+", default=list(STRUCTURES))
    parser.add_argument("--output", type=Path, help="keep the runs here (resumes what is there)")
    parser.add_argument("extra", nargs="*", help="further options of spisonet correct, after --")
    options = parser.parse_args()
    root = options.output or Path(tempfile.mkdtemp(prefix="cryodl_bench_"))
    seeds = (0,) if options.quick else (0, 1, 2)
    rows = []
    for structure in options.structures[: 1 if options.quick else None]:
        for name, damage in DAMAGES.items():
            started = time.monotonic()
            runs = [
                run_case(
                    root / f"{structure}_{name.replace(' ', '_')}_{seed}",
                    structure,
                    damage,
                    seed,
                    options.extra,
                )
                for seed in seeds
            ]
            seconds = (time.monotonic() - started) / len(seeds)
            rows.append(row(f"{structure}, {name}", runs, seconds))
            sys.stdout.write("\n".join([*header(), *rows]) + "\n")
    return 0


def header() -> list[str]:
    """Return the head of the table."""
    names = [f"{name.replace('_', ' ')} before, after" for name in FIGURES]
    names += [f"{name.replace('_', ' ')}, change" for name in OUTSIDE]
    columns = ["case", *names, "seconds"]
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]


def row(name: str, runs: list[dict[str, dict[str, float]]], seconds: float) -> str:
    """Return one row: mean over the seeds, and the worst change in brackets."""
    cells = []
    for figure in FIGURES:
        before = statistics.mean(run["before"][figure] for run in runs)
        after = statistics.mean(run["after"][figure] for run in runs)
        worst = min(run["after"][figure] - run["before"][figure] for run in runs)
        cells.append(f"{before:.2f} → {after:.2f} ({worst:+.2f})")
    for figure in OUTSIDE:
        changes = [run["after"][figure] - run["before"][figure] for run in runs]
        cells.append(f"{statistics.mean(changes):+.3f} ({min(changes):+.3f})")
    return f"| {' | '.join([name, *cells, f'{seconds:.0f}'])} |"


if __name__ == "__main__":
    raise SystemExit(main())
