"""The work of ``cryodl opus-tomo analyze``: clusters, components, pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import atomic_path
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.errors import ConfigError
from cryodl.methods.opus_tomo.clusters import cluster, principal_components, silhouette
from cryodl.methods.opus_tomo.comparison import compare_clusters
from cryodl.methods.opus_tomo.config import AnalyzeConfig
from cryodl.methods.opus_tomo.figures import bars, scatter
from cryodl.methods.opus_tomo.leakage import direction_leakage
from cryodl.methods.opus_tomo.table import write_table
from cryodl.methods.opus_tomo.trained import TrainedRun, at_epoch, open_training, read_result

_LEAST_FOR_UMAP = 15
_NEIGHBOURS = 15


def run_analyze(config: AnalyzeConfig, run: RunFolder) -> None:
    """Cluster the latents of a training and follow their principal components.

    Raises
    ------
    InputError
        No finished training.
    ConfigError
        More clusters or components than there can be; no umap-learn.
    """
    training = open_training(config.run)
    if config.epoch is not None:
        training = at_epoch(training, config.epoch)
    points = _points(config, training)
    count, dimensions = points.shape
    if config.clusters > count:
        raise ConfigError(
            f"--clusters: found {config.clusters}, expected at most {count}, one a particle; give "
            "fewer"
        )
    pcs = min(config.pcs, dimensions)
    labels, centres = cluster(points, config.clusters, config.seed)
    projections, directions, shares = principal_components(points)
    layout = _umap(points, config.seed) if config.umap else None
    star = config.run / str(read_result(config.run, "opus-tomo train")["star"])
    particles = read_particles(star, require_images=False)
    _write(run, training, particles, labels, projections, layout)
    run.add_file("analysis", "analysis.npz")
    with atomic_path(run.path("analysis.npz")) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            training=np.array(os.path.relpath(config.run.resolve(), run.path("").resolve())),
            name=np.array(training.names),
            labels=labels,
            centres=centres,
            points=points,
            projections=projections,
            directions=directions,
            shares=shares,
            components=np.array(pcs),
            space=np.array("zd" if config.zd else config.space),
            z_mu=training.latents["z_mu"],
            model=np.array(training.model_name),
        )
    run.add_value("clusters", [int((labels == k + 1).sum()) for k in range(config.clusters)])
    run.add_value("silhouette", silhouette(points, labels))
    _report(run, training, particles, points, labels, centres, projections, shares, layout)


def _points(config: AnalyzeConfig, training: TrainedRun) -> NDArray[np.float32]:
    if config.zd:
        points = training.latents["zd_mu"]
        if points.shape[1] == 0:
            raise ConfigError("--zd: found no latents of poses in this training; leave it out")
        return points
    return training.latents["scaled" if config.space == "decoded" else "z_mu"]


def _umap(points: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    try:
        from umap import UMAP  # type: ignore[import-not-found]
    except ImportError:
        raise ConfigError(
            "--umap: found no umap-learn, expected it beside cryodl; run pip install umap-learn, "
            "or leave --umap out"
        ) from None
    if len(points) < _LEAST_FOR_UMAP:
        raise ConfigError(
            f"--umap: found {len(points)} particles, expected {_LEAST_FOR_UMAP} or more; leave it "
            "out"
        )
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    return np.asarray(UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(points))


def _write(
    run: RunFolder,
    training: TrainedRun,
    particles: ParticleSet,
    labels: NDArray[np.int64],
    projections: NDArray[np.float64],
    layout: NDArray[np.float32] | None,
) -> None:
    """Write the STAR file with classes, by name, and the table that a lasso is drawn on."""
    row = {name: i for i, name in enumerate(training.names)}
    order = np.array([row[name] for name in particles.names])
    write_particles(run.path("particles.star"), particles.with_classes(labels[order]))
    run.add_file("star", "particles.star")
    run.add_file("latents", "latents.csv")
    write_table(run.path("latents.csv"), training, particles, labels, projections, layout)


def _report(
    run: RunFolder,
    training: TrainedRun,
    particles: ParticleSet,
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    centres: NDArray[np.int64],
    projections: NDArray[np.float64],
    shares: NDArray[np.float64],
    layout: NDArray[np.float32] | None,
) -> None:
    report, latents = run.report, training.latents
    leak = direction_leakage(points, np.repeat(latents["direction"][:, None], 3, axis=1))
    run.add_value("direction_leakage", leak)
    report.fact("clusters", str(len(centres)))
    report.fact("silhouette", f"{silhouette(points, labels):.2f}")
    report.fact("viewing direction in the latents", f"{leak:+.2f} above chance")
    places = projections[:, :2]
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    tilt = np.degrees(np.arccos(np.clip(latents["direction"][:, 2], -1, 1)))
    colours = {"cluster": labels, "angle to the beam": tilt}
    if len(set(latents["tomogram"].tolist())) > 1:
        colours["tomogram"] = latents["tomogram"]
    figures = {"components.png": scatter(places, colours, centres=places[centres])}
    if layout is not None:
        figures["umap.png"] = scatter(
            layout, colours, ("UMAP 1", "UMAP 2"), centres=layout[centres]
        )
    figures["variance.png"] = bars(
        [str(i + 1) for i in range(len(shares))], shares.tolist(), "share of the variance"
    )
    run.path("figures").mkdir(exist_ok=True)
    captions = {
        "components.png": "The first two components. Numbers are the clusters' central particles.",
        "umap.png": "Distances in a UMAP mean little; use it to find groups only.",
        "variance.png": "How much of the variation each component holds.",
    }
    report.heading("Latents")
    for name, figure in figures.items():
        report.figure(figure, captions[name])
        with atomic_path(run.path(f"figures/{name}")) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
        run.add_file(f"figure_{Path(name).stem}", f"figures/{name}")
    run.add_value("figures", "figures")
    mixed = {"cluster of the latents": labels, "angle to the beam": tilt}
    compare_clusters(run, latents["linear"], points, labels, mixed)
    report.table(
        ["cluster", "particles", "half 1", "half 2", "central particle"],
        _cluster_rows(particles, training, labels, centres),
    )
    report.distrust(
        "k-means always finds as many clusters as it is asked for. Compare their densities "
        "(cryodl opus-tomo volumes), and average their particles, before you believe them."
    )


def _cluster_rows(
    particles: ParticleSet,
    training: TrainedRun,
    labels: NDArray[np.int64],
    centres: NDArray[np.int64],
) -> list[list[object]]:
    half = dict(zip(particles.names, particles.half_sets.tolist(), strict=True))
    halves = np.array([half.get(name, 0) for name in training.names])
    return [
        [
            str(k + 1),
            int((labels == k + 1).sum()),
            int(((labels == k + 1) & (halves == 1)).sum()),
            int(((labels == k + 1) & (halves == 2)).sum()),
            training.names[centre],
        ]
        for k, centre in enumerate(centres.tolist())
    ]
