"""Time, memory and accuracy of what the tomography methods share, on one core.

    python benchmarks/bench_particles.py
    python benchmarks/bench_particles.py --data FOLDER    # and the average of 40 real ribosomes

Times are CPU seconds. FOLDER holds the test set of WarpTools: ``*_optimisation_set.star`` and
``reconstruct_ref.mrc``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cryodl.core.fourier.ctf import ctf_volume
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.fourier.masked_fsc import masked_fsc
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.mrc_header import build_header
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.volumes.averaging import WedgeAverage
from cryodl.core.volumes.extraction import extract_boxes
from cryodl.core.volumes.masks import soft_sphere
from cryodl.core.volumes.particle_average import average_particles

# Of the whole process; pages of a mapped file do not count.
LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 31)); "
    "from cryodl.cli import main; sys.exit(main(sys.argv[1:]))"
)
ROWS, BOX, COUNT, PIXEL = 200_000, 64, 32, 5.0


def seconds(work: Callable[..., Any], *given: Any, **named: Any) -> float:
    """Return CPU seconds of a call."""
    started = time.process_time()
    work(*given, **named)
    return time.process_time() - started


def tables(folder: Path) -> Iterator[tuple[str, str]]:
    """Read and write a large STAR file."""
    random = np.random.default_rng(0)
    particles = particles_from_subtomograms(
        [folder / f"TS_{i % 100:02d}" / f"{i}.mrc" for i in range(ROWS)],
        pixel_size_angstrom=PIXEL,
        box_size_px=BOX,
        names=[f"TS_{i % 100:02d}/{i}" for i in range(ROWS)],
        tomograms=[f"TS_{i % 100:02d}" for i in range(ROWS)],
        coordinates_px=random.uniform(0, 900, (ROWS, 3)),
        rotations=random_rotations(ROWS, random),
    )
    star = folder / "many.star"
    for dialect in ("relion31", "relion5"):
        took = seconds(write_particles, star, particles, dialect=dialect)
        yield f"write {ROWS:,} subtomograms, {dialect}", f"{took:.1f} s"
        took = seconds(read_particles, star, require_images=False)
        yield "read them, without looking at the images", f"{took:.1f} s"


def boxes() -> Iterator[tuple[str, str]]:
    """Cut boxes from a tomogram in memory, and compare one with what it should be."""
    tomogram = np.random.default_rng(1).normal(size=(200, 300, 300)).astype(np.float32)
    points = np.random.default_rng(2).uniform(90, 110, (COUNT, 3))
    for binning in (1.0, 1.5, 2.0):
        work = extract_boxes(tomogram, points, BOX, binning=binning, normalise="none")
        took = seconds(list, work) / COUNT
        yield f"extract a box of {BOX}, binning {binning:g}", f"{1e3 * took:.0f} ms"
    centre, sigma = np.array([44.37, 40.61, 35.82]), 1.6
    z, y, x = np.indices((70, 80, 90))
    squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    blob = np.exp(-squares / (2 * sigma**2)).astype(np.float32)
    (found,) = extract_boxes(blob, [centre], 24, normalise="none")
    z, y, x = np.indices((24, 24, 24)) - 12
    expected = np.exp(-(x**2 + y**2 + z**2) / (2 * sigma**2))
    error = abs(found.data - expected).max()
    yield "largest error of a Gaussian of 1.6 px, height 1, between voxels", f"{error:.1e}"


def huge(folder: Path) -> Iterator[tuple[str, str]]:
    """Extract from a sparse tomogram of 8 GB with 2 GB of memory."""
    header = build_header((512, 2048, 2048), 7.5, (0, 0, 0, 0), (0, 0, 0), (0, 0, 0), ())
    with (folder / "huge.mrc").open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + 4 * 512 * 2048 * 2048)
        stream.seek(len(header) + 4 * (256 * 2048 + 900) * 2048)
        stream.write(np.random.default_rng(3).normal(size=(300, 2048)).astype("<f4").tobytes())
    places = np.random.default_rng(4).uniform((200, 1000, 256), (1800, 1100, 257), (100, 3))
    np.savetxt(folder / "huge.txt", places, fmt="%.2f")
    words = ["particles", "extract", "--tomograms", str(folder / "huge.mrc"), "--normalise"]
    words += ["none", "--coordinates", str(folder / "huge.txt"), "--box-size-px", str(BOX)]
    words += ["--ncpus", "1", "--output", str(folder / "run")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    subprocess.run(
        [sys.executable, "-c", LIMITED, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **threads},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = after.ru_maxrss / 1e6
    yield (
        f"cryodl particles extract, tomogram of 8.6 GB, limit of 2 GiB, 100 boxes of {BOX}",
        f"{took:.1f} s, {memory:.2f} GB",
    )


def weights() -> Iterator[tuple[str, str]]:
    """Make wedges and CTF volumes, average particles, correlate halves."""
    angles = np.arange(-60.0, 60.1, 3.0)
    zero = np.zeros_like(angles)
    tilts = TiltSeries(
        *("TS_01", angles, 90.0, 3.0 * np.arange(len(angles)), zero + 3e4, zero + 3e4, zero, zero),
        *(300.0, 2.7, 0.07, PIXEL),
    )
    for n in (BOX, BOX + 1):
        took = seconds(missing_wedge, n, -60, 60)
        yield f"missing wedge, box {n}", f"{1e3 * took:.0f} ms"
        took = seconds(ctf_volume, n, PIXEL, tilts)
        yield f"CTF volume of 41 tilts, box {n}", f"{1e3 * took:.0f} ms"
    for n in (32, BOX):
        random = np.random.default_rng(5)
        volumes = random.normal(size=(COUNT, n, n, n)).astype(np.float32)
        poses, wedge = random_rotations(COUNT, random), missing_wedge(n, -60, 60)
        average = WedgeAverage(n)
        average.add(volumes[:1], poses[:1], np.zeros((1, 3)), wedge)
        took = seconds(average.add, volumes, poses, np.zeros((COUNT, 3)), wedge) / COUNT
        yield f"average a particle of {n} with its wedge", f"{1e3 * took:.0f} ms"
    halves = np.random.default_rng(6).normal(size=(2, BOX, BOX, BOX)).astype(np.float32)
    mask = soft_sphere(BOX, BOX / 4, 5)
    took = seconds(masked_fsc, halves[0], halves[1], mask, PIXEL)
    yield f"FSC with correction for the mask, box {BOX}", f"{took:.2f} s"


def ribosomes(folder: Path) -> Iterator[tuple[str, str]]:
    """Average the real particles and compare them with their reference and its mirror image."""
    (star,) = folder.glob("*_optimisation_set.star")
    particles = read_particles(star)
    found = average_particles(particles)
    reference = np.asarray(read_volume(folder / "reconstruct_ref.mrc").data)
    mirrored = np.roll(reference[::-1], 1, axis=0)
    for name, first, second in (
        ("to the mirrored reference", found.average, mirrored),
        ("to the reference itself", found.average, reference),
        ("between the halves", found.half1, found.half2),
    ):
        fsc = fourier_shell_correlation(first, second)[1:8]
        what = f"FSC {name}, {len(particles)} ribosomes, shells 1 to 7"
        yield what, " ".join(f"{value:.2f}" for value in fsc)


def main() -> None:
    """Print one row for each thing measured."""
    parser = argparse.ArgumentParser(description="Time what the tomography methods share.")
    parser.add_argument("--data", type=Path, help="folder of the real ribosomes")
    options = parser.parse_args()
    print("| what | measured |")
    print("| --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        parts = [tables(Path(folder)), boxes(), huge(Path(folder)), weights()]
        if options.data:
            parts.append(ribosomes(options.data))
        for part in parts:
            for what, value in part:
                print(f"| {what} | {value} |", flush=True)


if __name__ == "__main__":
    main()
