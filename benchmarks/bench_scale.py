"""What large data cost: a million particles in a file, many subtomograms, large maps and plots.

    python benchmarks/bench_scale.py star            # 1,000,000 particles: time and memory
    python benchmarks/bench_scale.py loader          # 100,000 subtomograms streamed to OPUS-TOMO
    python benchmarks/bench_scale.py plot            # latent spaces of 100,000 points
    python benchmarks/bench_scale.py predict         # correction of a map of 512^3 in tiles
    python benchmarks/bench_scale.py correct         # the whole correction of half maps of 512^3
    python benchmarks/bench_scale.py --number 10000 loader

Each prints lines of a table. Times are CPU seconds of one thread, memory is the largest resident
memory of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cryodl.core.geometry.rotations import matrix_to_euler, random_rotations

GIB_OF_KIB = 2**20
BLOCK = 50_000
COLUMNS = (
    "rlnTomoName", "rlnTomoParticleName", "rlnImageName", "rlnCoordinateX", "rlnCoordinateY",
    "rlnCoordinateZ", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst",
    "rlnOriginYAngst", "rlnOriginZAngst", "rlnRandomSubset", "rlnOpticsGroup", "rlnClassNumber",
)  # fmt: skip
OPTICS = (
    "# version 50001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n"
    "_rlnImagePixelSize #3\n_rlnImageSize #4\n_rlnImageDimensionality #5\n_rlnVoltage #6\n"
    "_rlnSphericalAberration #7\n1 opticsGroup1 10.0 {box} 3 300 2.7\n\n"
)


def write_star(path: Path, number: int, box: int, images: list[Path] | None = None) -> None:
    """Write a particle file as RELION does, with all that it writes of subtomograms."""
    random = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        file.write(OPTICS.format(box=box) + "# version 50001\n\ndata_particles\n\nloop_\n")
        file.writelines(f"_{name} #{i + 1}\n" for i, name in enumerate(COLUMNS))
        for first in range(0, number, BLOCK):
            count = min(BLOCK, number - first)
            places, shifts = random.uniform(0, 900, (count, 3)), random.normal(size=(count, 3))
            angles = matrix_to_euler(random_rotations(count, random))
            for i in range(count):
                n = first + i
                name = f"TS_{n % 100:02d}"
                image = images[n % len(images)] if images else f"Extract/{name}/{n}_data.mrc"
                x, y, z = places[i]
                rot, tilt, psi = angles[i]
                sx, sy, sz = shifts[i]
                file.write(
                    f"{name} {name}/{n} {image} {x:.3f} {y:.3f} {z:.3f} {rot:.5f} {tilt:.5f} "
                    f"{psi:.5f} {sx:.5f} {sy:.5f} {sz:.5f} {n % 2 + 1} 1 1\n"
                )


def in_a_process(code: str, *given: object) -> tuple[list[str], float, float]:
    """Run code in a fresh process; return its output, CPU seconds and peak memory in GiB."""
    tail = (
        "\nimport resource\nu = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", code + tail, *map(str, given)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    *lines, last = done.stdout.splitlines()
    seconds, kib = last.split()
    return lines, float(seconds), float(kib) / GIB_OF_KIB


READ = """
import sys
from cryodl.core.io.particles.read import read_particles
found = read_particles(sys.argv[1], require_images=False)
print(len(found))
"""


def star(folder: Path, number: int) -> Iterator[tuple[str, ...]]:
    """Read a large particle file."""
    path = folder / "many.star"
    write_star(path, number, 64)
    lines, seconds, memory = in_a_process(READ, path)
    size = path.stat().st_size / 2**20
    yield f"read {int(lines[0]):,} particles, {size:.0f} MB", f"{seconds:.1f} s", f"{memory:.2f} GB"


LOAD = """
import resource, sys, time
import numpy as np
from pathlib import Path
from cryodl.core.io.particles.read import read_particles
from cryodl.core.volumes.particle_average import AverageSettings
from cryodl.methods.opus_tomo.canonical import Sampling
from cryodl.methods.opus_tomo.data import ParticleSource, ParticleStore, Plan
particles = read_particles(sys.argv[1], require_images=False, tilt_range_degrees=(-60, 60))
box, steps, cache = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
store = ParticleStore(particles, AverageSettings(transfer="wedge"), Sampling(box, box, box, 10.0),
                      cache_gb=cache)
plan = Plan(np.arange(len(store)), 8, 1)
source = ParticleSource(store, plan, plan.steps_per_epoch())
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source.batch(0, 0, 0, 1)
before, started = peak(), time.process_time()
for step in range(1, steps + 1):
    source.batch(step, 0, 0, 1)
print((time.process_time() - started) / steps / 8, (peak() - before) / 2**20)
"""


def loader(folder: Path, number: int) -> Iterator[tuple[str, ...]]:
    """Stream subtomograms to a training; a few files stand for all."""
    from cryodl.core.io.mrc import write_volume

    random = np.random.default_rng(0)
    box = 32
    images = [folder / f"box{i}.mrc" for i in range(64)]
    for path in images:
        noise = random.standard_normal((box,) * 3, dtype=np.float32)
        write_volume(path, noise, pixel_size_angstrom=10.0)
    for count in (max(1, number // 100), number):
        path = folder / f"particles{count}.star"
        write_star(path, count, box, images)
        for cache in (0.0, 0.02):
            lines, seconds, memory = in_a_process(LOAD, path, box, 100, cache)
            each, grown = map(float, lines[0].split())
            yield (
                f"{count:,} subtomograms of {box}^3, {cache * 1024:.0f} MB kept",
                f"{each * 1e3:.2f} ms a particle, {seconds:.1f} s in all",
                f"{memory:.2f} GB, {grown * 1024:.0f} MB more after 100 batches",
            )


PREDICT = """
import sys, time
import numpy as np, torch
torch.set_num_threads(1)
from cryodl.core.networks.unet import UNet3D
from cryodl.core.volumes.tiles import predict_tiled
n, width, tile = map(int, sys.argv[1:4])
volume = np.lib.format.open_memmap(sys.argv[4], mode="w+", dtype=np.float32, shape=(n, n, n))
for z in range(n):
    volume[z] = np.random.default_rng(z).standard_normal((n, n), dtype=np.float32)
network = UNet3D((width, 2 * width, 4 * width), convolutions=1) if width < 16 else UNet3D()
done = []
def stop_after(fraction):
    done.append(fraction)
    if width >= 16 and len(done) == 2:
        raise KeyboardInterrupt
started = time.process_time()
try:
    predict_tiled(network, volume, cube_size_px=tile - 32, tile_size_px=tile, device="cpu",
                  progress=stop_after)
except KeyboardInterrupt:
    pass
print(len(done), round(1 / done[0]), time.process_time() - started)
"""


def predict(folder: Path, number: int) -> Iterator[tuple[str, ...]]:
    """Correct a map in tiles: all of it with a narrow network, two tiles with the published one."""
    for width, tile in ((2, 128), (64, 96)):
        lines, _, memory = in_a_process(PREDICT, number, width, tile, folder / "map.npy")
        done, tiles, seconds = lines[0].split()
        yield (
            f"map of {number}^3, tiles of {tile}^3, width {width}, {done} of {tiles} tiles",
            f"{float(seconds):.0f} s",
            f"{memory:.2f} GB",
        )


# The command as users call it, with few cubes and a network of two channels: its arithmetic grows
# with the square of the channels and is timed by `predict`, the memory of maps is all here.
CORRECT = """
import sys
import torch
torch.set_num_threads(1)
from cryodl.core.networks import unet
unet.UNET_WIDTHS[16] = (2, 4, 8)
from cryodl.cli import main
maps, output = sys.argv[1:3]
words = ["--width", "16", "--epochs", "1", "--n-subvolume", "8", "--batch-size", "1",
         "--cube-size", "64", "--predict-crop-size", "128", "--fill-iterations", "2",
         "--devices", "cpu", "--ncpus", "1"]
status = main(["spisonet", "correct", maps + "/half1.mrc", maps + "/half2.mrc",
               "--output", output, *words])
if status:
    raise SystemExit(status)
"""


def correct(folder: Path, number: int) -> Iterator[tuple[str, ...]]:
    """Correct large half maps from files to files."""
    from cryodl.core.io.mrc import write_volume
    from cryodl.core.simulation.densities import load_density

    density, pixel = load_density("groel_groes", number)
    random = np.random.default_rng(0)
    for half in (1, 2):
        noise = random.standard_normal(density.shape, dtype=np.float32)
        noise *= density.std()
        noise += density
        path = folder / f"half{half}.mrc"
        write_volume(path, noise, pixel_size_angstrom=pixel)
    del density, noise
    _, seconds, memory = in_a_process(CORRECT, folder, folder / "run")
    yield f"`correct`, half maps of {number}^3", f"{seconds:.0f} s", f"{memory:.2f} GB"


PLOT = """
import sys, time
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from cryodl.methods.opus_tomo.figures import scatter
from cryodl_plugin.viewers.latent_map import LatentModel, drawChosen, drawLatents
count, random = int(sys.argv[1]), np.random.default_rng(0)
columns = {f"pc{i}": random.normal(size=count) for i in range(1, 5)}
columns |= {"cluster": random.integers(1, 9, count), "id": np.arange(count)}
model, figure = LatentModel(columns), Figure((11.5, 6.2), dpi=100)
FigureCanvasAgg(figure)
axes, pictures = figure.subplots(1, 2)
turn = np.linspace(0, 2 * np.pi, 200)
line = [(0.3 * np.cos(t), 0.3 * np.sin(t)) for t in turn]
def draw():
    drawLatents(axes, model)
    drawChosen(pictures, model)
    figure.canvas.draw()
def lasso():
    model.clear()
    model.lasso(line)
    draw()
def amounts():
    model.colorBy = "pc2"
    draw()
def report():
    drawn = scatter(model.places, {"a": columns["cluster"], "b": columns["pc1"]})
    FigureCanvasAgg(drawn).draw()
draw()
for work in (draw, lasso, amounts, report):
    started = time.process_time()
    work()
    print(work.__name__, time.process_time() - started)
"""


def plot(folder: Path, number: int) -> Iterator[tuple[str, ...]]:
    """Draw many latents, and draw them again after a lasso."""
    words = {
        "draw": "window of the latent space: draw",
        "lasso": "choose with the lasso and draw",
        "amounts": "colour by an amount and draw",
        "report": "figure of the report, two panels",
    }
    lines, _, memory = in_a_process(PLOT, number)
    for line in lines:
        name, seconds = line.split()
        yield f"{number:,} points, {words[name]}", f"{float(seconds):.2f} s", f"{memory:.2f} GB"


CASES = {
    "plot": (plot, 100_000),
    "star": (star, 1_000_000),
    "loader": (loader, 100_000),
    "predict": (predict, 512),
    "correct": (correct, 512),
}


def main() -> None:
    """Print the lines of a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--number", type=int, help="particles, points, or edge of the map")
    arguments = parser.parse_args()
    case, usual = CASES[arguments.case]
    with tempfile.TemporaryDirectory() as folder:
        for cells in case(Path(folder), arguments.number or usual):
            sys.stdout.write("| " + " | ".join(cells) + " |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
