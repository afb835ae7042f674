"""The loop itself, as it runs in each process."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cryodl.core.networks.layout import lay_out
from cryodl.core.training.averaging import WeightAverage
from cryodl.core.training.batches import Batch, BatchSource, Place, split, stream
from cryodl.core.training.checkpoint import (
    check_settings,
    read_newest,
    remove_checkpoints,
    remove_leftovers,
    write_checkpoint,
)
from cryodl.core.training.launch import OutOfDeviceMemory
from cryodl.core.training.memory import is_small, step_memory
from cryodl.core.training.optimizers import make_optimizer, set_learning_rate
from cryodl.core.training.precision import Precision
from cryodl.core.training.progress import Pace, best_epoch, duration, patience_is_over
from cryodl.core.training.reporting import Run
from cryodl.core.training.schedule import learning_rate_at
from cryodl.core.training.seeds import seed_torch
from cryodl.core.training.settings import TrainingSettings
from cryodl.core.training.weights import assign_weights, first_not_finite, save_weights
from cryodl.errors import DeviceError, TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

BEST = "best.safetensors"
Validate = Callable[[nn.Module, int], dict[str, float]]
_NOT_TERMS = frozenset({"epoch", "step", "learning_rate"})
_VALIDATION_STREAM = 2**31  # a counter that no micro-batch has


@dataclass(frozen=True)
class Job:
    """What every process needs; it travels to those that are started."""

    step_module: nn.Module
    source: BatchSource
    settings: TrainingSettings
    resume: bool
    parts: int
    validate: Validate | None


class Trainer:
    """One process's part in a training; the state of the run is its attributes.

    Attributes
    ----------
    step
        Optimiser steps made.
    sums, counted
        Sum of each loss over the steps of the epoch so far, on the host in float64, added
        step by step: the same however often the loop looked in between.
    history
        The metrics of each finished epoch.
    """

    def __init__(self, fabric: Fabric, run: Run, job: Job, folder: Path) -> None:
        self.fabric = fabric
        self.run = run
        self.settings = job.settings
        self.source = job.source
        self.parts = job.parts
        self.validate = job.validate
        self.folder = folder
        self.place = Place(fabric.global_rank, fabric.world_size, fabric.device)
        self.first = fabric.global_rank == 0
        self.core = self._prepared(job.step_module)
        self.module: nn.Module = fabric.setup_module(self.core)
        self.optimizer = make_optimizer(self.core, self.settings)
        self.precision = Precision(self.settings.precision, fabric.device.type)
        decay = self.settings.ema_decay
        self.average = None if decay is None else WeightAverage(self.core, decay)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.names: list[str] = []
        self.sums: list[float] = []
        self.counted = 0
        self._waiting: list[Tensor] = []
        self._start(job.resume)

    def train(self) -> dict[str, Any]:
        """Train to the end and return the fields of a `FitResult`."""
        settings = self.settings
        while not self._finished():
            self._epoch()
        self.fabric.barrier()  # nobody reads the checkpoint before it is written
        if self.first:
            self.run.progress(settings.progress_span[1], self._note())
        return {
            "history": self.history,
            "epochs": len(self.history),
            "steps": self.step,
            "stopped_early": self.step < settings.total_steps,
        }

    # --- start ---------------------------------------------------------------------------

    def _prepared(self, step_module: nn.Module) -> nn.Module:
        step_module.train()
        lay_out(step_module, self.place.device.type, self.settings.precision)
        if self.place.world_size > 1:
            # What was sent to several processes on one machine shares its memory.
            for tensor in (*step_module.parameters(), *step_module.buffers()):
                tensor.data = tensor.data.clone()
        if self.place.world_size > 1 and self.place.device.type == "cuda":
            step_module = nn.SyncBatchNorm.convert_sync_batchnorm(step_module)
        if self.settings.compile:
            step_module.compile()
        return step_module

    def _start(self, resume: bool) -> None:
        if resume:
            self._restore()
        elif self.first:
            remove_checkpoints(self.folder)
            (self.folder / BEST).unlink(missing_ok=True)
        self.pace = Pace(self.step, self.settings)
        self.fabric.barrier()  # all have read before the first may write
        if self.first:
            remove_leftovers(self.folder)
            if resume and not self._finished():
                # A finished run has nothing to repeat, and a later phase may have gone on.
                self.run.metrics_truncate(self.settings.first_step + self.step)
            if self.step == 0:
                self._save()  # to begin again after a failure, and to learn of a full disk now
            self.run.log(self._opening())
            if not self._finished():
                self._say_memory()

    def _restore(self) -> None:
        newest = read_newest(self.folder)
        if newest is None:
            return
        state, path = newest
        check_settings(state, self.settings.fixed(), path)
        assign_weights(self.core, state["weights"], str(path))
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        self.step = state["step"]
        self.history = state["history"]
        self.names, self.sums, self.counted = state["names"], state["sums"], state["counted"]
        if self.first and self.step:
            self.run.log(f"Resumed from {path.name} at {self._note()}")
            if state["world_size"] != self.place.world_size:
                self.run.log(
                    f"Warning: {state['world_size']} processes before and "
                    f"{self.place.world_size} now; the result will differ a little"
                )

    def _opening(self) -> str:
        settings, place = self.settings, self.place
        weights = sum(p.numel() for p in self.core.parameters() if p.requires_grad)
        name = f"Training {settings.phase}".strip()
        return (
            f"{name}: {weights:,} weights, {settings.epochs} epochs of "
            f"{settings.steps_per_epoch} steps, {place.world_size} x {place.device.type}, "
            f"{torch.get_num_threads()} threads, precision {settings.precision}"
        )

    def _say_memory(self) -> None:
        """Tell what a step will need, before it is made."""
        batch = self.source.batch(self.step, 0, self.place.rank, self.place.world_size)
        piece = split(batch, self.parts)[0][0]
        if self.settings.compile or is_small(self.core, piece):
            return
        averaged = self.average is not None
        found = step_memory(self.core, piece, self.precision, is_averaged=averaged)
        items = max((t.shape[0] for t in piece.values() if t.ndim), default=1)
        room = ""
        if self.place.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.place.device)[0] / 2**30
            room = f"; {free:.1f} GB are free on the GPU"
        self.run.log(f"Memory: {found.words(items)}{room}")

    # --- one epoch -------------------------------------------------------------------------

    def _finished(self) -> bool:
        settings = self.settings
        return self.step >= settings.total_steps or patience_is_over(self.history, settings)

    def _epoch(self) -> None:
        settings = self.settings
        last = (self.step // settings.steps_per_epoch + 1) * settings.steps_per_epoch
        batches = stream(
            self.source, self.place, range(self.step, last), settings.accumulate, settings.prefetch
        )
        with contextlib.closing(batches):  # type: ignore[type-var]
            while self.step < last:
                self._optimise(batches)
                if self.step < last and self.step >= self.pace.next_look:
                    self._look()
        self._collect()
        self._end_epoch()

    def _optimise(self, batches: Iterator[Batch]) -> None:
        """Make one optimiser step; nothing here waits for the device."""
        settings = self.settings
        set_learning_rate(self.optimizer, self.step, settings)
        self.optimizer.zero_grad(set_to_none=True)
        total: Tensor | None = None
        for micro in range(settings.accumulate):
            pieces = split(next(batches), self.parts)
            seed_torch(settings.seed, self.step, micro, self.place.rank)
            for index, (piece, share) in enumerate(pieces):
                last = micro == settings.accumulate - 1 and index == len(pieces) - 1
                losses = self._backward(piece, share / settings.accumulate, last)
                total = losses if total is None else total + losses
        if settings.gradient_clip is not None:
            self.precision.unscale(self.optimizer)
            nn.utils.clip_grad_norm_(self.core.parameters(), settings.gradient_clip)
        self.precision.step(self.optimizer)
        if self.average is not None:
            self.average.update(self.step)
        if total is not None:
            self._waiting.append(total)
        self.step += 1

    def _backward(self, piece: Batch, weight: float, last: bool) -> Tensor:
        """Add the gradient of one pass and return its weighted losses, (n,) on the device."""
        hold_back = self.place.world_size > 1 and not last
        with self.fabric.no_backward_sync(self.module, enabled=hold_back):  # type: ignore[arg-type]
            with self.precision.autocast():
                losses: dict[str, Tensor] = self.module(piece)
            if not self.names:
                self.names = ["loss", *sorted(set(losses) - {"loss"})]
                self.sums = [0.0] * len(self.names)
            self.fabric.backward(self.precision.scaled(losses["loss"] * weight))
        return torch.stack([losses[name].detach().float() for name in self.names]) * weight

    # --- looking after it ------------------------------------------------------------------

    def _look(self) -> None:
        """Within an epoch: read the losses, report, write a checkpoint if it is time."""
        self._collect()
        window, save = self.fabric.broadcast(self.pace.look(self.step))
        self.pace.next_look = self.step + window
        if not self.first:
            return
        self.run.progress(self.pace.fraction(self.step), self._note())
        if self.pace.should_log():
            mean = self.sums[0] / max(1, self.counted)
            self.run.log(f"{self._note()}: loss {mean:.5g} so far, {self._time_left()}")
        if save:
            self._save()

    def _collect(self) -> None:
        """Bring the losses of the latest steps to the host: the one place that waits."""
        if not self._waiting:
            return
        values = torch.stack(self._waiting)
        self._waiting = []
        if self.place.world_size > 1:
            values = self.fabric.all_reduce(values, reduce_op="mean")  # type: ignore[assignment]
        for row in values.double().cpu().tolist():
            for index, value in enumerate(row):
                if not math.isfinite(value):
                    self._refuse(f"{self.names[index]} {value}")
                self.sums[index] += value
            self.counted += 1

    def _end_epoch(self) -> None:
        settings = self.settings
        epoch = len(self.history) + 1
        line: dict[str, float] = {"epoch": epoch, "step": settings.first_step + self.step}
        means = [total / self.counted for total in self.sums]
        line.update(zip(self.names, means, strict=True))
        line["learning_rate"] = learning_rate_at(self.step - 1, settings)
        line.update(self._validated(epoch))
        self.history.append(line)
        self.sums, self.counted = [0.0] * len(self.names), 0
        if not self.first:
            return
        # Metrics before the checkpoint: what a kill in between leaves over is dropped on resume.
        phase = {"phase": settings.phase} if settings.phase else {}
        self.run.metrics(**phase, **line)
        if settings.keep_best and best_epoch(self.history, settings) == epoch:
            with self._result_weights():
                save_weights(self.folder / BEST, self.core, {"epoch": epoch})
        self._save()
        terms = ", ".join(f"{name} {line[name]:.5g}" for name in line if name not in _NOT_TERMS)
        self.run.log(f"{self._note()}: {terms}, {self._time_left()}")
        self.run.progress(self.pace.fraction(self.step), self._note())
        self.pace.logged()

    def _validated(self, epoch: int) -> dict[str, float]:
        if self.validate is None:
            return {}
        seed_torch(self.settings.seed, self.step, _VALIDATION_STREAM)
        self.core.eval()
        with self._result_weights(), torch.no_grad(), self.precision.autocast():
            found = {k: float(v) for k, v in self.validate(self.core, epoch).items()}
        self.core.train()
        return self.fabric.broadcast(found)

    def _result_weights(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def _save(self) -> None:
        weights = {n: t.detach().cpu() for n, t in self.core.state_dict().items()}
        broken = first_not_finite(weights)
        if broken is not None:
            self._refuse(f"weights {broken}")
        state = {
            "fixed": self.settings.fixed(),
            "world_size": self.place.world_size,
            "versions": {"torch": str(torch.__version__)},
            "weights": weights,
            "ema": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.state_dict(),
            "step": self.step,
            "epoch": len(self.history),
            "history": self.history,
            "names": self.names,
            "sums": self.sums,
            "counted": self.counted,
        }
        write_checkpoint(self.folder, state)
        self.pace.saved()

    # --- words -----------------------------------------------------------------------------

    def _note(self) -> str:
        settings = self.settings
        done, rest = divmod(self.step, settings.steps_per_epoch)
        place = f"epoch {done}/{settings.epochs}"
        if rest:
            place = f"epoch {done + 1}/{settings.epochs}, step {rest}/{settings.steps_per_epoch}"
        return f"{settings.phase} {place}".strip()

    def _time_left(self) -> str:
        return f"{duration(self.pace.seconds_left(self.step))} left"

    def _refuse(self, what: str) -> None:
        half = " or --precision bf16" if self.settings.precision == "16" else ""
        raise TrainingError(
            f"training: found {what} near step {self.step}, expected finite numbers; check the "
            f"input for outliers, or use a smaller learning rate than "
            f"{self.settings.learning_rate:g}{half}"
        )


def explained(error: RuntimeError) -> Exception:
    """Return what to raise in place of an error of torch: ours, if there is an answer to it."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return OutOfDeviceMemory(reason)
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return DeviceError(
            f"--compile: found that torch.compile does not work here ({reason}), expected a C++ "
            "compiler and triton; run without --compile"
        )
    return error
