"""The work of ``cryodl autoencoder3d segment-train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.core.run.figures import loss_curves
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.loop import FitResult, fit
from cryodl.core.training.settings import TrainingSettings
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.config import SegmentTrainConfig
from cryodl.methods.autoencoder3d.losses import IGNORED, SegmentationStep, class_weights
from cryodl.methods.autoencoder3d.model import (
    SegmentationNetwork,
    SegmentSize,
    build_segmentation,
    load_autoencoder,
    save_network,
)
from cryodl.methods.autoencoder3d.segment_data import (
    Boxes,
    LabelledSource,
    particle_boxes,
    tomogram_boxes,
)
from cryodl.methods.autoencoder3d.segment_labels import Selected, select_masks
from cryodl.methods.autoencoder3d.segment_synthesis import Synthesis
from cryodl.methods.autoencoder3d.trained import Trained, check_run, read_trained

MODEL = "model.safetensors"
_HELD_OUT = 0.1
_BOX_OF_GROWTH_PX = 32
_THRESHOLDS = np.linspace(0.2, 0.7, 11)


@dataclass(frozen=True)
class SegmentDefaults:
    """What a preset trains with when nothing else is said."""

    epochs: int
    batch_size: int


DEFAULTS = {
    "paper": SegmentDefaults(200, 128),
    "base": SegmentDefaults(60, 16),
    "tiny": SegmentDefaults(60, 16),
}


@dataclass(frozen=True)
class SegmentValidation:
    """Loss and overlap of boxes that are held out."""

    source: LabelledSource
    rows: NDArray[np.int64]

    def __call__(self, step: nn.Module, epoch: int) -> dict[str, float]:
        """Return ``validation`` (the loss) and ``iou``, the mean of the classes."""
        place = next(step.parameters()).device
        network = step.network
        if not isinstance(network, SegmentationNetwork):
            raise TypeError("expected a segmentation step")
        classes = network.size.classes
        both, either = np.zeros(classes), np.zeros(classes)
        total = 0.0
        for start in range(0, len(self.rows), self.source.batch_size):
            rows = self.rows[start : start + self.source.batch_size]
            batch = {name: t.to(place) for name, t in self.source.take(rows).items()}
            total += float(step(batch)["loss"]) * len(rows)
            found = network(batch["volumes"]).argmax(dim=1).cpu().numpy()
            truth = batch["labels"].cpu().numpy()
            counted = truth != IGNORED
            for k in range(classes):
                mine, yours = (found == k) & counted, (truth == k) & counted
                both[k] += np.count_nonzero(mine & yours)
                either[k] += np.count_nonzero(mine | yours)
        overlap = both[1:] / np.maximum(either[1:], 1)
        return {"validation": total / len(self.rows), "iou": float(overlap.mean())}


def run_segment_train(config: SegmentTrainConfig, run: RunFolder) -> None:
    """Train a segmentation network from a selection.

    Raises
    ------
    InputError
        Not a finished selection.
    TrainingError
        The loss is not finite.
    """
    result = check_run(config.run, "autoencoder3d select")
    trained = read_trained(Path(result["training"]))
    selected = _selected(config, result, trained)
    synthesis = None
    if trained.account["tomograms"]:
        boxes, synthesis = tomogram_boxes(trained, selected, config.background, config.seed)
    else:
        boxes = particle_boxes(trained, selected, config.background, config.seed)
    if not config.synthesis:
        synthesis = None
    classes = int(selected.classes.max()) + 1
    if synthesis is not None:
        strengths = ", ".join(f"{m.kind}: {m.strength:.2f}" for m in synthesis.models)
        run.log(f"boxes are made up of averages, too; contrast of the classes: {strengths}")
    run.log(f"{len(selected.rows)} particles of {classes - 1} classes, {len(boxes.volumes)} boxes")
    size = SegmentSize(config.preset, classes, trained.boxes.shape[-1])
    network = build_segmentation(size, config.seed)
    fitted, held = _fit(config, run, network, boxes, synthesis)
    threshold = best_threshold(network.cpu(), boxes, held)
    run.add_value("threshold", threshold)
    run.log(f"a voxel belongs to something from a probability of {threshold:.2f}")
    n = trained.boxes.shape[-1]
    run.add_file("model", MODEL)
    save_network(
        run.path(MODEL),
        network,
        {
            "pixel_size_angstrom": trained.account["pixel_size_angstrom"],
            "box_px": n,
            "threshold": threshold,
            "volumes_px": {str(k): v for k, v in selected.volumes().items()},
        },
    )
    _report(run, fitted, selected)


def _selected(config: SegmentTrainConfig, result: dict[str, Any], trained: Trained) -> Selected:
    chosen = read_particles(config.run / result["star"], require_images=False)
    clustering = Path(result["clustering"])
    grouped = check_run(clustering, "autoencoder3d cluster")
    with np.load(clustering / grouped["groups"]) as stored:
        groups = {name: stored[name] for name in stored.files}
    place = {name: row for row, name in enumerate(trained.particles.names)}
    missing = next((name for name in chosen.names if name not in place), None)
    if missing is not None:
        raise InputError(
            f"{config.run}: found particle {missing} that is not in the training "
            f"{trained.folder}, expected its particles; select again"
        )
    rows = np.array([place[name] for name in chosen.names], dtype=np.int64)
    averages = [read_volume(clustering / name).data for name in grouped["averages"]]
    network, _ = load_autoencoder(trained.folder / "model.safetensors")
    return select_masks(
        trained,
        rows,
        chosen.classes,
        config.label_from,
        config.threshold,
        config.grow_px * trained.boxes.shape[-1] / _BOX_OF_GROWTH_PX,
        network=network,
        groups=groups,
        averages=averages,
    )


def split_blocks(blocks: NDArray[np.int64], seed: int) -> tuple[NDArray, NDArray]:
    """Return rows to learn from and rows held out: whole blocks, about a tenth."""
    names = np.random.default_rng(seed).permutation(np.unique(blocks))
    held: list[int] = []
    for name in names[:-1]:
        if np.isin(blocks, held).mean() >= _HELD_OUT:
            break
        held.append(int(name))
    out = np.isin(blocks, held)
    return np.flatnonzero(~out), np.flatnonzero(out)


def _fit(
    config: SegmentTrainConfig,
    run: RunFolder,
    network: SegmentationNetwork,
    boxes: Boxes,
    synthesis: Synthesis | None,
) -> tuple[FitResult, NDArray[np.int64]]:
    learned, held = split_blocks(boxes.blocks, config.seed)
    if len(held) == 0:
        held = learned
    batch_size = config.batch_size or DEFAULTS[config.preset].batch_size
    source = LabelledSource(boxes, learned, batch_size, config.seed, synthesis)
    counted = boxes.labels[learned]
    counts = np.bincount(counted[counted != IGNORED].ravel(), minlength=network.size.classes)
    step = SegmentationStep(network, class_weights(torch.from_numpy(counts)))
    settings = TrainingSettings(
        steps_per_epoch=source.steps_per_epoch,
        epochs=config.epochs or DEFAULTS[config.preset].epochs,
        learning_rate=config.learning_rate,
        optimizer="adam",
        weight_decay=0.0,
        schedule="constant" if config.preset == "paper" else "one-cycle",
        gradient_clip=1.0,
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        patience=config.patience,
        monitor="validation",
        keep_best=True,
        progress_span=(0.1, 0.98),
        signature={"preset": config.preset, "classes": network.size.classes},
    )
    count = sum(p.numel() for p in network.parameters())
    run.log(f"training {config.preset}: {settings.total_steps} steps, {count:,} parameters")
    validation = SegmentValidation(source, held)
    return fit(step, source, settings, run, resume=config.resume, validate=validation), held


@torch.inference_mode()
def best_threshold(network: SegmentationNetwork, boxes: Boxes, rows: NDArray[np.int64]) -> float:
    """Return the probability of being anything that fits the labels of some boxes best."""
    both, either = np.zeros(len(_THRESHOLDS)), np.zeros(len(_THRESHOLDS))
    network.eval()
    for row in rows:
        volume = torch.from_numpy(boxes.volumes[row].astype(np.float32))[None]
        anything = 1 - network(volume).softmax(dim=1)[0, 0].numpy()
        counted = boxes.labels[row] != IGNORED
        truth = boxes.labels[row][counted] > 0
        for k, threshold in enumerate(_THRESHOLDS):
            found = anything[counted] >= threshold
            both[k] += np.count_nonzero(found & truth)
            either[k] += np.count_nonzero(found | truth)
    return float(_THRESHOLDS[int((both / np.maximum(either, 1)).argmax())])


def _report(run: RunFolder, fitted: FitResult, selected: Selected) -> None:
    best = min(fitted.history, key=lambda epoch: epoch["validation"])
    run.add_value("iou", best["iou"])
    run.add_value("classes", [int(k) for k in np.unique(selected.classes)])
    run.report.fact("overlap with held-out labels", f"{best['iou']:.2f}")
    curves = {name: [e[name] for e in fitted.history] for name in ("loss", "validation", "iou")}
    run.report.figure(
        loss_curves(curves), "Losses, and overlap (IoU) with the labels that were held out."
    )
    run.report.distrust(
        "The labels come from averages or decoded volumes, not from a person: the overlap says how "
        "well the network repeats them, not how right they are."
    )
