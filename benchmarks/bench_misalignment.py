"""Measure how well particles with preferred orientation are aligned with and without correction.

Simulates particles of a shipped structure with RELION's own projector, most of them seen from
within a cone, with CTF and noise; refines them with RELION alone and with relion_wrapper, from the
same reference, with the same seed and the same options; and compares poses and maps with the truth.
Prints a Markdown table. Needs RELION 3.1 or later and mpirun on PATH.

    python benchmarks/bench_misalignment.py --output FOLDER --seeds 1 2 3 --runs plain min fsc

A run is `plain`, or a comma-separated list of `fsc`, `weight`, `min` (ISONET_ANISO) and settings,
such as `weight,ISONET_METHOD=published`. Runs that have ended are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pose_scores import score
from preferred_particles import DataSet, simulate

COLUMNS = {
    "median error": "{:.2f}",
    "median in cone": "{:.2f}",
    "tilt bias": "{:+.2f}",
    "median outside": "{:.2f}",
    "within 5": "{:.3f}",
    "within 10": "{:.3f}",
    "within 10 outside": "{:.3f}",
    "fsc": "{:.4f}",
    "fsc to nyquist": "{:.4f}",
    "fsc poor directions": "{:.4f}",
    "fsc poor to nyquist": "{:.4f}",
    "resolution 0.5": "{:.2f}",
    "iterations": "{:.0f}",
    "minutes": "{:.1f}",
}


def refine(folder: Path, data: DataSet, run: str, given: argparse.Namespace) -> dict[str, float]:
    """Refine, unless it was done, and return the scores."""
    job = re.sub(r"[^A-Za-z0-9.=-]+", "_", run)
    done = folder / job / "scores.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    (folder / job).mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    command = shlex.split(relion_command(job, data, given))
    if run != "plain":
        command.append("--external_reconstruct")
        wrapper = given.wrapper or f"{shlex.quote(sys.executable)} -m cryodl.relion_wrapper"
        environment["RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"] = wrapper
        environment["ISONET_ON_ERROR"] = "fail"
        for part in run.split(","):
            name, _, value = part.partition("=")
            environment[name if value else "ISONET_ANISO"] = value or name
    (folder / job / "command.txt").write_text(shlex.join(command) + "\n", encoding="utf-8")
    started = time.monotonic()
    with (folder / job / "run.out").open("w") as out, (folder / job / "run.err").open("w") as err:
        subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=err, check=True)
    minutes = (time.monotonic() - started) / 60
    iterations = len(list((folder / job).glob("run_it*_half1_model.star"))) - 1
    figures = {**score(folder, job, data), "iterations": iterations, "minutes": minutes}
    done.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def relion_command(job: str, data: DataSet, given: argparse.Namespace) -> str:
    """Return RELION's command line, the same for every run but for the folder."""
    diameter = 0.85 * data.box_size_px * data.pixel_size_angstrom
    return f"""mpirun --allow-run-as-root --oversubscribe -np 3 relion_refine_mpi --o {job}/run
        --auto_refine --split_random_halves --i particles.star --ref reference.mrc
        --ini_high {data.start_angstrom:g} --ctf --ctf_corrected_ref
        --sym {given.sym} --pad {given.pad}
        --particle_diameter {diameter:.0f} --flatten_solvent --zero_mask
        --solvent_mask mask.mrc --solvent_correct_fsc --oversampling 1
        --healpix_order {given.healpix} --auto_local_healpix_order {given.local}
        --offset_range 3 --offset_step 2 --low_resol_join_halves 40 --norm --scale
        --dont_combine_weights_via_disc --preread_images --pool 30 --j 1
        --random_seed {data.seed} {given.extra}"""


def table(results: dict[tuple[int, str], dict[str, float]]) -> str:
    """Return a Markdown table, with the means over the seeds."""
    lines = ["| run | seed | " + " | ".join(COLUMNS) + " |"]
    lines.append("| --- " * (len(COLUMNS) + 2) + "|")
    for run in dict.fromkeys(run for _, run in results):
        rows = {seed: values for (seed, name), values in results.items() if name == run}
        mean = {name: float(np.mean([row[name] for row in rows.values()])) for name in COLUMNS}
        for label, row in [*rows.items(), ("mean", mean)]:
            cells = [form.format(row[name]) for name, form in COLUMNS.items()]
            lines.append(f"| {run} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Simulate, refine, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--runs", nargs="+", default=["plain", "min"])
    parser.add_argument("--structure", default="rubisco")
    parser.add_argument("--box-size-px", type=int, default=40)
    parser.add_argument("--pixel-size", type=float, default=4.0)
    parser.add_argument("--particles", type=int, default=400)
    parser.add_argument("--preferred", type=float, default=0.9)
    parser.add_argument("--cone", type=float, default=20.0)
    parser.add_argument("--axis", type=float, default=0.0)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--b-factor", type=float, default=100.0)
    parser.add_argument("--start", type=float, default=30.0)
    parser.add_argument("--start-missing", type=float, default=0.1)
    parser.add_argument("--healpix", type=int, default=2)
    parser.add_argument("--local", type=int, default=3)
    parser.add_argument("--sym", default="D4")
    parser.add_argument("--pad", type=int, default=2)
    parser.add_argument("--extra", default="", help="more arguments of relion_refine_mpi")
    parser.add_argument("--wrapper", default="", help="program instead of relion_wrapper")
    given = parser.parse_args()
    results = {}
    for seed in given.seeds:
        data = DataSet(
            given.structure,
            given.box_size_px,
            given.pixel_size,
            given.particles,
            given.preferred,
            given.cone,
            given.axis,
            given.snr,
            given.b_factor,
            given.start,
            given.start_missing,
            seed,
        )
        folder = given.output / f"seed{seed}"
        simulate(data, folder)
        for run in given.runs:
            results[seed, run] = refine(folder, data, run, given)
            print(table({(seed, run): results[seed, run]}), flush=True)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
