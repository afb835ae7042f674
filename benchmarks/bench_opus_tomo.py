"""Measure what opus-tomo finds in simulated subtomograms whose states are known.

Simulates subtomograms of GroEL rings with tilt series, CTF and noise, gives the command poses with
errors, and compares latents and poses with the truth. Prints a Markdown table.

    python benchmarks/bench_opus_tomo.py --output FOLDER --seeds 1 2 3 --cases two:0.1 two:0.03

A case is a kind and an SNR: `two` (cis and trans ring, half each), `pair` (the same with two maps
given by --maps, the second moved onto the first), `rare` (95 % and 5 %), `motion` (a hinge in ten
steps). `by chance` is what the leak of the viewing direction would be with views shuffled, mean and
standard deviation; `fsc` is the local FSC gap: that of the density decoded for each cluster with
its own state minus with the other, where they differ. Arguments after `--` go to `cryodl opus-tomo
train`. Runs that have ended are not repeated.
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
from latent_particles import DataSet, make, pose_errors, recall_of_rare
from scipy.stats import spearmanr

from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.io.particles.read import read_particles
from cryodl.methods.opus_tomo.clusters import cluster
from cryodl.methods.opus_tomo.leakage import direction_leakage

_SHUFFLED = 50
COLUMNS = (
    "score",
    "linear",
    "gap",
    "turn before",
    "turn after",
    "shift before",
    "shift after",
    "leak",
    "by chance",
    "+-",
    "fsc",
    "offset",
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
        **by_chance(latents, truth.rotations),
        **local_fsc(data, folder, kind=case),
        "spread": json.loads((folder / "result.json").read_text(encoding="utf-8"))["spread"],
    }
    return found


def by_chance(latents: np.ndarray, rotations: np.ndarray) -> dict[str, float]:
    """Return the leak with shuffled views, mean and deviation."""
    rng = np.random.default_rng(0)
    found = [direction_leakage(latents, rng.permutation(rotations)) for _ in range(_SHUFFLED)]
    return {"by chance": float(np.mean(found)), "+-": float(np.std(found))}


def decoded_clusters(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the densities of two clusters, means of their latents, and the labels."""
    import torch

    from cryodl.methods.opus_tomo.density import load_model

    model, _ = load_model(folder / "model.safetensors")
    with np.load(folder / "latents.npz") as stored:
        labels, _ = cluster(stored["scaled"], 2)
        means = [stored["z_mu"][labels == k].mean(axis=0) for k in (1, 2)]
    with torch.no_grad():
        return model.decode(torch.as_tensor(np.stack(means))).numpy(), labels


def true_states(data: DataSet, edge: int) -> list[np.ndarray]:
    """Return the states on the grid of the decoded densities."""
    from cryodl.core.volumes.boxes import resample_volume

    box = data.truth.references.shape[-1]
    return [resample_volume(r[0], 1.0, edge, box / edge) for r in data.truth.references]


def local_fsc(data: DataSet, folder: Path, kind: str) -> dict[str, float]:
    """Return the local FSC gap, and by how many voxels the densities lie off the consensus."""
    from cryodl.core.fourier.fsc import fourier_shell_correlation
    from cryodl.core.io.mrc import read_volume
    from cryodl.core.volumes.boxes import resample_volume

    densities, labels = decoded_clusters(folder)
    edge = densities.shape[-1]
    consensus = np.asarray(read_volume(folder / "consensus.mrc").data)
    consensus = resample_volume(consensus, 1.0, edge, consensus.shape[0] / edge)
    crossed = np.fft.rfftn(densities.mean(axis=0)) * np.fft.rfftn(consensus).conj()
    place = np.unravel_index(np.fft.irfftn(crossed, s=(edge,) * 3).argmax(), (edge,) * 3)
    offset = max(min(int(p), edge - int(p)) for p in place)
    if kind == "motion":
        return {"fsc": float("nan"), "offset": offset}
    states = true_states(data, edge)
    difference = np.abs(states[0] - states[1])
    where = (difference > np.quantile(difference, 0.9)).astype(np.float32)
    gaps = []
    for k, density in enumerate(densities, start=1):
        own = int(np.mean(data.truth.classes[labels == k] == 2) > _half(data))
        scores = [
            float(fourier_shell_correlation(density * where, s * where)[1 : edge // 2].mean())
            for s in states
        ]
        gaps.append(scores[own] - scores[1 - own])
    return {"fsc": float(np.mean(gaps)), "offset": offset}


def _half(data: DataSet) -> float:
    """Return the share above which a cluster is the second state's."""
    return float(np.mean(data.truth.classes == 2))


def score(case: str, data: DataSet, latents: np.ndarray) -> float:
    """Return the figure of a case: ARI, recall of the rare state, or rank correlation."""
    if case == "motion":
        return abs(float(spearmanr(latents[:, 0], data.truth.states).statistic))
    labels, _ = cluster(latents, 2)
    if case in ("two", "pair"):
        return adjusted_rand_index(labels, data.truth.classes)
    return recall_of_rare(labels, data.truth.classes == 2)[0]


def gap(data: DataSet, folder: Path) -> float:
    """Return by how much densities of the two clusters are more like their own state.

    Mean correlation, where the states differ most, of the difference of the two densities with
    the difference of the two states: 1 is perfect, 0 is no difference found.
    """
    (first, second), labels = decoded_clusters(folder)
    states = true_states(data, first.shape[0])
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
    parser.add_argument("--maps", nargs=2, default=None)
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
                maps=given.maps,
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
