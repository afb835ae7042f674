"""How well cet-pick finds particles of unseen tomograms, beside two classical pickers.

    python benchmarks/bench_cet_pick.py --output FOLDER --case cpu
    python benchmarks/bench_cet_pick.py --output FOLDER --case unet_4 --steps 200
    python benchmarks/bench_cet_pick.py --output FOLDER --case fractions --fractions 0.1 0.3
    python benchmarks/bench_cet_pick.py --output FOLDER --case large

Tomograms hold one structure, decoys, gold and membranes, recorded tilt by tilt. Training sees a
share of the particles of one tomogram; threshold and model come from there; two others are scored,
a pick being right within half a diameter. The classical pickers get the threshold that is best on
the very tomograms they are scored on. Prints one row a run; finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from classical_pickers import best_f1, difference_of_gaussians, match_template

from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.coordinates import read_coordinates, write_coordinates
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.scene import SceneSettings
from cryodl.core.simulation.tomogram import TomogramSettings, simulate_tomogram

STRUCTURE, PIXEL_SIZE, DIAMETER_PX = "rubisco", 8.0, 14.0
SHAPE = (64, 192, 192)
UNSEEN = (101, 102)


def tomogram(folder: Path, seed: int, snr: float, style: str) -> Path:
    """Simulate a tomogram with its truth, unless it is there.

    The style is detector, or smooth with the correlation of its noise in voxels: smooth0.5.
    """
    path = folder / f"{style}_{snr:g}_{seed}.mrc"
    if path.is_file():
        return path
    kind = style.rstrip("0123456789.")
    noise = NoiseSettings(style=kind, snr=snr, correlation_px=float(style[len(kind) :] or 1))
    scene = SceneSettings(number=90, decoys=50, beads=4, vesicles=1, texture=0.1)
    settings = TomogramSettings(
        structures=(STRUCTURE,),
        shape_zyx=SHAPE,
        pixel_size_angstrom=PIXEL_SIZE,
        scene=scene,
        noise=noise,
    )
    found = simulate_tomogram(settings, seed)
    write_coordinates(path.with_suffix(".txt"), found.coordinates_px)
    write_volume(folder / "reference.mrc", found.references[0][0], pixel_size_angstrom=PIXEL_SIZE)
    write_volume(path, found.volume, pixel_size_angstrom=PIXEL_SIZE)
    return path


def cryodl(words: list[str]) -> tuple[float, float]:
    """Run a command on one core; return its CPU seconds and largest memory in GB so far."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    subprocess.run(
        [sys.executable, "-m", "cryodl", "cet-pick", *words, "--overwrite", "--devices", "cpu"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **threads},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1e6


def labels(path: Path, fraction: float, seed: int) -> Path:
    """Write a random share of a tomogram's particles."""
    points = read_coordinates(path.with_suffix(".txt")).xyz_px
    chosen = np.random.default_rng(seed).permutation(len(points))
    kept = points[chosen[: max(2, round(fraction * len(points)))]]
    name = path.with_name(f"{path.stem}_{fraction:g}.csv")
    write_coordinates(name, kept)
    return name


def learned(folder: Path, seed: int, snr: float, style: str, fraction: float, more: list[str]):
    """Train, pick, score; return a dictionary of figures."""
    name = "_".join([style, f"{snr:g}", f"{fraction:g}", str(seed), *more]).replace("--", "")
    done = folder / name / "scores.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    train = tomogram(folder, seed, snr, style)
    unseen = [tomogram(folder, other, snr, style) for other in UNSEEN]
    run = folder / name
    words = ["--tomograms", str(train), "--coordinates", str(labels(train, fraction, seed))]
    words += ["--bbox", f"{DIAMETER_PX:g}", "--seed", str(seed), *more]
    seconds, memory = cryodl(["train", *words, "--output", str(run / "train")])
    words = ["--tomograms", *map(str, unseen), "--model", str(run / "train/model.safetensors")]
    cryodl(["predict", *words, "--output", str(run / "picks")])
    picks = [str(run / "picks" / f"{path.stem}_coords.txt") for path in unseen]
    words = ["--predicted", *picks, "--truth", *(str(p.with_suffix(".txt")) for p in unseen)]
    words += ["--radius", f"{DIAMETER_PX / 2:g}", "--output", str(run / "score")]
    cryodl(["evaluate", *words])
    found = json.loads((run / "score/result.json").read_text(encoding="utf-8"))
    kept = ("f1", "precision", "recall", "mean_error_px", "average_precision")
    figures = {key: found[key] for key in kept}
    expected = json.loads((run / "train/result.json").read_text())["validation"]["particle"]["f1"]
    figures.update({"expected f1": expected, "CPU s": seconds, "GB": memory})
    done.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def classical(folder: Path, snr: float, style: str) -> dict[str, float]:
    """Return the best F1 of both classical pickers over the unseen tomograms."""
    done = folder / f"classical_{style}_{snr:g}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    found: dict[str, list] = {"difference of Gaussians": [], "template, true structure": []}
    for seed in UNSEEN:
        path = tomogram(folder, seed, snr, style)
        density = -read_volume(path).data
        reference = read_volume(folder / "reference.mrc").data
        truth = read_coordinates(path.with_suffix(".txt")).xyz_px
        dog = difference_of_gaussians(density, DIAMETER_PX)
        template = match_template(density, reference, DIAMETER_PX, (-60.0, 60.0))
        found["difference of Gaussians"].append((*dog, truth))
        found["template, true structure"].append((*template, truth))
    figures = {name: best_f1(cases, DIAMETER_PX / 2) for name, cases in found.items()}
    done.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def large(folder: Path) -> None:
    """Time the prediction of a tomogram of 184 x 630 x 630 voxels on two cores."""
    model = next(folder.glob("*/train/model.safetensors"))
    path = folder / "large.mrc"
    if not path.is_file():
        noise = np.random.default_rng(0).standard_normal((184, 630, 630), dtype=np.float32)
        write_volume(path, noise, pixel_size_angstrom=PIXEL_SIZE)
    code = (
        "import resource, sys, time; from cryodl.cli import main; t = time.monotonic();"
        "s = main(sys.argv[1:]); u = resource.getrusage(resource.RUSAGE_SELF);"
        "print(s, round(time.monotonic() - t, 1), round(u.ru_utime + u.ru_stime, 1),"
        "round(u.ru_maxrss / 1e6, 2), file=sys.stderr)"
    )
    words = ["cet-pick", "predict", "--tomograms", str(path), "--model", str(model)]
    words += ["--order", "zyx", "--overwrite", "--devices", "cpu", "--output", str(folder / "big")]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    status, wall, cpu, memory = done.stderr.split()[-4:]
    print(f"| 184 x 630 x 630, status {status} | {wall} s wall | {cpu} CPU s | {memory} GB |")


def row(name: str, figures: dict[str, float]) -> None:
    """Print one run."""
    cells = (f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}" for value in figures.values())
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Run the asked case."""
    parser = argparse.ArgumentParser(description="Measure cet-pick on simulated tomograms.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--case", choices=["cpu", "unet_4", "fractions", "large"], default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--snr", type=float, nargs="+", default=[0.3, 0.1])
    parser.add_argument("--styles", nargs="+", default=["detector", "smooth0.5"])
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.05, 0.1, 0.3, 0.7, 1.0])
    parser.add_argument("--preset", help="default: unet_4 for its case, cpu for the others")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if given.case == "large":
        large(given.output)
        return
    print("| run | F1 | precision | recall | error (px) | average precision | expected F1 |")
    more = ["--preset", given.preset or ("unet_4" if given.case == "unet_4" else "cpu")]
    more += ["--steps", str(given.steps)] if given.steps else []
    fractions = given.fractions if given.case == "fractions" else [0.3]
    for style in given.styles:
        for snr in given.snr:
            for fraction in fractions:
                for seed in given.seeds:
                    figures = learned(given.output, seed, snr, style, fraction, more)
                    row(f"{style}, SNR {snr:g}, {fraction:.0%} labels, seed {seed}", figures)
            if given.case == "fractions":
                for name, figures in classical(given.output, snr, style).items():
                    row(f"{style}, SNR {snr:g}, {name}", figures)


if __name__ == "__main__":
    main()
