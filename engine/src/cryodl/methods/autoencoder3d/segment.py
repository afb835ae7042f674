"""The work of ``cryodl autoencoder3d segment``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.core.io.atomic import write_text
from cryodl.core.io.mrc import Volume, open_tomogram, write_volume
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.figures import new_figure
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.volumes.tiles import predict_tiled_channels
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.config import SegmentConfig
from cryodl.methods.autoencoder3d.model import SegmentationNetwork, load_segmentation
from cryodl.methods.autoencoder3d.proposals import apart
from cryodl.methods.autoencoder3d.train import model_path
from cryodl.methods.autoencoder3d.working_tomogram import WorkingTomogram, prepare

_CUBE_PX, _MARGIN_PX, _OVERLAP_PX = 112, 8, 4
_STAR = "coordinates.star"


@dataclass(frozen=True)
class Component:
    """One thing that was found: where (x, y, z of the file), what, how sure, how large."""

    point_xyz_px: NDArray[np.float64]
    kind: int
    score: float
    voxels: float


def run_segment(config: SegmentConfig, run: RunFolder) -> None:
    """Segment tomograms and write labels, probabilities and coordinates.

    Raises
    ------
    InputError
        A tomogram or the model cannot be used.
    """
    network, description = load_segmentation(model_path(config.model))
    opened = [
        (path.name.split(".")[0], open_tomogram(path, pixel_size_angstrom=config.pixel_size))
        for path in config.tomograms
    ]
    names = [name for name, _ in opened]
    if len(set(names)) < len(names):
        raise InputError(
            f"TOMOGRAMS: found {len(names)} files with {len(set(names))} different names, expected "
            "one name each; rename them"
        )
    found: dict[str, list[Component]] = {}
    files: dict[str, list[str]] = {"labels": [], "probabilities": [], "coordinates": []}
    for number, (name, volume) in enumerate(opened):

        def told(done: float, number: int = number, name: str = name) -> None:
            run.progress((number + 0.9 * done) / len(opened), f"segmenting {name}")

        step = float(description["pixel_size_angstrom"]) / volume.pixel_size_angstrom
        working = prepare(
            volume.data, step, int(description["box_px"]), dark=config.contrast == "dark"
        )
        chances = probabilities(network, working.values, config.devices, told)
        threshold = config.threshold or float(description.get("threshold", 0.5))
        labels, found[name] = find_things(
            chances, working, description, threshold, config.min_volume
        )
        _write(run, config, files, name, volume, working, chances, labels, threshold, found[name])
        run.log(f"{name}: {len(found[name])} found")
        _report(run, name, working, labels)
    _finish(run, opened, files, found)


def probabilities(
    network: SegmentationNetwork, values: NDArray[np.float32], devices: str, progress: Any = None
) -> NDArray[np.float32]:
    """Return the chance of each class in each voxel, (classes, z, y, x), by tiles."""
    place = torch.device(choose_devices(devices).torch_device())
    network = network.to(place).eval()

    @torch.inference_mode()
    def chances(batch: torch.Tensor) -> torch.Tensor:
        return network(batch[:, 0]).softmax(dim=1)

    longest = max(values.shape)
    cube = min(_CUBE_PX, max(16, -(-longest // 8) * 8))
    found = predict_tiled_channels(
        chances,
        values,
        cube_size_px=cube,
        tile_size_px=cube + 2 * _MARGIN_PX,
        out_channels=network.size.classes,
        overlap_px=_OVERLAP_PX,
        device=place,
        progress=progress,
    )
    return np.asarray(found)


def find_things(
    chances: NDArray[np.float32],
    working: WorkingTomogram,
    description: dict[str, Any],
    threshold: float,
    min_volume: float,
) -> tuple[NDArray[np.uint8], list[Component]]:
    """Return labels and the things that they are; each thing is of one class, by all its voxels.

    What touches is cut apart at the peaks of the chance of being anything.
    """
    usual = np.array(
        [float(description["volumes_px"].get(str(k), 1.0)) for k in range(1, len(chances))]
    )
    diameter = 2 * (3 * usual.min() / (4 * np.pi)) ** (1 / 3)
    anything = 1 - chances[0]
    smooth = ndimage.gaussian_filter(anything, 0.25 * diameter)
    labels = np.zeros(anything.shape, dtype=np.uint8)
    found = []
    numbered, _ = ndimage.label(anything >= threshold)
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        own = numbered[box] == number
        if own.sum() < min_volume * usual.min():
            continue
        start = np.array([side.start for side in box])
        for part in _parts(own, smooth[box], diameter, float(usual.mean())):
            at = tuple((part + start).T)
            votes = chances[(slice(1, None), *at)].mean(axis=1)
            kind = int(votes.argmax()) + 1
            if len(part) < min_volume * usual[kind - 1]:
                continue
            labels[at] = kind
            point = working.to_file((part.mean(axis=0) + start)[::-1])
            found.append(Component(point, kind, float(votes[kind - 1]), float(len(part))))
    return labels, found


def labels_of_file(
    labels: NDArray[np.uint8],
    chances: NDArray[np.float32],
    working: WorkingTomogram,
    threshold: float,
) -> NDArray[np.float32]:
    """Return labels on the grid of the file, with borders between the voxels of the network."""
    if working.step_px == 1:
        return labels.astype(np.float32)
    wide = np.where(labels == 0, ndimage.grey_dilation(labels, size=3), labels)
    inside = working.smooth_on_file_grid(1 - chances[0]) >= threshold
    return np.where(inside, working.on_file_grid(wide), 0).astype(np.float32)


def _parts(
    own: NDArray[np.bool_], smooth: NDArray[np.float32], diameter: float, usual: float
) -> list[NDArray[np.int64]]:
    """Return the voxels of each thing in one connected region."""
    voxels = np.argwhere(own)
    if len(voxels) < 1.5 * usual:
        return [voxels]
    edge = max(3, round(0.5 * diameter)) | 1
    peaks = own & (smooth == ndimage.maximum_filter(smooth, edge, mode="constant"))
    places = np.argwhere(peaks)
    order = np.argsort(-smooth[peaks], kind="stable")
    places = places[order][apart(places[order].astype(np.float64), 0.6 * diameter)]
    if len(places) < 2:
        return [voxels]
    squared = np.square(voxels[:, None] - places[None]).sum(axis=2)
    nearest = squared.argmin(axis=1)
    return [voxels[nearest == k] for k in range(len(places))]


def _write(
    run: RunFolder,
    config: SegmentConfig,
    files: dict[str, list[str]],
    name: str,
    volume: Volume,
    working: WorkingTomogram,
    chances: NDArray[np.float32],
    labels: NDArray[np.uint8],
    threshold: float,
    found: list[Component],
) -> None:
    pixel = volume.pixel_size_angstrom

    def write(key: str, file: str, values: NDArray[np.float32]) -> None:
        run.add_file(file.removesuffix(".mrc"), file)
        write_volume(run.path(file), values, pixel_size_angstrom=pixel, label="cryodl segment")
        files[key].append(file)

    on_grid = labels_of_file(labels, chances, working, threshold)
    write("labels", f"{name}_labels.mrc", on_grid)
    if config.probabilities:
        for kind in range(1, len(chances)):
            smooth = working.smooth_on_file_grid(chances[kind])
            write("probabilities", f"{name}_class{kind}.mrc", smooth)
    file = f"{name}_coords.txt"
    lines = ["# x y z score class"]
    for entry in found:
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
