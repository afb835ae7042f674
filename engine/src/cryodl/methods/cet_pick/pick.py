"""The work of ``cryodl cet-pick predict``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_text
from cryodl.core.io.mrc import open_tomogram, write_volume
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.methods.cet_pick.axes import (
    from_working,
    points_from_working,
    points_to_working,
    resolve_order,
)
from cryodl.methods.cet_pick.calibration import LEAST_SCORE, Calibration
from cryodl.methods.cet_pick.config import PredictConfig
from cryodl.methods.cet_pick.figures import PICK_COLOUR, score_histogram, slices_with_points
from cryodl.methods.cet_pick.held_out import DISTANCE_OF_DIAMETER
from cryodl.methods.cet_pick.inputs import named_tomograms
from cryodl.methods.cet_pick.model import load_network
from cryodl.methods.cet_pick.peaks import find_peaks
from cryodl.methods.cet_pick.predict import heat_map
from cryodl.methods.cet_pick.tomogram import Preparation, WorkingTomogram
from cryodl.methods.cet_pick.train import model_path

_SKEW = 0.05  # a skew this large has a sign
_PIXEL_TOLERANCE = 0.1


@dataclass(frozen=True)
class Picks:
    """Picks of one kind in one tomogram, best first; x, y, z of the file."""

    points_xyz: NDArray[np.float64]
    scores: NDArray[np.float64]
    all_scores: NDArray[np.float64]


def run_predict(config: PredictConfig, run: RunFolder) -> None:
    """Pick particles in every tomogram.

    Raises
    ------
    InputError
        A tomogram or the model cannot be used.
    """
    network, description = load_network(model_path(config.model))
    tomograms = [
        (name, _opened(name, path, config, description, run))
        for name, path in named_tomograms(config.tomograms)
    ]
    device = torch.device(choose_devices(config.devices).torch_device())
    thresholds = _thresholds(config, description)
    files: dict[str, list[str]] = {"coordinates": [], "heatmaps": []}
    found: dict[str, dict[str, Picks]] = {}
    for number, (name, tomogram) in enumerate(tomograms):

        def on_tile(done: float, number: int = number, name: str = name) -> None:
            run.progress((number + done) / len(tomograms), f"picking {name}")

        maps = heat_map(
            network,
            tomogram,
            device,
            flips=config.flips,
            precision=config.precision,
            on_tile=on_tile,
        )
        found[name] = _picked(maps, tomogram, config, description, thresholds)
        _write(run, files, name, tomogram, maps, found[name], config)
        counts = ", ".join(f"{len(p.scores)} {kind}" for kind, p in found[name].items())
        run.log(f"{name}: {counts}")
        _report_tomogram(run, name, tomogram, maps, found[name], description)
    _finish(config, run, files, found, description, thresholds, tomograms)


def _opened(
    name: str, path: Path, config: PredictConfig, description: dict[str, Any], run: RunFolder
) -> WorkingTomogram:
    stored = open_tomogram(path, pixel_size_angstrom=config.pixel_size).data
    order, doubt = resolve_order(config.order, stored, path.name)
    if doubt:
        run.log(f"{name}: {doubt}")
        run.report.distrust(f"{name}: {doubt}.")
    preparation = Preparation(**description["preparation"])
    if config.contrast != "auto":
        preparation = Preparation(
            **{**description["preparation"], "dark": config.contrast == "dark"}
        )
    tomogram = WorkingTomogram(path, order, preparation, config.pixel_size)
    skew, trained = tomogram.statistics.skew, description["skew"]
    if config.contrast == "auto" and skew * trained < 0 and min(abs(skew), abs(trained)) > _SKEW:
        text = (
            f"{name}: its grey values lean the other way than those of the training tomograms "
            f"(skew {skew:.2f} against {trained:.2f}): is the contrast inverted? If so give "
            f"--contrast {'bright' if preparation.dark else 'dark'}"
        )
        run.log(text)
        run.report.distrust(text + ".")
    ratio = tomogram.pixel_size_angstrom / description["pixel_size_angstrom"]
    if abs(ratio - 1) > _PIXEL_TOLERANCE:
        text = (
            f"{name}: {tomogram.pixel_size_angstrom:.4g} A per voxel, but the model was trained at "
            f"{description['pixel_size_angstrom']:.4g}: particles will look {1 / ratio:.2g} times "
            "as large to it; bin the tomogram alike"
        )
        run.log(text)
        run.report.distrust(text + ".")
    return tomogram


def _thresholds(config: PredictConfig, description: dict[str, Any]) -> list[float]:
    if config.out_thresh != "auto":
        return [float(config.out_thresh)] * len(description["kinds"])
    return [entry["threshold"] for entry in description["calibration"]]


def _picked(
    maps: NDArray[np.float32],
    tomogram: WorkingTomogram,
    config: PredictConfig,
    description: dict[str, Any],
    thresholds: list[float],
) -> dict[str, Picks]:
    distance = config.nms_px or DISTANCE_OF_DIAMETER * description["bbox_px"]
    depth, height, width = tomogram.file_shape
    found = {}
    for kind, scores, threshold in zip(description["kinds"], maps, thresholds, strict=True):
        points, values = find_peaks(
            scores, tomogram.spacing_zyx, distance_px=distance, threshold=LEAST_SCORE
        )
        x, y, z = points.T
        kept = (x >= config.border) & (x <= width - 1 - config.border)
        kept &= (y >= config.border) & (y <= height - 1 - config.border)
        kept &= (z >= config.cutoff_z) & (z <= depth - 1 - config.cutoff_z)
        all_values = values[kept]
        kept &= values > threshold
        chosen = np.flatnonzero(kept)[: config.K or None]
        places = points_from_working(points[chosen], tomogram.order)
        found[kind] = Picks(places, values[chosen], all_values)
    return found


def _write(
    run: RunFolder,
    files: dict[str, list[str]],
    name: str,
    tomogram: WorkingTomogram,
    maps: NDArray[np.float32],
    picks: dict[str, Picks],
    config: PredictConfig,
) -> None:
    for kind, scores in zip(picks, maps, strict=True):
        stem = name if len(picks) == 1 else f"{name}_{kind}"
        text = f"{stem}_coords.txt"
        write_text(run.path(text), _text(picks[kind], config))
        run.add_file(f"coordinates_{stem}", text)
        files["coordinates"].append(text)
        _write_heat_map(run, files, stem, tomogram, scores)


def _text(picks: Picks, config: PredictConfig) -> str:
    columns = ["x", "z", "y"] if config.imod_order else ["x", "y", "z"]
    order = [0, 2, 1] if config.imod_order else [0, 1, 2]
    lines = ["# " + " ".join(columns + ["score"] * config.with_score)]
    for point, score in zip(picks.points_xyz[:, order], picks.scores, strict=True):
        words = [f"{value:.2f}" for value in point] + [f"{score:.4f}"] * config.with_score
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def _write_heat_map(
    run: RunFolder,
    files: dict[str, list[str]],
    stem: str,
    tomogram: WorkingTomogram,
    scores: NDArray[np.float32],
) -> None:
    """Write scores on the grid of the tomogram at half its size, so that both overlay."""
    halved = scores
    if tomogram.merged == 1:  # heat maps are half as large in the plane only
        halved = 0.5 * (scores[: len(scores) // 2 * 2 : 2] + scores[1::2])
    name = f"{stem}_hm.mrc"
    run.add_file(f"heatmap_{stem}", name)
    write_volume(
        run.path(name),
        from_working(halved, tomogram.order),
        pixel_size_angstrom=2 * tomogram.pixel_size_angstrom,
        label="cryodl cet-pick score, half the size of the tomogram",
    )
    files["heatmaps"].append(name)


def _report_tomogram(
    run: RunFolder,
    name: str,
    tomogram: WorkingTomogram,
    maps: NDArray[np.float32],
    picks: dict[str, Picks],
    description: dict[str, Any],
) -> None:
    run.report.heading(name)
    colours = (PICK_COLOUR, "#2f6fde", "#2a9d3f", "#b5179e", "#6b7280")
    points = {
        kind: (points_to_working(found.points_xyz, tomogram.order), colours[n % len(colours)])
        for n, (kind, found) in enumerate(picks.items())
    }
    run.report.figure(
        slices_with_points(
            tomogram, points, description["bbox_px"] / 2, score_map=maps.max(axis=0)
        ),
        f"{name}: slices with picks, and below the scores (bright is sure).",
    )


def _finish(
    config: PredictConfig,
    run: RunFolder,
    files: dict[str, list[str]],
    found: dict[str, dict[str, Picks]],
    description: dict[str, Any],
    thresholds: list[float],
    tomograms: list[tuple[str, WorkingTomogram]],
) -> None:
    _write_star(run, found, description, tomograms)
    for key, names in files.items():
        run.add_value(key, names)
    run.add_value("threshold", thresholds[0])
    counts = {name: {k: len(p.scores) for k, p in kinds.items()} for name, kinds in found.items()}
    run.add_value("counts", counts)
    total = sum(count for kinds in counts.values() for count in kinds.values())
    run.report.fact("picks", str(total))
    run.report.fact("threshold", ", ".join(f"{t:.2f}" for t in thresholds))
    run.report.heading("Scores")
    of_kind = {
        kind: np.concatenate([kinds[kind].all_scores for kinds in found.values()])
        for kind in description["kinds"]
    }
    run.report.figure(
        score_histogram(of_kind, thresholds),
        "Scores of all maxima of the heat maps; picks are right of the dashed line.",
    )
    removed = sum(len(scores) for scores in of_kind.values()) - total
    if removed == 0 and total:
        run.report.distrust(
            "The threshold removed no maximum: it is likely too low. Look at the histogram."
        )
    if total == 0:
        run.report.distrust(
            "Nothing was picked: the threshold may be too high for these tomograms."
        )


def _write_star(
    run: RunFolder,
    found: dict[str, dict[str, Picks]],
    description: dict[str, Any],
    tomograms: list[tuple[str, WorkingTomogram]],
) -> None:
    calibrations = [Calibration(**entry) for entry in description["calibration"]]
    points, scores, chances, names, kinds = [], [], [], [], []
    for name, _ in tomograms:
        for number, (kind, picks) in enumerate(found[name].items()):
            points.append(picks.points_xyz)
            scores.append(picks.scores)
            chances.append(calibrations[number].chance(picks.scores))
            names += [name] * len(picks.scores)
            kinds += [kind] * len(picks.scores)
    if not names:
        return
    particles = make_particles(
        image_kind="none",
        pixel_size_angstrom=tomograms[0][1].pixel_size_angstrom,
        tomograms=names,
        coordinates_px=np.concatenate(points),
        coordinate_pixel_size_angstrom=tomograms[0][1].pixel_size_angstrom,
    )
    particles = particles.with_column("rlnAutopickFigureOfMerit", np.concatenate(scores).round(4))
    particles = particles.with_column("cdlChance", np.concatenate(chances).round(4))
    if len(description["kinds"]) > 1:
        particles = particles.with_column("cdlKind", kinds)
    run.add_file("star", "coordinates.star")
    write_particles(run.path("coordinates.star"), particles)
