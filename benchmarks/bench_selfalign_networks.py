"""What a trained network adds to the search of poses, and what it is worth alone.

    python benchmarks/bench_selfalign_networks.py --maps FOLDER --structures 5T2C,6A5L --snr 0.1

Particles are those of `bench_selfalign.py align`. For every seed a network is trained on the map
with the noise of the particles, and the same particles are aligned by the search without it, by the
search about its proposals, and by it alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from bench_selfalign import MAX_SHIFT_PX, PIXEL, Data, interval, load, make, row, write

from cryodl.cli import main as cryodl
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.read import read_particles

KINDS = (
    ("exhaustive", "exhaustive", False),
    ("auto", "auto", False),
    ("auto about the network's proposals", "auto", True),
    ("the network alone", "net", True),
)


def run(*words: object) -> float:
    """Run a command, which must succeed; return its CPU seconds."""
    begun = time.process_time()
    status = cryodl(["selfalign", *map(str, words), "--devices", "cpu"])
    if status:
        raise SystemExit(status)
    return time.process_time() - begun


def measured(path: Path, data: Data) -> list[str]:
    """Return the errors of the poses of a file, as cells of the table."""
    found = read_particles(path)
    angles = angular_distance_degrees(found.rotations, data.rotations)
    moves = np.linalg.norm(found.shifts_angstrom / PIXEL - data.shifts, axis=1)
    within = interval((angles <= 10).astype(float), np.mean)
    return [interval(angles, np.median), within, f"{np.median(moves):.2f}"]


def compare(options: argparse.Namespace, name: str, snr: float, seed: int, folder: Path) -> None:
    """Print the rows of one network."""
    reference = load(options.maps, name)
    data = make(reference, options.number, snr, seed)
    star, path = write(data, folder / "particles"), folder / "reference.mrc"
    write_volume(path, reference, pixel_size_angstrom=PIXEL)
    given = (star, "--reference", path, "--max-shift-px", MAX_SHIFT_PX, "--seed", seed)
    given += ("--tilt-min", -60, "--tilt-max", 60)
    words = ("--preset", options.preset, "--steps", options.steps)
    trained = run("train", *given, *words, "--output", folder / "network")
    for number, (kind, mode, has_network) in enumerate(KINDS):
        model = ("--model", folder / "network") if has_network else ()
        output = folder / f"aligned{number}"
        spent = run("align", *given, "--mode", mode, *model, "--output", output)
        cells = measured(output / "aligned.star", data)
        training = f"{trained:.0f}" if has_network else "-"
        row(name, snr, seed, kind, *cells, f"{spent / options.number:.3f}", training)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--structures", type=lambda t: t.split(","), default=["5T2C", "6A5L"])
    parser.add_argument("--snr", type=lambda t: [float(v) for v in t.split(",")], default=[0.1])
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[551, 552, 553])
    parser.add_argument("--preset", default="proposer")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    row("map", "SNR", "seed", "kind", "median degrees", "within 10", "median px",
        "CPU s a particle", "CPU s of the training")  # fmt: skip
    for name, snr, seed in product(options.structures, options.snr, options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            compare(options, name, snr, seed, Path(folder))


if __name__ == "__main__":
    main()
