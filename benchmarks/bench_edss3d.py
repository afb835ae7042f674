"""EDSS3D: the segmentation from one tomogram to another, and of a large one.

    python benchmarks/bench_edss3d.py segment --seeds 0 1 --keep runs
    python benchmarks/bench_edss3d.py large --model runs/0/network

Two structures in a dark tomogram of 10 A with tilts to 60 degrees; groups are named by an oracle.
Tested on another of 12 A, bright, tilts to 50 degrees, other gain and offset. Beside it the best
threshold of the density, of all Gaussians and levels: as it is, and with the class of every voxel
told.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from cryodl.cli import run_command
from cryodl.core.evaluation.matching import score_points
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.coordinates import read_coordinates, write_coordinates
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.scene import SceneSettings
from cryodl.core.simulation.tilt_series import Optics, TiltScheme
from cryodl.core.simulation.tomogram import TomogramSettings, simulate_tomogram

STRUCTURES = ("groel_groes", "proteasome_20s")


def quietly(*words: object) -> None:
    """Run a command of cryodl without its log."""
    with contextlib.redirect_stdout(io.StringIO()):
        run_command([str(word) for word in words])


def tomogram_settings(training: bool, options) -> TomogramSettings:
    """Return settings of the tomogram to learn from, or of the other one."""
    depth, edge = options.tomogram
    return TomogramSettings(
        structures=tuple(options.maps),
        shape_zyx=(depth, edge, edge),
        pixel_size_angstrom=10.0 if training else 12.0,
        scene=SceneSettings(number=options.number, spacing=1.1),
        scheme=TiltScheme() if training else TiltScheme(-50.0, 50.0, 2.0),
        optics=Optics(defocus_angstrom=None),
        noise=NoiseSettings(snr=options.snr),
        contrast="dark" if training else "bright",
        intensity_scale=1.0 if training else 7.0,
        intensity_offset=0.0 if training else 120.0,
        equalise=True,
    )


def segment(options) -> None:
    """Learn from one tomogram by an oracle's selection; print overlap and F1 on another."""
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if options.keep:
                folder = options.keep / str(seed)
                folder.mkdir(parents=True, exist_ok=True)
            _segment_once(folder, seed, options)


def _segment_once(folder: Path, seed: int, options) -> None:
    first = simulate_tomogram(tomogram_settings(True, options), seed)
    second = simulate_tomogram(tomogram_settings(False, options), seed + 100)
    write_volume(folder / "a.mrc", first.volume, pixel_size_angstrom=10.0)
    write_volume(folder / "b.mrc", second.volume, pixel_size_angstrom=12.0)
    write_coordinates(folder / "a.txt", first.coordinates_px)
    common = ["--devices", "cpu", "--seed", seed]
    begun = time.process_time()
    quietly(
        *("autoencoder3d", "train", folder / "a.mrc", "--coordinates", folder / "a.txt", *common),
        *("--box-size-px", 24, "--preset", options.preset, "--output", folder / "train"),
        *("--tilt-min", -60, "--tilt-max", 60, "--border", "fill"),
    )
    quietly(
        *("autoencoder3d", "cluster", folder / "train", "--clusters", 2, *common),
        *("--output", folder / "cluster"),
    )
    lists = json.loads((folder / "cluster" / "clus-center" / "kmeans.json").read_text())
    classes: dict[str, list[int]] = {}
    for group, names in lists.items():
        members = [int(first.classes[int(name.rsplit("_", 1)[1]) - 1]) for name in names]
        classes.setdefault(str(np.bincount(members).argmax()), []).append(int(group))
    (folder / "classes.json").write_text(json.dumps(classes))
    quietly(
        *("autoencoder3d", "select", folder / "cluster", "--classes", folder / "classes.json"),
        *("--output", folder / "select"),
    )
    more = ["--epochs", options.epochs] if options.epochs else []
    quietly(
        *("autoencoder3d", "segment-train", folder / "select", "--preset", options.preset, *common),
        *("--output", folder / "network", *more),
    )
    trained = time.process_time() - begun
    begun = time.process_time()
    quietly(
        *("autoencoder3d", "segment", folder / "b.mrc", "--model", folder / "network"),
        *("--contrast", "bright", "--devices", "cpu", "--output", folder / "found"),
    )
    spent = time.process_time() - begun
    report = _compared(folder / "found", second)
    print(f"seed {seed}: {report}; train {trained:.0f} s, segment {spent:.0f} s", flush=True)


def _compared(found: Path, truth) -> str:
    """Return overlap and F1 of each class, and overlaps of the best thresholds of the density."""
    labels = read_volume(found / "b_labels.mrc", require_variance=False).data
    plain, known = _best_thresholds(truth)
    picks = read_coordinates(found / "coordinates.star")
    kinds = np.loadtxt(found / "b_coords.txt", ndmin=2)[:, 4]
    texts = []
    for kind in np.unique(truth.classes):
        mine = truth.labels == kind
        places = truth.coordinates_px[truth.classes == kind]
        score = score_points(picks.xyz_px[kinds == kind], places, 4.0)
        texts.append(
            f"class {kind}: IoU {overlap(mine, labels == kind):.3f} (volume "
            f"{(labels == kind).sum() / mine.sum():.2f}; threshold {plain[kind]:.3f}, of known "
            f"class {known[kind]:.3f}), F1 {score.f1:.3f}"
        )
    matter = np.isin(truth.labels, truth.classes)
    texts.append(f"all: IoU {overlap(matter, labels > 0):.3f} (threshold {known[0]:.3f})")
    return "; ".join(texts)


def overlap(truth: np.ndarray, found: np.ndarray) -> float:
    """Return intersection over union."""
    return float((truth & found).sum() / max(1, (truth | found).sum()))


def _best_thresholds(truth) -> tuple[dict[int, float], dict[int, float]]:
    """Return the best overlap of any Gaussian and any threshold with each class.

    First as it is; then with the class of every voxel told, as that of the nearest true particle
    (0: all classes together).
    """
    kinds = np.unique(truth.classes)
    points = np.argwhere(np.ones(truth.labels.shape, dtype=bool))
    nearest = cKDTree(truth.coordinates_px[:, ::-1]).query(points)[1]
    told = truth.classes[nearest].reshape(truth.labels.shape)
    plain = {int(kind): 0.0 for kind in kinds}
    known = {int(kind): 0.0 for kind in (0, *kinds)}
    matter = np.isin(truth.labels, kinds)
    for sigma in (1.0, 1.5, 2.0, 3.0):
        smooth = ndimage.gaussian_filter(truth.volume, sigma)
        for level in np.quantile(smooth, np.linspace(0.6, 0.995, 40)):
            cut = smooth > level
            known[0] = max(known[0], overlap(matter, cut))
            for kind in kinds:
                mine = truth.labels == kind
                plain[kind] = max(plain[kind], overlap(mine, cut))
                known[kind] = max(known[kind], overlap(mine, cut & (told == kind)))
    return plain, known


def large(options) -> None:
    """Print time and memory of segmenting a large tomogram with a network of --model."""
    if options.model is None:
        raise SystemExit("--model: found none, expected a folder of segment-train; see --keep")
    small = simulate_tomogram(tomogram_settings(True, options), options.seeds[0]).volume
    room = [(0, max(0, options.edge - size)) for size in small.shape]
    volume = np.pad(small, room, "symmetric")[(slice(options.edge),) * 3]
    for pixel in options.pixel_sizes:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "large.mrc"
            write_volume(path, volume, pixel_size_angstrom=pixel)
            words = ["autoencoder3d", "segment", path, "--model", options.model]
            words += ["--devices", "cpu", "--output", Path(name) / "found"]
            command = [sys.executable, "-m", "cryodl", *map(str, words)]
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            spent, used = time.time() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            counts = json.loads((Path(name) / "found" / "result.json").read_text())["counts"]
            cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{volume.shape} of {pixel:g} A: {cpu:.0f} CPU s, {spent:.0f} s, at most "
                f"{used.ru_maxrss / 2**20:.2f} GB, {sum(counts.values())} things",
                flush=True,
            )


def main() -> int:
    """Run one study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    studies = {"segment": segment, "large": large}
    parser.add_argument("study", choices=list(studies))
    parser.add_argument("--maps", nargs=2, default=list(STRUCTURES))
    parser.add_argument("--snr", type=float, default=0.5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--number", type=int, default=60, help="of all particles")
    parser.add_argument("--tomogram", nargs=2, type=int, default=[48, 160], help="depth, edge")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--keep", type=Path, help="folder for what segment makes")
    parser.add_argument("--model", type=Path, help="network for large")
    parser.add_argument("--edge", type=int, default=400)
    parser.add_argument("--pixel-sizes", nargs="+", type=float, default=[10.0, 15.0])
    options = parser.parse_args()
    studies[options.study](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
