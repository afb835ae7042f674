"""Training: `fit` runs a step over a source of batches and leaves the result in the step.

The step is a module whose ``forward(batch)`` returns named scalar losses, ``"loss"`` being the
one that is minimised; whatever passes of whatever networks it makes are inside it, so that
several processes wrap one module. The source gives batches as a function of counters. Hence a
run is determined by its settings, and one that was killed and resumed ends as if it had not been.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cryodl.core.training.batches import BatchSource
from cryodl.core.training.checkpoint import LAST, read_newest
from cryodl.core.training.launch import (
    OutOfDeviceMemory,
    launch,
    local_devices,
    process_rank,
)
from cryodl.core.training.reporting import Run
from cryodl.core.training.settings import TrainingSettings
from cryodl.core.training.trainer import BEST, Job, Trainer, Validate, explained
from cryodl.core.training.weights import assign_weights, load_weights
from cryodl.errors import DeviceError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FitResult", "Run", "TrainingSettings", "fit"]


@dataclass(frozen=True)
class FitResult:
    """What came of a training.

    Attributes
    ----------
    history
        One dictionary per epoch: ``epoch`` (from 1), ``step``, ``learning_rate``, the mean of
        each loss, and what the validation returned.
    checkpoint
        The last checkpoint; None if nothing was to be trained.
    epochs, steps
        How many were made in all, earlier runs included.
    stopped_early
        Whether patience ran out.
    seconds
        Time spent in this call.
    """

    history: list[dict[str, float]]
    checkpoint: Path | None
    epochs: int
    steps: int
    stopped_early: bool
    seconds: float


def fit(
    step_module: nn.Module,
    source: BatchSource,
    settings: TrainingSettings,
    run: Run,
    resume: bool = False,
    validate: Validate | None = None,
) -> FitResult:
    """Train, and leave the resulting weights in `step_module`, on the host, in evaluation mode.

    The result is the last epoch's weights, their running mean with `settings.ema_decay`, or
    the best epoch's with `settings.keep_best`. When a device runs out of memory the
    micro-batches are halved (and their gradients added up), and training goes on.

    Parameters
    ----------
    step_module
        ``forward(batch) -> dict`` of scalar losses with the key ``"loss"``. It may have
        ``parameter_groups()``, see `cryodl.core.training.optimizers`.
    source
        See `cryodl.core.training.batches.BatchSource`.
    settings
        See `TrainingSettings`.
    run
        The run folder; checkpoints go to its ``checkpoints``.
    resume
        Go on from the newest checkpoint if there is one.
    validate
        ``validate(step_module, epoch)`` is called after each epoch, without gradients, in
        evaluation mode, with the averaged weights if there are any, in every process; the
        numbers returned by the first join the metrics. Must be picklable for several processes.

    Returns
    -------
    FitResult

    Raises
    ------
    TrainingError
        The loss is not finite.
    CheckpointError
        The checkpoint is damaged, or of other settings.
    DeviceError
        A device is absent, or too small for a single item.
    """
    started = time.monotonic()
    if settings.epochs == 0:
        step_module.eval()
        return FitResult([], None, 0, 0, False, 0.0)
    devices = local_devices(settings.devices, settings.launcher)
    if devices.note and process_rank(settings.launcher) == 0:
        run.log(f"Devices: {devices.kind}, {devices.note}")
    parts = 1
    while True:
        job = Job(step_module, source, settings, resume, parts, validate)
        try:
            outcome = launch(_train, devices, settings.launcher, run, job)
            break
        except OutOfDeviceMemory as error:
            parts, resume = _halved(parts, error, run), True
        _free_device_memory()
    folder = checkpoint_folder(run, settings)
    _take_result(step_module, folder, settings)
    return FitResult(checkpoint=folder / LAST, seconds=time.monotonic() - started, **outcome)


def checkpoint_folder(run: Run, settings: TrainingSettings) -> Path:
    """Return where the checkpoints of a training are."""
    return Path(run.folder) / "checkpoints" / settings.phase


def _train(fabric: Fabric, run: Run, job: Job) -> dict[str, Any]:
    """Train in one of the processes."""
    try:
        return Trainer(fabric, run, job, checkpoint_folder(run, job.settings)).train()
    except RuntimeError as error:
        answer = explained(error)
        if answer is error:
            raise
        raise answer from error


def _halved(parts: int, error: OutOfDeviceMemory, run: Run) -> int:
    if not error.retry:
        raise DeviceError(
            f"micro-batch: found too little device memory ({error}), expected room for one; "
            "use smaller micro-batches and more of them, and resume"
        ) from error
    run.log(
        f"The device is out of memory: micro-batches are now computed in {2 * parts} parts, "
        "with the same result but slower"
    )
    return 2 * parts


def _free_device_memory() -> None:
    # The failed attempt is held by its own traceback until the collector finds the ring.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _take_result(step_module: nn.Module, folder: Path, settings: TrainingSettings) -> None:
    """Load what was trained, perhaps in other processes, into the caller's module."""
    step_module.to("cpu").eval()
    if settings.keep_best and (folder / BEST).exists():
        load_weights(folder / BEST, step_module)
        return
    newest = read_newest(folder)
    if newest is not None:
        state, path = newest
        assign_weights(step_module, {**state["weights"], **(state["ema"] or {})}, str(path))
