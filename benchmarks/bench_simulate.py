"""Time and memory of the simulations, each in a process of its own on one core.

    python benchmarks/bench_simulate.py
    python benchmarks/bench_simulate.py --thickness-px 128 --box-size-px 512 --number 500

Prints one row a case; times are CPU seconds of the whole command, with start, files and report.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def measure(words: list[str]) -> tuple[float, float, dict]:
    """Run a command; return its CPU seconds, its largest memory in GB and its result."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        subprocess.run(
            [sys.executable, "-m", "cryodl", "simulate", *words, "--output", str(output)],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **threads},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1e6, result


def main() -> None:
    """Measure the three simulations and print a table."""
    parser = argparse.ArgumentParser(description="Time the simulations.")
    parser.add_argument("--box-size-px", type=int, default=256, help="tomogram in x and y")
    parser.add_argument("--thickness-px", type=int, default=64, help="tomogram in z")
    parser.add_argument("--number", type=int, default=150, help="particles in the tomogram")
    options = parser.parse_args()
    cases = {
        "subtomograms, 100 of 32 px, 41 tilts": ["subtomograms", "--number", "100"],
        "particles, 1000 of 64 px": ["particles", "--number", "1000"],
        f"tomogram {options.thickness_px} x {options.box_size_px} x {options.box_size_px}, "
        f"{options.number} particles, 41 tilts": [
            *["tomogram", "--number", str(options.number), "--decoys", "10", "--beads", "5"],
            *["--structure", "rubisco", "proteasome_20s"],
            *["--vesicles", "2", "--box-size-px", str(options.box_size_px)],
            *["--thickness-px", str(options.thickness_px)],
        ],
    }
    print("| case | CPU s | largest memory so far | placed | SNR asked, measured |")
    print("| --- | --- | --- | --- | --- |")
    for name, words in cases.items():
        seconds, memory, result = measure(words)
        asked = 0.05 if words[0] == "particles" else 0.1
        print(
            f"| {name} | {seconds:.1f} | {memory:.2f} GB | {result['number']} | "
            f"{asked}, {result['snr']:.3g} |"
        )


if __name__ == "__main__":
    main()
