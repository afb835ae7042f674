"""How well and how fast subtomograms are aligned and averaged, on data with known truth.

    python benchmarks/bench_selfalign.py align --maps FOLDER --structures 5T2C,5LQW --snr 0.1,0.01
    python benchmarks/bench_selfalign.py pairs --maps FOLDER --snr 0.1
    python benchmarks/bench_selfalign.py average --maps FOLDER --structures 5T2C --number 500
    python benchmarks/bench_selfalign.py classes --maps FOLDER --structures 5T2C,6A5L --number 50
    python benchmarks/bench_selfalign.py noise --maps FOLDER
    python benchmarks/bench_selfalign.py real --stacks STAR --maps FOLDER_OF_REFERENCE

A folder of maps has NAME.mrc, 32 px. Recipe: uniform rotations, shifts up to 4 px, white noise of a
power that gives the ratio within a sphere of 14 px before the wedge of +-60 degrees about y.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from cryodl.cli import main as cryodl
from cryodl.core.alignment.aligner import Aligner, Alignment
from cryodl.core.alignment.particle_volumes import ParticleVolumes
from cryodl.core.alignment.reference import MapReference, ParticleReference
from cryodl.core.alignment.rotation_grid import even_rotations
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.alignment.spectra import FourierPoints, observe, spectral_power, spectral_snr
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.fsc import fourier_shell_correlation, resolution_at
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    random_rotations,
    rotate_volume,
)
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.volumes.averaging import WedgeAverage
from cryodl.core.volumes.masks import soft_sphere
from cryodl.core.volumes.particle_average import AverageSettings

# Shifts up to 4 px along each axis reach 6.9 px from the centre.
PIXEL, RADIUS_PX, MAX_SHIFT_PX, BATCH = 13.0, 14, 6.0, 8
HEADER = ("map", "SNR", "kind", "median degrees", "within 10", "or of the pseudo two-fold",
          "median px")  # fmt: skip


@dataclass
class Data:
    """Particles with their truth."""

    volumes: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray
    wedge: np.ndarray


def load(folder: Path, name: str) -> np.ndarray:
    """Read one map."""
    return np.array(read_volume(folder / f"{name}.mrc", pixel_size_angstrom=PIXEL).data)


def make(reference: np.ndarray, number: int, snr: float, seed: int, shift: float = 4.0) -> Data:
    """Simulate particles by the recipe above; a ratio of 0 is noise alone."""
    n, rng = reference.shape[0], np.random.default_rng(seed)
    axis = np.arange(n) - n // 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < RADIUS_PX**2
    deviation = np.sqrt(reference[inside].var() / snr) if snr else 1.0
    wedge = missing_wedge(n, -60, 60)
    rotations = random_rotations(number, rng)
    shifts = rng.uniform(-shift, shift, (number, 3))
    volumes = []
    for rotation, move in zip(rotations, shifts):
        clean = rotate_volume(reference, rotation, translation_px=-move, order=3) * (snr > 0)
        volumes.append(apply_transfer(clean + deviation * rng.standard_normal(clean.shape), wedge))
    return Data(np.stack(volumes).astype(np.float32), rotations, shifts, wedge)


def interval(values: np.ndarray, statistic) -> str:
    """Return a statistic with its 95 % bootstrap interval."""
    rows = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(statistic(values[rows], axis=1), [2.5, 97.5])
    return f"{statistic(values, axis=0):.3g} ({low:.3g} to {high:.3g})"


def row(*cells: object) -> None:
    """Print one line of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def table_align(options: argparse.Namespace) -> None:
    """Particles against the map they were made of."""
    row(*HEADER, "CPU s a particle")
    for name in options.structures:
        reference = load(options.maps, name)
        fold = pseudo_fold(reference)
        points = FourierPoints(reference.shape[0], reference.shape[0] // 2 - 1)
        for snr in options.snr:
            data = make(reference, options.number, snr, options.seed)
            power = spectral_power(points, data.volumes, data.wedge)
            aligner = Aligner(
                MapReference(reference, points), SearchSettings(max_shift_px=MAX_SHIFT_PX)
            )
            for mode in options.modes:
                begun = time.process_time()
                parts = []
                for start in range(0, options.number, BATCH):
                    part = data.volumes[start : start + BATCH]
                    seen = observe(points, part, data.wedge, power=power)
                    parts.append(aligner.align(seen, mode))
                spent = (time.process_time() - begun) / options.number
                report(options, name, snr, mode, Alignment.joined(parts), data, spent, fold)


def report(options, name, snr, kind, found, data, spent, fold) -> None:
    """Print errors of one cell, and keep its poses where asked to."""
    angles = angular_distance_degrees(found.rotations, data.rotations)
    turned = angular_distance_degrees(found.rotations, data.rotations @ fold)
    turned = np.minimum(turned, angular_distance_degrees(found.rotations @ fold, data.rotations))
    either = np.minimum(angles, turned)
    moves = np.linalg.norm(found.shifts_px - data.shifts, axis=1)
    within = (interval((a <= 10).astype(float), np.mean) for a in (angles, either))
    row(name, snr, kind, interval(angles, np.median), *within, f"{np.median(moves):.2f}",
        f"{spent:.3f}")  # fmt: skip
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        path = options.keep / f"{name}_{snr}_{kind.replace(' ', '_')}_{options.seed}.npz"
        np.savez(path, angles=angles, either=either, **vars(found))


def pseudo_fold(reference: np.ndarray) -> np.ndarray:
    """Return the turn of more than 40 degrees in which a map looks like itself, else none."""
    n = reference.shape[0]
    points = FourierPoints(n, n // 2 - 1)
    settings = SearchSettings(max_shift_px=MAX_SHIFT_PX, coarse_shell=n // 2 - 4)
    aligner = Aligner(MapReference(reference, points), settings)
    seen = observe(points, reference[None])
    grid = even_rotations(2304)
    far = grid[angular_distance_degrees(grid, np.eye(3)) > 40]
    found = aligner.align(seen, "auto", rotations=far[None])
    same = aligner.scored(seen, torch.eye(3)[None, None], torch.zeros(1, 1, 3)).scores
    alike = found.score[0] > 0.7 * float(same)
    far_enough = angular_distance_degrees(found.rotations[0], np.eye(3)) > 30
    return found.rotations[0] if alike and far_enough else np.eye(3)


def table_pairs(options: argparse.Namespace) -> None:
    """Particles against other particles, both with noise and a wedge."""
    row(*HEADER, "CPU s a pair")
    for name in options.structures:
        reference = load(options.maps, name)
        points = FourierPoints(reference.shape[0], reference.shape[0] // 2 - 1)
        fold = pseudo_fold(reference)
        for snr in options.snr:
            first = make(reference, options.number, snr, options.seed)
            second = make(reference, options.number, snr, options.seed + 1, shift=0.0)
            truth = first.rotations @ np.swapaxes(second.rotations, 1, 2)
            both = np.concatenate([first.volumes, second.volumes])
            power = spectral_power(points, both, first.wedge)
            ratio = spectral_snr(points, both, first.wedge)
            data = Data(first.volumes, truth, first.shifts, first.wedge)
            settings = SearchSettings(max_shift_px=MAX_SHIFT_PX, is_thorough=True)
            for kind in ("both wedges, SNR", "one wedge, unweighted"):
                aware = kind.startswith("both")
                flat = power if aware else np.full_like(power, power.mean())
                begun, parts = time.process_time(), []
                for i in range(options.number):
                    template = ParticleReference(
                        second.volumes[i], first.wedge, points, ratio,
                        wedge_aware=aware, power=flat,
                    )  # fmt: skip
                    aligner = Aligner(template, settings, is_likelihood=aware)
                    seen = observe(points, first.volumes[i : i + 1], first.wedge, power=flat)
                    parts.append(aligner.align(seen, "exhaustive"))
                spent = (time.process_time() - begun) / options.number
                # The fold of the template's own frame differs from pair to pair.
                folds = second.rotations @ fold @ np.swapaxes(second.rotations, 1, 2)
                report(options, name, snr, kind, Alignment.joined(parts), data, spent, folds)


def write(data: Data, folder: Path) -> Path:
    """Write particles as files with a table that knows no poses."""
    folder.mkdir(parents=True)
    paths = [folder / f"{i:05d}.mrc" for i in range(len(data.volumes))]
    for path, volume in zip(paths, data.volumes):
        write_volume(path, volume, pixel_size_angstrom=PIXEL)
    n = data.volumes.shape[1]
    fresh = particles_from_subtomograms(paths, pixel_size_angstrom=PIXEL, box_size_px=n)
    write_particles(folder / "particles.star", fresh)
    return folder / "particles.star"


def refine(star: Path, output: Path, *words: str) -> dict:
    """Run the averaging loop and return what it found."""
    common = ["--tilt-min", "-60", "--tilt-max", "60", "--output", str(output)]
    status = cryodl(["selfalign", "refine", str(star), *common, *words])
    if status:
        raise SystemExit(status)
    return json.loads((output / "result.json").read_text())


def against_truth(average: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the FSC with the truth, once the average is turned onto it."""
    n = reference.shape[0]
    points = FourierPoints(n, n // 2 - 1)
    aligner = Aligner(MapReference(reference, points), SearchSettings(max_shift_px=6.0))
    found = aligner.align(observe(points, average[None]))
    # The average is at A x - s of the truth: bring the truth there.
    moved = rotate_volume(
        reference, found.rotations[0], translation_px=-found.shifts_px[0], order=3
    )
    mask = soft_sphere(n, 0.4 * n, 3)
    return fourier_shell_correlation(average * mask, moved * mask)


def table_average(options: argparse.Namespace) -> None:
    """Average from a low-passed map, or from nothing."""
    row("map", "SNR", "particles", "start", "seed", "FSC 0.143 (A)", "with truth 0.5 (A)",
        "the same, true poses (A)", "CPU s")  # fmt: skip
    for name in options.structures:
        reference = load(options.maps, name)
        n = reference.shape[0]
        for snr in options.snr:
            for seed in range(options.seed, options.seed + options.seeds):
                data = make(reference, options.number, snr, seed, shift=2.0)
                ideal = WedgeAverage(n)
                ideal.add(data.volumes, data.rotations, data.shifts, data.wedge)
                best = against_truth(ideal.result(floor=0.1), reference)
                with tempfile.TemporaryDirectory() as folder:
                    star = write(data, Path(folder) / "particles")
                    words = ["--iterations", str(options.iterations), "--seed", str(seed)]
                    if options.start == "map":
                        path = Path(folder) / "reference.mrc"
                        write_volume(path, reference, pixel_size_angstrom=PIXEL)
                        words += ["--reference", str(path)]
                        words += ["--initial-lowpass", str(options.lowpass)]
                    begun = time.process_time()
                    found = refine(star, Path(folder) / "run", *words)
                    spent = time.process_time() - begun
                    average = read_volume(Path(folder) / "run" / "average_unfiltered.mrc").data
                fsc = against_truth(np.array(average), reference)
                ends = [f"{resolution_at(curve, 0.5, n, PIXEL):.1f}" for curve in (fsc, best)]
                row(name, snr, options.number, options.start, seed,
                    f"{found['resolution']:.1f}", *ends, f"{spent:.0f}")  # fmt: skip


def table_classes(options: argparse.Namespace) -> None:
    """Particles of two structures, sorted by a reference for each, or from one for both."""
    row("structures", "SNR", "particles", "references", "seed", "in the right class", "CPU s")
    maps = [load(options.maps, name) for name in options.structures[:2]]
    for snr, seed in product(options.snr, range(options.seed, options.seed + options.seeds)):
        sets = [make(one, options.number, snr, seed + 7 * i, 2.0) for i, one in enumerate(maps)]
        both = Data(*(np.concatenate([getattr(s, k) for s in sets])
                      for k in ("volumes", "rotations", "shifts")), sets[0].wedge)  # fmt: skip
        kinds = np.repeat([1, 2], options.number)
        with tempfile.TemporaryDirectory() as folder:
            star = write(both, Path(folder) / "particles")
            paths = [Path(folder) / f"reference{i}.mrc" for i in (1, 2)]
            for path, one in zip(paths, maps):
                write_volume(path, one, pixel_size_angstrom=PIXEL)
            words = ["--reference", str(paths[0]), "--initial-lowpass", str(options.lowpass)]
            words += ["--iterations", str(options.iterations)]
            for kind, more in (("both", ["--other-references", str(paths[1])]),
                               ("the first", ["--classes", "2"])):  # fmt: skip
                begun = time.process_time()
                output = Path(folder) / kind.replace(" ", "_")
                refine(star, output, *words, *more)
                same = (read_particles(output / "particles.star").classes == kinds).mean()
                row(" and ".join(options.structures[:2]), snr, len(kinds), kind, seed,
                    f"{max(same, 1 - same):.2f}", f"{time.process_time() - begun:.0f}")  # fmt: skip


def table_noise(options: argparse.Namespace) -> None:
    """Noise alone, and particles of another structure, from a real map as start."""
    row("particles", "start", "low-pass (A)", "FSC 0.143 (A)", "with the start 0.5 (A)",
        "with the truth 0.5 (A)")  # fmt: skip
    first, second = (load(options.maps, name) for name in options.structures[:2])
    n = first.shape[0]
    for kind, truth, snr in (("noise alone", None, 0.0), ("another", second, options.snr[0])):
        data = make(first if truth is None else truth, options.number, snr, options.seed, 2.0)
        with tempfile.TemporaryDirectory() as folder:
            star = write(data, Path(folder) / "particles")
            path = Path(folder) / "reference.mrc"
            write_volume(path, first, pixel_size_angstrom=PIXEL)
            words = ["--reference", str(path), "--initial-lowpass", str(options.lowpass)]
            words += ["--iterations", str(options.iterations)]
            found = refine(star, Path(folder) / "run", *words)
            average = np.array(read_volume(Path(folder) / "run" / "average_unfiltered.mrc").data)
        with_start = resolution_at(against_truth(average, first), 0.5, n, PIXEL)
        with_truth = "-"
        if truth is not None:
            with_truth = f"{resolution_at(against_truth(average, truth), 0.5, n, PIXEL):.1f}"
        name = kind if truth is None else options.structures[1]
        row(name, options.structures[0], options.lowpass, f"{found['resolution']:.1f}",
            f"{with_start:.1f}", with_truth)  # fmt: skip


def table_real(options: argparse.Namespace) -> None:
    """Stacks of tilt images with deposited poses, which are thrown away."""
    particles = read_particles(options.stacks)
    n, pixel = particles.box_size_px, float(particles.pixel_size_angstrom[0])
    reference = np.array(read_volume(options.reference, pixel_size_angstrom=pixel).data)
    source = ParticleVolumes(particles, AverageSettings(transfer="ctf"))
    volumes, weights = source.read(np.arange(len(particles)))
    points = FourierPoints(n, n // 2 - 1)
    power = spectral_power(points, volumes, weights, premultiplied=True) / source.noise_share
    seen = observe(points, volumes, weights, premultiplied=True, power=power)
    mask = soft_sphere(n, 0.4 * n, 4)
    row("reference", "mode", "median degrees to the deposited", "within 10", "within 20",
        "median px", "score as deposited", "as found", "FSC of both averages")  # fmt: skip
    true_shifts = particles.shifts_angstrom / pixel

    def average(rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        total = WedgeAverage(n, weighting="premultiplied")
        total.add(volumes, rotations, shifts, weights)
        return total.result(floor=0.1) * mask

    # About the centre voxel: the first plane of an even box has no partner.
    mirrored = np.roll(reference[::-1], 1 - n % 2, axis=0)
    for name, mode in product(("as it is", "mirrored along z"), options.modes):
        density = reference if name == "as it is" else mirrored
        aligner = Aligner(MapReference(density, points, mask), SearchSettings(max_shift_px=3.0))
        deposited = aligner.scored(
            seen,
            torch.as_tensor(particles.rotations[:, None]).float(),
            torch.as_tensor(true_shifts[:, None]).float(),
        ).scores
        found = aligner.align(seen, mode)
        angles = angular_distance_degrees(found.rotations, particles.rotations)
        moves = np.linalg.norm(found.shifts_px - true_shifts, axis=1)
        curve = fourier_shell_correlation(
            average(found.rotations, found.shifts_px), average(particles.rotations, true_shifts)
        )
        row(name, mode, interval(angles, np.median), f"{(angles <= 10).mean():.2f}",
            f"{(angles <= 20).mean():.2f}", f"{np.median(moves):.2f}",
            f"{float(deposited.mean()):.2f}", f"{found.score.mean():.2f}",
            f"0.5 at {resolution_at(curve, 0.5, n, pixel):.1f} A")  # fmt: skip


def main() -> None:
    """Read the words and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["align", "pairs", "average", "classes", "noise", "real"])
    parser.add_argument("--maps", type=Path, default=Path())
    parser.add_argument("--structures", type=lambda t: t.split(","), default=["5T2C"])
    parser.add_argument("--snr", type=lambda t: [float(v) for v in t.split(",")], default=[0.1])
    parser.add_argument("--modes", type=lambda t: t.split(","), default=["exhaustive", "auto"])
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="folder that gets the poses of each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--lowpass", type=float, default=60.0)
    parser.add_argument("--start", choices=["map", "nothing"], default="map")
    parser.add_argument("--stacks", type=Path)
    parser.add_argument("--reference", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {
        "align": table_align,
        "pairs": table_pairs,
        "average": table_average,
        "classes": table_classes,
        "noise": table_noise,
        "real": table_real,
    }
    tables[options.table](options)


if __name__ == "__main__":
    main()
