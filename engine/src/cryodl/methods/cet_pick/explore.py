"""The work of ``cryodl cet-pick explore``: a map of what is in tomograms, without labels."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_bytes
from cryodl.core.io.mrc import open_tomogram
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.training.loop import fit
from cryodl.core.training.settings import TrainingSettings
from cryodl.errors import InputError
from cryodl.methods.cet_pick.axes import points_from_working, resolve_order
from cryodl.methods.cet_pick.config import ExploreConfig
from cryodl.methods.cet_pick.embedding import BoxEncoder, BoxViews, EmbeddingStep, codes_of
from cryodl.methods.cet_pick.explore_report import report_exploration
from cryodl.methods.cet_pick.feature_map import clusters_of, plane_map
from cryodl.methods.cet_pick.inputs import named_tomograms
from cryodl.methods.cet_pick.proposals import cut_boxes, halved, propose
from cryodl.methods.cet_pick.tomogram import Preparation, WorkingTomogram

_EPOCHS = 5
_LEAST_BLOBS = 20


@dataclass(frozen=True)
class Blobs:
    """What was found in all tomograms; rows belong together.

    Attributes
    ----------
    names : list of str
        Tomogram of each.
    points_xyz : numpy.ndarray
        (n, 3) in voxels of the files, in their axes.
    strengths : numpy.ndarray
        (n,) answers of the blob filter.
    boxes : numpy.ndarray
        (n, e, e, e) cut-outs.
    """

    names: list[str]
    points_xyz: NDArray[np.float64]
    strengths: NDArray[np.float64]
    boxes: NDArray[np.float16]


def run_explore(config: ExploreConfig, run: RunFolder) -> None:
    """Find blobs, learn codes of them, and lay them out on a map.

    Raises
    ------
    InputError
        A tomogram cannot be used, or there is next to nothing in them.
    TrainingError
        The loss is not finite.
    """
    blobs, pixel_size = _found(config, run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = BoxEncoder(config.embedding)
        step = EmbeddingStep(encoder, config.embedding)
    source = BoxViews(blobs.boxes, config.batch_size, config.seed)
    run.log(f"learning from {len(blobs.names)} blobs, {config.steps} steps")
    result = fit(step, source, _settings(config), run, resume=config.resume)
    run.progress(0.9, "drawing the map")
    device = torch.device(choose_devices(config.devices).torch_device())
    codes = codes_of(encoder, blobs.boxes, device)
    places, method = plane_map(codes, config.seed)
    clusters = clusters_of(codes, config.clusters, config.seed)
    _write(run, blobs, codes, places, clusters, pixel_size)
    run.log(f"{len(blobs.names)} blobs in {clusters.max()} clusters, map by {method}")
    run.add_value("blobs", len(blobs.names))
    run.add_value("clusters", int(clusters.max()))
    run.add_value("map_method", method)
    history = [epoch["loss"] for epoch in result.history]
    report_exploration(run, blobs.boxes, places, clusters, method, history)


def _found(config: ExploreConfig, run: RunFolder) -> tuple[Blobs, float]:
    names: list[str] = []
    points, strengths, boxes, sizes = [], [], [], []
    preparation = Preparation(dark=config.contrast == "dark")
    tomograms = named_tomograms(config.tomograms)
    for number, (name, path) in enumerate(tomograms):
        run.progress(0.2 * number / len(tomograms), f"looking through {name}")
        stored = open_tomogram(path, pixel_size_angstrom=config.pixel_size).data
        order, doubt = resolve_order(config.order, stored, path.name)
        if doubt:
            run.log(f"{name}: {doubt}")
            run.report.distrust(f"{name}: {doubt}.")
        tomogram = WorkingTomogram(path, order, preparation, config.pixel_size)
        small = halved(tomogram)
        places, strong = propose(small, tomogram.spacing_zyx, config.bbox, config.proposals)
        run.log(f"{name}: {len(places)} blobs")
        names += [name] * len(places)
        points.append(points_from_working(places, order))
        strengths.append(strong)
        boxes.append(cut_boxes(small, tomogram.spacing_zyx, places, config.bbox))
        sizes.append(tomogram.pixel_size_angstrom)
    if len(names) < _LEAST_BLOBS:
        raise InputError(
            f"--tomograms: found {len(names)} blobs of {config.bbox:g} px, expected at least "
            f"{_LEAST_BLOBS}; give another --bbox, more --proposals, or larger tomograms"
        )
    found = Blobs(names, np.concatenate(points), np.concatenate(strengths), np.concatenate(boxes))
    return found, sizes[0]


def _settings(config: ExploreConfig) -> TrainingSettings:
    epochs = min(_EPOCHS, config.steps)
    return TrainingSettings(
        steps_per_epoch=-(-config.steps // epochs),
        epochs=epochs,
        learning_rate=2e-3,
        schedule="one-cycle",
        gradient_clip=1.0,
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        progress_span=(0.2, 0.9),
        signature={"bbox": config.bbox, "embedding": config.embedding},
    )


def _write(
    run: RunFolder,
    blobs: Blobs,
    codes: NDArray[np.float32],
    places: NDArray[np.float64],
    clusters: NDArray[np.int64],
    pixel_size_angstrom: float,
) -> None:
    """Write the map as particles, and codes and pictures beside it in the same order."""
    particles = make_particles(
        image_kind="none",
        pixel_size_angstrom=pixel_size_angstrom,
        tomograms=blobs.names,
        coordinates_px=blobs.points_xyz,
        coordinate_pixel_size_angstrom=pixel_size_angstrom,
        classes=clusters,
    )
    for column, values in (
        ("rlnAutopickFigureOfMerit", blobs.strengths),
        ("cdlMapX", places[:, 0]),
        ("cdlMapY", places[:, 1]),
    ):
        particles = particles.with_column(column, np.round(values, 4))
    for key in ("map", "coordinates"):
        run.add_file(key, "map.star")
    write_particles(run.path("map.star"), particles)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, codes=codes, images=middle_pictures(blobs.boxes))
    run.add_file("codes", "codes.npz")
    write_bytes(run.path("codes.npz"), buffer.getvalue())


def middle_pictures(boxes: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return the middle third of each box, averaged across z: (n, e, e)."""
    middle, half = boxes.shape[1] // 2, max(1, boxes.shape[1] // 6)
    slab = boxes[:, middle - half : middle + half].astype(np.float32)
    return slab.mean(axis=1).astype(np.float16)
