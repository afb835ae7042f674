"""How a training step grows with the box and the particles of a batch.

    python benchmarks/bench_scaling.py

Prints lines of a table, CPU seconds of one thread. The exponent is that of the time against the
voxels of a batch between a row and the row before it: 1 is what convolutions need, more is waste.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from cryodl.commands.bench_cases import CASES, SCALES, Case, Scale
from cryodl.core.networks.layout import lay_out
from cryodl.core.training.optimizers import make_optimizer
from cryodl.core.training.settings import TrainingSettings

# What is changed of the small scale, and the voxels of a batch of it.
SIZES: dict[str, list[tuple[dict[str, int], int]]] = {
    "spisonet": [({"width": 16, "cube_px": n, "cubes": 1}, n**3) for n in (16, 32, 48, 64)]
    + [({"width": 16, "cube_px": 32, "cubes": k}, k * 32**3) for k in (2, 4)],
    "cet-pick": [({"crop_px": n, "crops": 2}, 2 * 6 * n**2) for n in (24, 48, 96)]
    + [({"crop_px": 48, "crops": k}, k * 6 * 48**2) for k in (4, 8)],
    "autoencoder3d": [({"boxes": k}, k * 24**3) for k in (8, 32, 128)],
    "opus-tomo": [({"particles": k}, k * 32**3) for k in (4, 8, 16, 32)],
    "selfalign": [({"pairs": k}, k * 16**3) for k in (8, 32, 128)],
}
STEPS, REPEATS = 3, 2


def seconds_of_a_step(case: Case) -> float:
    """Return CPU seconds of a step with its data, the best of some."""
    lay_out(case.step, "cpu", "32")
    case.step.train()
    settings = TrainingSettings(steps_per_epoch=STEPS, epochs=1, devices="cpu")
    optimizer, best = make_optimizer(case.step, settings), math.inf
    for number in range(1 + REPEATS * STEPS):
        started = time.process_time()
        batch = case.source.batch(number % STEPS, 0, 0, 1)
        optimizer.zero_grad()
        case.step(batch)["loss"].backward()
        optimizer.step()
        best = min(best, time.process_time() - started) if number else best
    return best


def sizes(small: Scale) -> Iterator[tuple[str, ...]]:
    """Time steps of growing boxes and batches."""
    for method, changes in SIZES.items():
        before = None
        for change, voxels in changes:
            with tempfile.TemporaryDirectory() as folder:
                case = CASES[method](replace(small, **change), Path(folder))
                spent = seconds_of_a_step(case)
            exponent = "-"
            if before is not None and voxels != before[1]:
                exponent = f"{math.log(spent / before[0]) / math.log(voxels / before[1]):.2f}"
            before = (spent, voxels)
            yield method, case.what, f"{spent:.3f} s", exponent


def main() -> None:
    """Print the lines of a table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    for cells in sizes(SCALES["small"]):
        sys.stdout.write("| " + " | ".join(cells) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
