"""The work of ``cryodl cet-pick train``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.training.loop import FitResult, fit
from cryodl.core.training.settings import TrainingSettings
from cryodl.errors import InputError
from cryodl.methods.cet_pick.calibration import Calibration
from cryodl.methods.cet_pick.config import TrainConfig
from cryodl.methods.cet_pick.data import CropShape, CropSource, LabelledTomogram
from cryodl.methods.cet_pick.held_out import (
    HeldOut,
    Validation,
    calibrate_kinds,
    split_labels,
)
from cryodl.methods.cet_pick.inputs import (
    CheckedTomogram,
    named_points,
    named_tomograms,
    open_labelled,
)
from cryodl.methods.cet_pick.labels import LabelShape, label_shape
from cryodl.methods.cet_pick.losses import Contrast
from cryodl.methods.cet_pick.model import NetworkSize, PickingNetwork, build_network, save_network
from cryodl.methods.cet_pick.step import LossSettings, PickingStep
from cryodl.methods.cet_pick.tomogram import Preparation
from cryodl.methods.cet_pick.train_report import report_training

_EPOCHS = 2  # validations of a training whose length is given in steps
_GUESSED_THRESHOLD = 0.5


@dataclass(frozen=True)
class Preset:
    """A network and how long it is trained."""

    size: NetworkSize
    steps: int


PRESETS = {
    "cpu": Preset(NetworkSize("unet_3", width=16, head_width=16, embedding=16), 130),
    "unet_4": Preset(NetworkSize("unet_4"), 600),
    "unet_5": Preset(NetworkSize("unet_5"), 600),
    "ressmall_18": Preset(NetworkSize("ressmall_18"), 600),
}


def run_train(config: TrainConfig, run: RunFolder) -> None:
    """Train a picker and write its model.

    Raises
    ------
    InputError
        Tomograms or labels that cannot be right.
    TrainingError
        The loss is not finite.
    """
    checked = _inputs(config, run)
    kinds = sorted({kind for entry in checked for kind in entry.kinds})
    size = replace(PRESETS[config.preset].size, kinds=len(kinds))
    label = label_shape(config.bbox, _sigma_px(config, checked))
    crop = CropShape(config.crop_slices, config.crop_px, max(4, config.crop_px // 6), 1)
    training, held = split_labels(checked, kinds, config.val_fraction, config.crop_px)
    _say_labels(run, checked, held, label)
    source = CropSource(training, crop, label, config.batch_size, config.seed)
    network = _started(build_network(size, config.seed), config.seed)
    result = _fit(network, source, held, config, run, training)
    calibrations = _calibrated(network, held, config, run)
    _write(config, run, network, checked, kinds, calibrations)
    report_training(config, run, checked, kinds, result, calibrations)


def _inputs(config: TrainConfig, run: RunFolder) -> list[CheckedTomogram]:
    tomograms = named_tomograms(config.tomograms)
    points = named_points(config.coordinates, tomograms)
    checked = open_labelled(
        tomograms,
        points,
        order=config.order,
        preparation=Preparation(config.compress, config.gauss, quantise=config.quantise),
        contrast=config.contrast,
        bbox_px=config.bbox,
        pixel_size_angstrom=config.pixel_size,
        coordinate_pixel_size_angstrom=config.coordinate_pixel_size,
        log=run.log,
    )
    total = sum(len(entry.kinds) for entry in checked)
    if total < 2:
        raise InputError(
            f"--coordinates: found {total} labelled particles, expected at least 2 and better 20; "
            "label more"
        )
    for entry in checked:
        size = entry.tomogram.volume.data.shape
        if config.bbox > min(size):
            raise InputError(
                f"--bbox: found {config.bbox:g} px for {entry.tomogram.path} of "
                f"{'x'.join(map(str, size[::-1]))} voxels, expected a particle that fits into it; "
                "give its diameter in voxels of this tomogram"
            )
        depth, height, width = entry.tomogram.shape
        if depth < config.crop_slices or min(height, width) < config.crop_px:
            raise InputError(
                f"{entry.tomogram.path}: found {depth} working slices of {width}x{height} px, "
                f"expected at least {config.crop_slices} of {config.crop_px}; give smaller "
                "--crop-px and --crop-slices"
            )
    return checked


def _sigma_px(config: TrainConfig, checked: list[CheckedTomogram]) -> float | None:
    if config.label_sigma is None:
        return None
    return config.label_sigma / checked[0].tomogram.pixel_size_angstrom


def _say_labels(
    run: RunFolder, checked: list[CheckedTomogram], held: list[HeldOut], label: LabelShape
) -> None:
    counted = Counter(kind for entry in checked for kind in entry.kinds)
    apart = sum(len(points) for part in held for points in part.points_xyz)
    for kind, count in sorted(counted.items()):
        run.log(f"{kind}: {count} labels")
    run.log(
        f"{apart} labels are held out to choose the threshold; labels have a sigma of "
        f"{label.sigma_px:.2f} px"
    )


def _started(network: PickingNetwork, seed: int) -> PickingNetwork:
    """Give the head a usual start: the published one, close to zero, needs thousands of steps."""
    generator = torch.Generator().manual_seed(seed)
    for module in [*network.head.modules(), network.heat_map, network.projection]:
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    with torch.no_grad():
        network.heat_map.weight *= 0.1
    return network


def loss_settings(config: TrainConfig) -> LossSettings:
    """Return weights and options of the losses."""
    return LossSettings(
        prior=config.tau,
        emphasis=config.emphasis,
        contrast_weight=config.cr_weight,
        consistency_weight=config.consistency,
        contrast=Contrast(config.temp, config.tau, config.thresh, config.anchors),
        fully_labelled=config.fully_labelled,
    )


def training_settings(config: TrainConfig, labels: int, validated: bool) -> TrainingSettings:
    """Return the settings of the training loop."""
    if config.num_epochs is not None:
        steps = max(1, round(config.num_epochs * labels / -(-config.batch_size // 2)))
    else:
        steps = config.steps or PRESETS[config.preset].steps
    epochs = min(_EPOCHS if config.patience is None else 4 * config.patience, steps)
    return TrainingSettings(
        steps_per_epoch=-(-steps // epochs),
        epochs=epochs,
        learning_rate=config.learning_rate,
        schedule="one-cycle",
        gradient_clip=1.0,
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        patience=config.patience if validated else None,
        keep_best=config.patience is not None and validated,
        monitor="expected_error" if validated else "loss",
        progress_span=(0.02, 0.95),
        signature={"preset": config.preset, "bbox": config.bbox},
    )


def _fit(
    network: PickingNetwork,
    source: CropSource,
    held: list[HeldOut],
    config: TrainConfig,
    run: RunFolder,
    training: list[LabelledTomogram],
) -> FitResult:
    labels = sum(len(centres) for entry in training for centres in entry.centres_zyx)
    settings = training_settings(config, labels, bool(held))
    run.log(
        f"training {config.preset}: {settings.total_steps} steps of {config.batch_size} crops, "
        f"{sum(p.numel() for p in network.parameters()):,} parameters"
    )
    validate = Validation(held, config.bbox, config.fully_labelled) if held else None
    step = PickingStep(network, loss_settings(config))
    return fit(step, source, settings, run, resume=config.resume, validate=validate)


def _calibrated(
    network: PickingNetwork, held: list[HeldOut], config: TrainConfig, run: RunFolder
) -> list[Calibration]:
    if not held:
        run.log("no labels were held out: the threshold of 0.5 is a guess")
        guess = Calibration(_GUESSED_THRESHOLD, np.nan, np.nan, np.nan, 0.0, 0, [0, 1], [0, 1])
        return [replace(guess, recall=0.0, precision=0.0, f1=0.0)] * network.size.kinds
    device = torch.device(choose_devices(config.devices).torch_device())
    found = calibrate_kinds(
        network, held, config.bbox, device, config.fully_labelled, with_control=True
    )
    network.to("cpu")
    return found


def _write(
    config: TrainConfig,
    run: RunFolder,
    network: PickingNetwork,
    checked: list[CheckedTomogram],
    kinds: list[str],
    calibrations: list[Calibration],
) -> None:
    first = checked[0].tomogram
    description: dict[str, Any] = {
        "kinds": kinds,
        "bbox_px": config.bbox,
        "pixel_size_angstrom": first.pixel_size_angstrom,
        "preparation": asdict(first.preparation),
        "skew": float(np.mean([entry.tomogram.statistics.skew for entry in checked])),
        "calibration": [c.as_dict() for c in calibrations],
    }
    run.add_file("model", "model.safetensors")
    save_network(run.path("model.safetensors"), network, description)
    run.add_value("threshold", calibrations[0].threshold)
    run.add_value("thresholds", dict(zip(kinds, (c.threshold for c in calibrations), strict=True)))
    run.add_value(
        "validation",
        {
            kind: {
                "recall": c.recall,
                "precision": c.precision,
                "f1": c.f1,
                "held_out": c.held_out,
                "particles": c.particles,
            }
            for kind, c in zip(kinds, calibrations, strict=True)
        },
    )


def model_path(path: Path) -> Path:
    """Return the model file of a run given by its folder, or the file itself."""
    return path / "model.safetensors" if path.is_dir() else path
