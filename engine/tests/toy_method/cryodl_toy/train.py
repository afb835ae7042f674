"""The work of ``cryodl toy train``."""

from __future__ import annotations

import numpy as np
import torch

from cryodl.core.run.figures import central_slices, loss_curves
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.loop import fit
from cryodl.core.training.seeds import seed_torch
from cryodl.core.training.settings import TrainingSettings
from cryodl.core.training.weights import save_weights
from cryodl.core.volumes.normalize import standardise
from cryodl_toy.config import TrainConfig
from cryodl_toy.data import CropSource
from cryodl_toy.inputs import check_half_maps
from cryodl_toy.losses import FilterStep
from cryodl_toy.model import build_filter

_STEPS_OF_AN_EPOCH = 10


def run_train(config: TrainConfig, run: RunFolder) -> None:
    """Learn the filter, write it and the filtered mean of the half maps.

    Raises
    ------
    InputError
        Half maps that cannot be used.
    """
    first, second = check_half_maps(config)
    halves = np.stack([standardise(first.data), standardise(second.data)])
    seed_torch(config.seed)
    network = build_filter()
    settings = TrainingSettings(
        steps_per_epoch=_STEPS_OF_AN_EPOCH,
        epochs=-(-config.steps // _STEPS_OF_AN_EPOCH),
        learning_rate=1e-2,
        devices=config.devices,
        launcher=config.launcher,
        precision=config.precision,
        seed=config.seed,
    )
    source = CropSource(halves, config.crop_px, config.batch_size, config.seed)
    result = fit(FilterStep(network), source, settings, run, resume=config.resume)
    run.add_file("model", "model.safetensors")
    save_weights(run.path("model.safetensors"), network, {"method": "toy"})
    with torch.inference_mode():
        mean = torch.from_numpy(halves.mean(axis=0))[None, None]
        filtered = network(mean)[0, 0].numpy()
    run.write_map("map", "filtered.mrc", filtered, like=first)
    run.add_value("loss", result.history[-1]["loss"])
    run.report.figure(central_slices({"filtered": filtered}), "The filtered map.")
    run.report.figure(loss_curves({"loss": [line["loss"] for line in result.history]}), "Loss.")
    run.report.distrust("A filter: it adds nothing that was not measured.")
