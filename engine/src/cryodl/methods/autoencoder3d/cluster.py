"""The work of ``cryodl autoencoder3d cluster``."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.clustering.kmeans import kmeans
from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.io.atomic import atomic_path, write_json
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.methods.autoencoder3d.averages import (
    Poses,
    average_boxes,
    in_boxes,
    upright,
    working_boxes,
)
from cryodl.methods.autoencoder3d.cluster_report import report_clusters
from cryodl.methods.autoencoder3d.config import ClusterConfig
from cryodl.methods.autoencoder3d.extent import particle_edge_px
from cryodl.methods.autoencoder3d.features import (
    Points,
    Trial,
    best_features,
    best_number,
    check_count,
    feature_sets,
    try_out,
)
from cryodl.methods.autoencoder3d.figures import write_figures
from cryodl.methods.autoencoder3d.mixture_groups import (
    MORE_GROUPS,
    WORKING_BOX_PX,
    Particles,
    Refined,
    refine_groups,
)
from cryodl.methods.autoencoder3d.model import load_autoencoder
from cryodl.methods.autoencoder3d.trained import Trained, read_trained

GROUPS, LISTS, STAR = "groups.npz", "clus-center/kmeans.json", "clusters.star"
_MOST_ALIGNED = 12
_FEWEST_ALIGNED = 8  # particles of a group, on average


@dataclass(frozen=True)
class Clusters:
    """The groups of a training, one row a particle.

    Attributes
    ----------
    labels : (N,) int64
        From 0, by falling size.
    distances : (N,) float64
        To the centre of the group, in the features.
    rotations, centres_px : (N, 3, 3) and (N, 3)
        Pose in the frame of the box, in voxels of the network's box; aligned within the group
        where `aligned`.
    refined : Refined or None
        Where groups and poses were found by likelihood.
    """

    labels: NDArray[np.int64]
    distances: NDArray[np.float64]
    rotations: NDArray[np.float64]
    centres_px: NDArray[np.float64]
    refined: Refined | None = None


def run_cluster(config: ClusterConfig, run: RunFolder) -> None:
    """Group particles and write lists, averages, decoded centres and figures.

    Raises
    ------
    InputError
        Not a finished training, or more groups than particles.
    """
    trained = read_trained(config.run)
    sets = feature_sets(trained, config.features)
    run.progress(0.1, "features")
    trials, points, chosen = _choose(config, run, trained, sets)
    clusters = _grouped(config, run, trained, points, chosen)
    averages, centres = _pictures(run, trained, clusters)
    _write(run, trained, clusters, averages, centres)
    run.add_value("clusters", int(clusters.labels.max()) + 1)
    run.add_value("features", chosen.features)
    run.add_value("stability", chosen.stability)
    run.add_value("silhouette", chosen.silhouette)
    run.add_value("aligned", clusters.refined is not None)
    run.add_value("trials", [asdict(trial) for trial in trials])
    sizes = np.bincount(clusters.labels)
    run.add_value("sizes", sizes.tolist())
    names = write_figures(run, averages, sizes.tolist(), stretch="common")
    run.add_value("figures", names)
    report_clusters(run, trials, chosen, averages, centres, sizes.tolist(), clusters.refined)


def _choose(
    config: ClusterConfig, run: RunFolder, trained: Trained, sets: dict[str, Points]
) -> tuple[list[Trial], Points, Trial]:
    """Return all trials, and features and trial of the one chosen."""
    first, last = (int(word) for word in config.sweep.split(":"))
    if config.clusters is not None:
        first = last = config.clusters
        check_count(first, len(trained.names), config.run)
    last = max(first, min(last, len(trained.names) // 4)) if config.clusters is None else last
    check_count(first, len(trained.names), config.run)
    trials: list[Trial] = []
    rounds = (last - first + 1) * len(sets)
    for name, points in sets.items():
        for count in range(first, last + 1):
            trial, _ = try_out(
                name,
                points,
                count,
                seed=config.seed,
                seeds=config.stability_seeds,
                starts=config.starts if first == last else min(config.starts, 5),
            )
            trials.append(trial)
            run.log(
                f"{name}, {count} groups: stability {trial.stability:.3f}, silhouette "
                f"{trial.silhouette:.3f}"
            )
            run.progress(0.1 + 0.4 * len(trials) / rounds, "comparing groupings")
    bests = {
        name: best_number([trial for trial in trials if trial.features == name]) for name in sets
    }
    finals = [t for t in trials if t.clusters == bests[t.features]]
    chosen = best_features(finals)
    run.log(f"taken: {chosen.clusters} groups by {chosen.features}")
    return trials, sets[chosen.features], chosen


def _grouped(
    config: ClusterConfig, run: RunFolder, trained: Trained, points: Points, chosen: Trial
) -> Clusters:
    _, found = try_out(
        chosen.features, points, chosen.clusters, seed=config.seed, seeds=2, starts=config.starts
    )
    start = Clusters(found.labels, found.distances, trained.rotations, trained.centres_px)
    enough = len(found.labels) >= _FEWEST_ALIGNED * chosen.clusters
    if not config.align_rounds or chosen.clusters > _MOST_ALIGNED or not enough:
        return start
    run.progress(0.5, "sorting by likelihood")
    edge = particle_edge_px(trained.boxes)
    working = min(edge, WORKING_BOX_PX)
    scale = edge / working
    run.log(f"sorting: particles fill {edge} of {trained.boxes.shape[-1]} voxels")
    working_volumes = working_boxes(trained.boxes, working, trained.cut, edge)
    more = min(chosen.clusters + MORE_GROUPS, max(2, len(found.labels) // _FEWEST_ALIGNED))
    many = kmeans(points, more, seed=config.seed, starts=config.starts).labels
    refined = refine_groups(
        Particles(working_volumes, *_seen(trained, working)),
        found.labels,
        many if more > chosen.clusters else found.labels,
        config.clusters,
        rounds=config.align_rounds,
        rotations=config.rotations,
        seed=config.seed,
    )
    agreement = adjusted_rand_index(found.labels, refined.labels)
    groups = int(refined.labels.max()) + 1
    run.add_value("agreement_with_features", agreement)
    run.log(
        f"sorted by likelihood: {groups} groups, agreement {agreement:.3f} with those of the "
        f"features, mean probability of the own group {refined.chances.mean():.2f}"
    )
    if not refined.better:
        run.log("sorting explains the particles less well than the features, whose groups stay")
    poses = in_boxes(Poses(refined.rotations, refined.centres_px * scale), trained.cut)
    return Clusters(refined.labels, found.distances, *_upright(trained, poses, refined), refined)


def _seen(trained: Trained, n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what was measured of a box of n: weights of each kind of recording, and kinds."""
    if trained.recordings.known:
        return trained.recordings.wedges(n), trained.recordings.kinds
    return np.ones((1, n, n, n), dtype=np.float32), np.zeros(len(trained.names), dtype=np.int64)


def _upright(trained: Trained, poses: Poses, refined: Refined) -> Poses:
    wedges, kinds = _seen(trained, trained.boxes.shape[-1])
    for label in range(int(refined.labels.max()) + 1):
        rows = np.flatnonzero(refined.labels == label)
        average = average_boxes(trained.boxes, rows, *poses, wedges, kinds, trained.cut)
        poses = upright(poses, rows, average)
    return poses


def _pictures(
    run: RunFolder, trained: Trained, clusters: Clusters
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return averages of the members and decoded centres of their codes."""
    wedges, kinds = _seen(trained, trained.boxes.shape[-1])
    network, _ = load_autoencoder(trained.folder / "model.safetensors")
    averages, centres = [], []
    count = int(clusters.labels.max()) + 1
    for label in range(count):
        rows = np.flatnonzero(clusters.labels == label)
        poses = Poses(clusters.rotations, clusters.centres_px)
        averages.append(average_boxes(trained.boxes, rows, *poses, wedges, kinds, trained.cut))
        with torch.inference_mode():
            code = torch.from_numpy(trained.codes[rows].mean(axis=0, keepdims=True))
            centres.append(network.decode(code)[0].numpy())
        run.progress(0.8 + 0.15 * (label + 1) / count, "averages")
    return averages, centres


def _write(
    run: RunFolder,
    trained: Trained,
    clusters: Clusters,
    averages: list[NDArray[np.float32]],
    centres: list[NDArray[np.float32]],
) -> None:
    run.path("clus-center").mkdir(exist_ok=True)
    voxel = float(trained.account["pixel_size_angstrom"])
    files: dict[str, list[str]] = {"averages": [], "centers": []}
    for label, (average, centre) in enumerate(zip(averages, centres, strict=True)):
        for key, stem, values in (("averages", "mean", average), ("centers", "centre", centre)):
            name = f"clus-center/{stem}_{label:03d}.mrc"
            run.write_map(f"{stem}_{label:03d}", name, values, pixel_size_angstrom=voxel)
            files[key].append(name)
    for key, names in files.items():
        run.add_value(key, names)
    run.add_file("lists", LISTS)
    write_json(
        run.path(LISTS),
        {
            str(label): [trained.names[i] for i in np.flatnonzero(clusters.labels == label)]
            for label in range(len(averages))
        },
    )
    run.add_file("groups", GROUPS)
    with atomic_path(run.path(GROUPS)) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            names=np.array(trained.names),
            labels=clusters.labels,
            distances=clusters.distances,
            rotations=clusters.rotations,
            centres_px=clusters.centres_px,
        )
    run.add_value("training", str(trained.folder.absolute()))
    run.add_file("star", STAR)
    particles = trained.particles.with_classes(clusters.labels + 1)
    if clusters.refined is not None:
        # From the frame of the box to that of the tomogram, by what the training noted of both.
        cut = trained.frames @ np.swapaxes(trained.rotations, 1, 2)
        shifts = -np.einsum("nij,nj->ni", cut, clusters.centres_px) * voxel
        particles = particles.with_poses(cut @ clusters.rotations, shifts)
        chances = clusters.refined.chances.round(4)
        particles = particles.with_column("rlnMaxValueProbDistribution", chances)
    distances = clusters.distances.round(5)
    write_particles(run.path(STAR), particles.with_column("cdlDistToCentre", distances))
