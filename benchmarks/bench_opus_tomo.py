"""Measure what opus-tomo finds in simulated subtomograms whose states are known.

Simulates subtomograms of GroEL rings with tilt series, CTF and noise, gives the command poses with
errors, and compares latents and poses with the truth. Prints a Markdown table.

    python benchmarks/bench_opus_tomo.py --output FOLDER --seeds 1 2 3 --cases two:0.1 two:0.03

A case is a kind and an SNR: `two` (cis and trans ring, half each), `rare` (95 % and 5 %), `motion`
(a hinge in ten steps). Arguments after `--` go to `cryodl opus-tomo train`. Runs that have ended
are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from latent_particles import DataSet, adjusted_rand_index, make, pose_errors, recall_of_rare
from scipy.stats import spearmanr

from cryodl.core.io.particles.read import read_particles
from cryodl.methods.opus_tomo.clusters import cluster
from cryodl.methods.opus_tomo.leakage import direction_leakage

COLUMNS = (
    "score",
    "linear",
    "gap",
    "turn before",
    "turn after",
    "shift before",
    "shift after",
    "leak",
    "spread",
    "cpu s",
    "wall s",
)


def train(data: DataSet, folder: Path, more: list[str]) -> dict[str, float]:
    """Train, unless it was done, and return CPU and wall seconds."""
    note = folder / "seconds.json"
    if not note.is_file():
        words = [sys.executable, "-m", "cryodl", "opus-tomo", "train", str(data.star)]
        words += ["--preset", "demo", "--devices", "cpu", "--estpose", "--overwrite"]
        began, before = time.monotonic(), os.times()
        log = folder.with_suffix(".out")
        with log.open("w") as out:
            subprocess.run([*words, "--output", str(folder), *more], check=True, stdout=out)
        after = os.times()
        used = after.children_user + after.children_system
        used -= before.children_user + before.children_system
        seconds = {"cpu s": used, "wall s": time.monotonic() - began}
        note.write_text(json.dumps(seconds), encoding="utf-8")
    return dict(json.loads(note.read_text(encoding="utf-8")))


def judge(case: str, data: DataSet, folder: Path) -> dict[str, float]:
    """Return all figures of a run but its time."""
    truth = data.truth
    particles = read_particles(folder / "particles.star")
    shifts = particles.shifts_angstrom / truth.pixel_size_angstrom
    before = pose_errors(truth, truth.known_rotations, truth.known_shifts_px)
    after = pose_errors(truth, particles.rotations, shifts)
    with np.load(folder / "latents.npz") as stored:
        latents, linear = stored["scaled"], stored["linear"]
    found = {
        "score": score(case, data, latents),
        "linear": score(case, data, linear),
        "gap": gap(data, folder) if case != "motion" else float("nan"),
        "turn before": before[0],
        "turn after": after[0],
        "shift before": before[1],
        "shift after": after[1],
        "leak": direction_leakage(latents, truth.rotations),
        "spread": json.loads((folder / "result.json").read_text(encoding="utf-8"))["spread"],
    }
    return found


def score(case: str, data: DataSet, latents: np.ndarray) -> float:
    """Return the figure of a case: ARI, recall of the rare state, or rank correlation."""
    if case == "motion":
        return abs(float(spearmanr(latents[:, 0], data.truth.states).statistic))
    labels, _ = cluster(latents, 2)
    if case == "two":
        return adjusted_rand_index(labels, data.truth.classes)
    return recall_of_rare(labels, data.truth.classes == 2)[0]


def gap(data: DataSet, folder: Path) -> float:
    """Return by how much densities of the two clusters are more like their own state.

    Mean correlation, where the states differ most, of the difference of the two densities with
    the difference of the two states: 1 is perfect, 0 is no difference found.
    """
    import torch

    from cryodl.core.volumes.boxes import resample_volume
    from cryodl.methods.opus_tomo.density import load_model

    model, _ = load_model(folder / "model.safetensors")
    with np.load(folder / "latents.npz") as stored:
        labels, centres = cluster(stored["scaled"], 2)
        means = torch.as_tensor(stored["z_mu"][centres])
    with torch.no_grad():
        first, second = model.decode(means).numpy()
    box = data.truth.references.shape[-1]
    states = [
        resample_volume(r[0], 1.0, first.shape[0], box / first.shape[0])
        for r in data.truth.references
    ]
    difference = states[0] - states[1]
    where = np.abs(difference) > np.quantile(np.abs(difference), 0.9)
    sign = 1.0
    own = np.mean(data.truth.classes[labels == 1] == 1)
    if own < np.mean(data.truth.classes[labels == 2] == 1):
        sign = -1.0
    return sign * float(np.corrcoef((first - second)[where], difference[where])[0, 1])


def main() -> int:
    """Simulate, train, print the table."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    more = words[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cases", nargs="+", default=["two:0.1", "two:0.03"])
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--box-size-px", type=int, default=32)
    parser.add_argument("--pixel-size", type=float, default=6.0)
    parser.add_argument("--rotation-error", type=float, default=3.0)
    parser.add_argument("--shift-error", type=float, default=1.5)
    given = parser.parse_args(words[:cut])
    print("| case | seed | " + " | ".join(COLUMNS) + " |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    for case in given.cases:
        kind, _, snr = case.partition(":")
        rows = []
        for seed in given.seeds:
            name = f"{kind}_{snr}_{seed}"
            data = make(
                given.output / "data" / name,
                kind,
                seed,
                snr=float(snr),
                number=given.number,
                box_size_px=given.box_size_px,
                pixel_size_angstrom=given.pixel_size,
                rotation_error_degrees=given.rotation_error,
                shift_error_px=given.shift_error,
            )
            seconds = train(data, given.output / name, more)
            rows.append({**judge(kind, data, given.output / name), **seconds})
            print(line(case, str(seed), rows[-1]), flush=True)
        if len(rows) > 1:
            mean = {column: float(np.mean([row[column] for row in rows])) for column in COLUMNS}
            print(line(case, "mean", mean), flush=True)
    return 0


def line(case: str, seed: str, row: dict[str, float]) -> str:
    """Return one row of the table."""
    cells = " | ".join(f"{row[column]:.3g}" for column in COLUMNS)
    return f"| {case} | {seed} | {cells} |"


if __name__ == "__main__":
    sys.exit(main())
