"""Autoencoder3D against plain baselines.

    python benchmarks/bench_autoencoder3d.py clusters --snr 0.3 0.1 --seeds 0 1 2
    python benchmarks/bench_autoencoder3d.py unbalanced --snr 0.3
    python benchmarks/bench_autoencoder3d.py enantiomers

Particles: maps of unit deviation, any orientation, shifts up to 2 voxels of a box of 32,
white noise of variance 1 / SNR, both seen through a wedge, then mean 0 and deviation 1 a box. All
methods get the same boxes; those of the column `pose` are in the same normalised poses.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
from scipy import ndimage

from cryodl.cli import run_command
from cryodl.core.clustering.kmeans import kmeans
from cryodl.core.evaluation.partitions import adjusted_rand_index, recall_of_classes
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.simulation.structures import load_structure
from cryodl.core.volumes.boxes import fourier_resample
from cryodl.methods.autoencoder3d.data import standardised
from cryodl.methods.autoencoder3d.features import principal_components
from cryodl.methods.autoencoder3d.invariants import invariant_features
from cryodl.methods.autoencoder3d.pose_normalization import (
    Pose,
    PoseSettings,
    apply_pose,
    normalise_pose,
)

STRUCTURES = ("groel_groes", "proteasome_20s", "rubisco", "p97")
PIXEL_ANGSTROM, TILT = 8.0, 60.0


def maps(names: list[str], box_px: int) -> list[np.ndarray]:
    """Return maps of mean 0 and deviation 1 in boxes of this size."""
    found = []
    for name in names:
        if Path(name).is_file():
            volume = np.asarray(mrcfile.read(name), dtype=np.float32)
        else:
            volume = load_structure(name, 32, PIXEL_ANGSTROM)[0]
        volume = fourier_resample(volume, box_px)
        found.append(((volume - volume.mean()) / volume.std()).astype(np.float32))
    return found


def particles(volumes, counts, snr, seed):
    """Return boxes (N, n, n, n) and true classes, in a random order."""
    rng = np.random.default_rng(seed)
    n = volumes[0].shape[0]
    truth = rng.permutation(np.repeat(np.arange(len(volumes)), counts))
    wedge = missing_wedge(n, -TILT, TILT)
    boxes = np.empty((len(truth), n, n, n), dtype=np.float32)
    for i, rotation in enumerate(random_rotations(len(truth), rng)):
        place = n // 2 + rng.uniform(-2, 2, 3) * n / 32
        matrix = rotation.T[::-1, ::-1]
        clean = ndimage.affine_transform(
            volumes[truth[i]], matrix, np.full(3, n // 2) - matrix @ place
        )
        boxes[i] = apply_transfer(clean + rng.normal(0, snr**-0.5, clean.shape), wedge)
    return boxes, truth


def write_set(folder: Path, boxes: np.ndarray) -> Path:
    """Write boxes and their STAR file."""
    n = boxes.shape[-1]
    paths = [folder / f"p{i:05d}.mrc" for i in range(len(boxes))]
    for path, box in zip(paths, boxes, strict=True):
        with mrcfile.new(path, data=box.astype(np.float32)) as stored:
            stored.voxel_size = PIXEL_ANGSTROM * 32 / n
    made = make_particles(
        image_paths=paths,
        image_kind="volume",
        pixel_size_angstrom=PIXEL_ANGSTROM * 32 / n,
        box_size_px=n,
    )
    write_particles(folder / "particles.star", made)
    return folder / "particles.star"


def baselines(boxes: np.ndarray, poses: list[Pose] | None) -> dict[str, np.ndarray]:
    """Return the features of the plain methods, of boxes as they are or in their poses."""
    used = np.stack([standardised(box) for box in boxes])
    if poses is not None:
        used = np.stack([apply_pose(v, p) for v, p in zip(used, poses, strict=True)])
    flat = used.reshape(len(used), -1)
    amplitudes = np.log1p(np.abs(np.fft.rfftn(used, axes=(1, 2, 3)))).reshape(len(used), -1)
    power = invariant_features(used, signed_mean=False)
    return {
        "voxels": flat,
        "pca": principal_components(flat),
        "amplitudes": principal_components(amplitudes),
        "harmonics": principal_components(power),
    }


def quietly(*words: object) -> None:
    """Run a command of cryodl without its log."""
    with contextlib.redirect_stdout(io.StringIO()):
        run_command([str(word) for word in words])


def clustered(star: Path, folder: Path, options) -> tuple[np.ndarray, dict]:
    """Train and cluster; return labels in the order of the particles, and the results."""
    trained, grouped = folder / "train", folder / "cluster"
    train = ["--pose", options.pose, "--preset", options.preset, "--seed", options.seed]
    if options.epochs:
        train += ["--epochs", options.epochs]
    tilts = ["--tilt-min", -TILT, "--tilt-max", TILT, "--devices", "cpu"]
    quietly("autoencoder3d", "train", star, *train, *tilts, "--output", trained)
    count = ["--clusters", options.clusters] if options.clusters else ["--sweep", options.sweep]
    more = ["--features", options.features, "--align-rounds", options.align_rounds]
    quietly("autoencoder3d", "cluster", trained, *count, *more, "--output", grouped)
    result = json.loads((grouped / "result.json").read_text())
    with np.load(grouped / result["groups"]) as stored:
        return stored["labels"], result


def compare(options) -> None:
    """Print the adjusted Rand index of every method, for each ratio and seed."""
    volumes = maps(options.maps, options.box)
    print("snr seed pose | voxels pca amplitudes harmonics | autoencoder3d (features, seconds)")
    for snr in options.snr:
        rows: dict[str, list[list[float]]] = {}
        for seed in options.seeds:
            boxes, truth = particles(volumes, [options.number] * len(volumes), snr, seed)
            for pose in options.poses:
                settings = PoseSettings(pose)
                poses = None
                if pose != "none":
                    poses = [normalise_pose(standardised(box), settings) for box in boxes]
                plain = [
                    adjusted_rand_index(truth, kmeans(f, len(volumes), seed=seed).labels)
                    for f in baselines(boxes, poses).values()
                ]
                options.pose, options.seed, options.clusters = pose, seed, len(volumes)
                with tempfile.TemporaryDirectory() as name:
                    begun = time.process_time()
                    labels, result = clustered(write_set(Path(name), boxes), Path(name), options)
                    spent = time.process_time() - begun
                ours = adjusted_rand_index(truth, labels)
                rows.setdefault(pose, []).append([*plain, ours])
                shown = " ".join(f"{value:.3f}" for value in plain)
                print(
                    f"{snr:g} {seed} {pose} | {shown} | {ours:.3f} ({result['features']}, "
                    f"{'sorted, ' if result['aligned'] else ''}{spent:.0f} s)",
                    flush=True,
                )
        for pose, values in rows.items():
            mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
            text = " ".join(f"{m:.3f}±{s:.3f}" for m, s in zip(mean, spread, strict=True))
            print(f"MEAN {snr:g} {pose} | {text}", flush=True)


def unbalanced(options) -> None:
    """Print the number of groups found and the recall of the rarest class."""
    volumes = maps(options.maps, options.box)
    for snr in options.snr:
        for seed in options.seeds:
            boxes, truth = particles(volumes, [100, 50, 25, 12][: len(volumes)], snr, seed)
            options.pose, options.seed, options.clusters = options.poses[0], seed, None
            with tempfile.TemporaryDirectory() as name:
                labels, result = clustered(write_set(Path(name), boxes), Path(name), options)
            recall = recall_of_classes(truth, labels)[len(volumes) - 1]
            print(
                f"snr {snr:g} seed {seed}: {result['clusters']} groups by {result['features']}, "
                f"ARI {adjusted_rand_index(truth, labels):.3f}, recall of the rarest {recall:.2f}",
                flush=True,
            )


def enantiomers(options) -> None:
    """Print how well a lop-sided object and its mirror image are told apart at SNR 10."""
    rng = np.random.default_rng(7)
    density = np.zeros((options.box,) * 3, dtype=np.float32)
    for place in rng.uniform(-0.25, 0.25, (9, 3)) * options.box + options.box // 2:
        density[tuple(np.round(place).astype(int))] += rng.uniform(0.5, 1.5)
    density = ndimage.gaussian_filter(density, options.box / 16)
    density = (density - density.mean()) / density.std()
    pair = [density, density[:, :, ::-1].copy()]
    for seed in options.seeds:
        boxes, truth = particles(pair, [options.number] * 2, 10.0, seed)
        options.pose, options.seed, options.clusters = "full", seed, 2
        with tempfile.TemporaryDirectory() as name:
            labels, result = clustered(write_set(Path(name), boxes), Path(name), options)
        print(
            f"seed {seed}: ARI {adjusted_rand_index(truth, labels):.3f} by {result['features']}",
            flush=True,
        )


def main() -> int:
    """Run one study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    studies = {"clusters": compare, "unbalanced": unbalanced, "enantiomers": enantiomers}
    parser.add_argument("study", choices=list(studies))
    parser.add_argument("--maps", nargs="+", default=list(STRUCTURES))
    parser.add_argument("--snr", nargs="+", type=float, default=[0.3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--poses", nargs="+", default=["none", "full"])
    parser.add_argument("--number", type=int, default=100, help="of each class")
    parser.add_argument("--box", type=int, default=16)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--features", default="auto")
    parser.add_argument("--sweep", default="2:8")
    parser.add_argument("--align-rounds", type=int, default=8)
    options = parser.parse_args()
    studies[options.study](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
