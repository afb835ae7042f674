"""How the network of spIsoNet is trained: schedule, steps and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from cryodl.core.training.batches import BatchSource
from cryodl.core.training.launch import local_devices
from cryodl.core.training.loop import FitResult, fit
from cryodl.core.training.settings import TrainingSettings

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder
    from cryodl.methods.spisonet.config import CorrectConfig

# 60 steps of 4 cubes of 64 with 16 channels, times ten.
_CPU_WORK = 10 * 60 * 4 * 16**2 * 64**3
_LARGEST_STEPS_PER_EPOCH = 1000  # as published
_PUBLISHED_LEARNING_RATE = 3e-4
# Found with 60 steps of the 16-channel network; scaled to longer trainings and wider networks.
_LEARNING_RATE, _LEARNING_STEPS, _LEARNING_WIDTH = 4e-3, 60, 16


def train_network(
    step_module: nn.Module,
    source: BatchSource,
    config: CorrectConfig,
    run: RunFolder,
    *,
    phase: str,
    span: tuple[float, float],
    first_step: int = 0,
) -> FitResult:
    """Train `step_module` on `source` as `config` says; its network then holds the result.

    Parameters
    ----------
    phase
        Name of this training among those of the run.
    span
        Part of the run's progress that this training is.
    first_step
        Step that the metrics count from.
    """
    settings = training_settings(config, phase=phase, span=span, first_step=first_step)
    run.log(
        f"training {phase or 'network'}: {settings.total_steps} steps of "
        f"{config.batch_size} cubes, "
        f"learning rate {settings.learning_rate:.2g}"
    )
    if _slow_on_cpu(settings, config):
        run.log(
            "this takes long without a GPU; --width 16 --cube-size 32 --epochs 6 --n-subvolume 40 "
            "gives most of the gain in minutes"
        )
    return fit(step_module, source, settings, run, resume=config.resume)


def _slow_on_cpu(settings: TrainingSettings, config: CorrectConfig) -> bool:
    """Tell whether a training without a GPU would last for hours."""
    on_cpu = local_devices(config.devices, config.launcher).kind == "cpu"
    work = settings.total_steps * config.batch_size * int(config.width) ** 2
    return on_cpu and work * config.cube_size**3 > _CPU_WORK


def training_settings(
    config: CorrectConfig, *, phase: str, span: tuple[float, float], first_step: int = 0
) -> TrainingSettings:
    """Return the settings of the training loop."""
    steps = max(1, min(_LARGEST_STEPS_PER_EPOCH, config.n_subvolume // config.batch_size))
    total = steps * config.epochs
    published = config.method == "published"
    schedule = config.schedule
    if schedule == "auto":
        schedule = "constant" if published else "cosine"
    return TrainingSettings(
        steps_per_epoch=steps,
        epochs=config.epochs,
        accumulate=config.acc_batches,
        learning_rate=config.learning_rate or default_learning_rate(total, config),
        schedule=schedule,
        warmup_steps=total // 10 if schedule == "cosine" else 0,
        gradient_clip=None if published else 1.0,
        ema_decay=None if published else averaging_decay(total),
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        patience=config.patience,
        compile=config.compile,
        phase=phase,
        first_step=first_step,
        progress_span=span,
        signature={"method": config.method, "width": config.width, "norm": config.norm},
        prefetch=0,
    )


def default_learning_rate(total_steps: int, config: CorrectConfig) -> float:
    """Return the learning rate for a training of so many steps.

    Falls with the square root of steps and width, between 4e-3 and the published 3e-4.
    """
    if config.method == "published":
        return _PUBLISHED_LEARNING_RATE
    ratio = _LEARNING_STEPS * _LEARNING_WIDTH / (max(1, total_steps) * int(config.width))
    return float(min(_LEARNING_RATE, max(_PUBLISHED_LEARNING_RATE, _LEARNING_RATE * ratio**0.5)))


def averaging_decay(total_steps: int) -> float:
    """Return the decay of the running mean of weights: it spans about a sixth of the training."""
    return min(0.999, max(0.9, 1 - 6 / max(1, total_steps)))
