"""A training step as our loop makes it, beside the plainest loop and beside the floor."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cryodl.core.benchmark.ceilings import Ceilings, Floors, floors_of
from cryodl.core.benchmark.clock import Clock, device_memory_gib, host_memory_gib
from cryodl.core.benchmark.ledger import Ledger
from cryodl.core.training.batches import Batch, BatchSource
from cryodl.core.training.loop import fit
from cryodl.core.training.optimizers import make_optimizer
from cryodl.core.training.reporting import SilentRun
from cryodl.core.training.seeds import seed_torch
from cryodl.core.training.settings import TrainingSettings


@dataclass(frozen=True)
class StepTimes:
    """What was measured of one training step; seconds are the best of the repeats.

    Attributes
    ----------
    particles : int
        Items of a batch.
    ours, plain, data : float
        A step of our loop with its data; of the plain loop in float32; making a batch.
    floors : Floors
        Of the kernels of our step.
    flops : dict
        Operations of a step by family.
    host_gib, device_gib : float, float or None
        Largest memory of the process, and on the GPU.
    """

    particles: int
    ours: float
    plain: float
    data: float
    floors: Floors
    flops: dict[str, float]
    host_gib: float
    device_gib: float | None

    @property
    def over_floor(self) -> float:
        """How many times longer a step takes than its dominating kernels alone."""
        return self.ours / self.floors.alone[self.floors.dominating]

    @property
    def share_of_ceiling(self) -> float:
        """Which part of a step the dominating kernels would take at the ceiling."""
        return self.floors.counted[self.floors.dominating] / self.ours


class _Stamped:
    """Notes when a training begins with its first batch."""

    def __init__(self, source: BatchSource, clock: Clock) -> None:
        self._source, self._clock = source, clock
        self.began = math.nan

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return a batch of the source."""
        if step == 0 and micro == 0:
            # The first time it is looked at for the memory it will take.
            self.began = self._clock.now()
        return self._source.batch(step, micro, rank, world_size)


def time_step(
    step: nn.Module,
    source: BatchSource,
    settings: TrainingSettings,
    ceilings: Ceilings,
    clock: Clock,
    folder: Path,
    repeats: int,
) -> StepTimes:
    """Measure a training step: loops take turns, so that a slower minute slows all alike.

    Parameters
    ----------
    step, source
        As for `cryodl.core.training.loop.fit`.
    settings
        Of a training of ``steps_per_epoch`` steps: so many are timed together.
    ceilings
        Of the device in the precision of the settings.
    clock
        Of the device.
    folder
        Where checkpoints may be written.
    repeats
        How often each is timed after a first time that does not count.
    """
    plain_step = copy.deepcopy(step).to(clock.device)
    count = settings.steps_per_epoch
    ours, plain = [], []
    for repeat in range(repeats + 1):
        ours.append(_time_ours(step, source, settings, clock, folder))
        if repeat == 0:
            host, device = host_memory_gib(), device_memory_gib(clock.device)
        plain.append(_time_plain(plain_step, source, settings, clock))
    data = clock.best(lambda: source.batch(0, 0, 0, 1), repeats)
    ledger = _counted(step.to(clock.device), source, settings, clock.device)
    return StepTimes(
        particles=max(t.shape[0] for t in source.batch(0, 0, 0, 1).values() if t.ndim),
        ours=min(ours[1:]) / count,
        plain=min(plain[1:]) / count,
        data=data,
        floors=floors_of(ledger, ceilings, clock),
        flops={family: ledger.flops(family) for family in ("convolution", "product", "transform")},
        host_gib=host,
        device_gib=device,
    )


def _time_ours(
    step: nn.Module, source: BatchSource, settings: TrainingSettings, clock: Clock, folder: Path
) -> float:
    stamped = _Stamped(source, clock)
    ended = math.nan

    def note_the_end(trained: nn.Module, epoch: int) -> dict[str, float]:
        nonlocal ended
        ended = clock.now()
        return {}

    fit(step, stamped, settings, SilentRun(folder), validate=note_the_end)
    return ended - stamped.began


def _time_plain(
    step: nn.Module, source: BatchSource, settings: TrainingSettings, clock: Clock
) -> float:
    """Time the loop that anybody would write: float32, one thing after the other."""
    step.train()
    optimizer = make_optimizer(step, settings)
    began = clock.now()
    for number in range(settings.steps_per_epoch):
        batch = source.batch(number, 0, 0, 1)
        batch = {name: tensor.to(clock.device) for name, tensor in batch.items()}
        optimizer.zero_grad()
        loss = step(batch)["loss"]
        loss.backward()
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(step.parameters(), settings.gradient_clip)
        optimizer.step()
        loss.item()
    return clock.now() - began


def _counted(
    step: nn.Module, source: BatchSource, settings: TrainingSettings, device: torch.device
) -> Ledger:
    """Count one forward and backward pass in the precision of the settings."""
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(settings.precision)
    batch = {name: t.to(device) for name, t in source.batch(0, 0, 0, 1).items()}
    step.train()
    seed_torch(settings.seed, 0, 0, 0)
    with Ledger() as ledger:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = step(batch)["loss"]
        loss.backward()
    return ledger
