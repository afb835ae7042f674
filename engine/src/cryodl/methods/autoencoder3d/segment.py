"""The work of ``cryodl autoencoder3d segment``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_text
from cryodl.core.io.mrc import Volume, open_tomogram, write_volume
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.tomogram_names import tomogram_names
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.figures import new_figure
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.volumes.tiles import predict_tiled_channels
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.config import SegmentConfig
from cryodl.methods.autoencoder3d.model import SegmentationNetwork, load_segmentation
from cryodl.methods.autoencoder3d.segment_things import (
    Component,
    Found,
    find_things,
    labels_of_file,
)
from cryodl.methods.autoencoder3d.train import model_path
from cryodl.methods.autoencoder3d.working_tomogram import WorkingTomogram, prepare

_CUBE_PX, _MARGIN_PX, _OVERLAP_PX = 112, 8, 4
_AROUND_PX = 16  # beyond a slab, so that what is kept of it does not depend on where it was cut
_FINEST_STEP = 0.4  # below, the network would look for what the tomogram cannot hold
_FEWEST_VOXELS = 4
_MOST_BYTES = 2**30
_TURNS: tuple[tuple[int, ...], ...] = ((), (0, 1), (1, 2), (0, 2))
_STAR = "coordinates.star"


def run_segment(config: SegmentConfig, run: RunFolder) -> None:
    """Segment tomograms and write labels, probabilities and coordinates.

    Raises
    ------
    InputError
        A tomogram or the model cannot be used.
    """
    network, description = load_segmentation(model_path(config.model))
    opened = [
        (name, open_tomogram(path, pixel_size_angstrom=config.pixel_size))
        for name, path in zip(tomogram_names(config.tomograms, "TOMOGRAMS"), config.tomograms)
    ]
    found: dict[str, list[Component]] = {}
    files: dict[str, list[str]] = {"labels": [], "probabilities": [], "coordinates": []}
    for number, (name, volume) in enumerate(opened):

        def told(done: float, number: int = number, name: str = name) -> None:
            run.progress((number + 0.9 * done) / len(opened), f"segmenting {name}")

        step = _step(volume, float(description["pixel_size_angstrom"]))
        working = prepare(
            volume.data, step, int(description["box_px"]), dark=config.contrast == "dark"
        )
        chances = probabilities(network, working.values, config.devices, told, config.views)
        threshold = config.threshold or float(description.get("threshold", 0.5))
        by_volume = config.outlines == "volume" or (
            config.outlines == "auto" and config.threshold is None
        )
        inside = find_things(
            chances, working, description, threshold, config.min_volume, by_volume=by_volume
        )
        found[name] = inside.things
        _write(run, config, files, name, volume, working, chances, inside)
        levels = ", ".join(f"{k}: {v:.2f}" for k, v in enumerate(inside.levels) if k)
        run.log(f"{name}: {len(inside.things)} found; classes are cut at {levels}")
        _report(run, name, working, inside.labels)
    _finish(run, opened, files, found)


def _step(volume: Volume, network_angstrom: float) -> float:
    """Return the voxel of the network in voxels of a tomogram.

    Raises
    ------
    InputError
        The tomogram is much coarser, or smaller than a few voxels of the network.
    """
    step = network_angstrom / volume.pixel_size_angstrom
    if step < _FINEST_STEP or min(volume.data.shape) / step < _FEWEST_VOXELS:
        raise InputError(
            f"{volume.name}: found {min(volume.data.shape)} voxels of "
            f"{volume.pixel_size_angstrom:g} A along its shortest edge, expected a tomogram for a "
            f"network that learned from voxels of {network_angstrom:g} A; give one of similar "
            "sampling, or --pixel-size where its header is wrong"
        )
    return step


def probabilities(
    network: SegmentationNetwork,
    values: NDArray[np.float32],
    devices: str,
    progress: Any = None,
    views: int = 1,
) -> NDArray[np.float16]:
    """Return the chance of each class in each voxel, (classes, z, y, x), by tiles.

    The mean of up to four `views`: half turns about the axes leave the missing wedge where it is.
    """
    place = torch.device(choose_devices(devices).torch_device())
    network = network.to(place).eval()
    found = np.zeros((network.size.classes, *values.shape), dtype=np.float16)
    for number, axes in enumerate(_TURNS[:views]):
        turned = np.flip(values, axes)
        for start, stop, part, done in _slabs(network, turned, place):
            back = np.flip(part, [axis + 1 for axis in axes])
            if 0 in axes:
                start, stop = len(values) - stop, len(values) - start
            found[:, start:stop] += (back / views).astype(np.float16)
            if progress is not None:
                progress((number + done) / views)
    return found


def _slabs(
    network: SegmentationNetwork, values: NDArray[np.float32], place: torch.device
) -> Iterator[tuple[int, int, NDArray[np.float32], float]]:
    """Yield first and last section, chances in single precision, and the share that is done.

    What is in single precision is a part of the depth, not the whole of a large tomogram.
    """

    @torch.inference_mode()
    def chances(batch: torch.Tensor) -> torch.Tensor:
        return network(batch[:, 0]).softmax(dim=1)

    cube, depth = cube_size(values.shape), len(values)
    section = 4 * network.size.classes * values[0].size
    slab = depth if depth * section <= _MOST_BYTES else max(cube, _MOST_BYTES // section // 8 * 8)
    for start in range(0, depth, slab):
        stop = min(depth, start + slab)
        first, last = max(0, start - _AROUND_PX), min(depth, stop + _AROUND_PX)
        part = predict_tiled_channels(
            chances,
            values[first:last],
            cube_size_px=cube,
            tile_size_px=cube + 2 * _MARGIN_PX,
            out_channels=network.size.classes,
            overlap_px=_OVERLAP_PX,
            device=place,
        )
        yield start, stop, np.asarray(part)[:, start - first : stop - first], stop / depth


def cube_size(shape: tuple[int, ...]) -> int:
    """Return the step between tiles with which the network sees the fewest voxels."""

    def seen(cube: int) -> int:
        tiles = [-(-(size + 2 * _OVERLAP_PX) // cube) for size in shape]
        return math.prod(tiles) * (cube + 2 * _MARGIN_PX) ** 3

    return min(range(16, _CUBE_PX + 1, 8), key=seen)


def _write(
    run: RunFolder,
    config: SegmentConfig,
    files: dict[str, list[str]],
    name: str,
    volume: Volume,
    working: WorkingTomogram,
    chances: NDArray[np.floating],
    found: Found,
) -> None:
    pixel = volume.pixel_size_angstrom

    def write(key: str, file: str, values: NDArray) -> None:
        run.add_file(file.removesuffix(".mrc"), file)
        write_volume(run.path(file), values, pixel_size_angstrom=pixel, label="cryodl segment")
        files[key].append(file)

    write("labels", f"{name}_labels.mrc", labels_of_file(found, chances[0], working))
    if config.probabilities:
        for kind in range(1, len(chances)):
            smooth = working.smooth_on_file_grid(chances[kind])
            write("probabilities", f"{name}_class{kind}.mrc", smooth)
    file = f"{name}_coords.txt"
    lines = ["# x y z score class"]
    for entry in found.things:
        x, y, z = entry.point_xyz_px
        lines.append(f"{x:.2f} {y:.2f} {z:.2f} {entry.score:.4f} {entry.kind}")
    run.add_file(f"coordinates_{name}", file)
    write_text(run.path(file), "\n".join(lines) + "\n")
    files["coordinates"].append(file)


def _finish(
    run: RunFolder,
    opened: list[tuple[str, Volume]],
    files: dict[str, list[str]],
    found: dict[str, list[Component]],
) -> None:
    for key, names in files.items():
        run.add_value(key, names)
    every = [(name, entry) for name, entries in found.items() for entry in entries]
    run.add_value("counts", {name: len(entries) for name, entries in found.items()})
    run.report.fact("found", str(len(every)))
    if not every:
        run.report.distrust(
            "Nothing was found: is the contrast right, and the pixel size that of the training?"
        )
        return
    particles = make_particles(
        image_kind="none",
        pixel_size_angstrom=opened[0][1].pixel_size_angstrom,
        tomograms=[name for name, _ in every],
        coordinates_px=np.stack([entry.point_xyz_px for _, entry in every]),
        classes=[entry.kind for _, entry in every],
    )
    scores = [round(entry.score, 4) for _, entry in every]
    run.add_file("star", _STAR)
    particles = particles.with_column("rlnAutopickFigureOfMerit", scores)
    write_particles(run.path(_STAR), particles)


def _report(run: RunFolder, name: str, working: WorkingTomogram, labels: NDArray[np.uint8]) -> None:
    run.report.heading(name)
    figure = new_figure(1, 2, 9.0, 4.5)
    depth = int(np.argmax((labels > 0).sum(axis=(1, 2)))) if labels.any() else len(labels) // 2
    for axis in figure.axes:
        axis.imshow(working.values[depth], cmap="gray", vmin=-2, vmax=3, origin="lower")
        axis.set_xticks([])
        axis.set_yticks([])
    shown = np.ma.masked_equal(labels[depth], 0)
    figure.axes[1].imshow(
        shown, cmap="tab10", vmin=0, vmax=10, alpha=0.5, origin="lower", interpolation="nearest"
    )
    run.report.figure(figure, f"{name}: slice {depth} as the network sees it, with its labels.")
