"""What a training run is told: one frozen set of numbers, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryodl.errors import ConfigError

OPTIMIZERS = ("adamw", "adam")
SCHEDULES = ("constant", "cosine", "one-cycle")
PRECISIONS = ("32", "bf16", "16")
LAUNCHERS = ("local", "torchrun", "slurm")
# Free to change when a run is resumed: they say where and how often, not what is computed.
_FREE_ON_RESUME = frozenset(
    {
        "epochs",
        "patience",
        "devices",
        "launcher",
        "compile",
        "checkpoint_seconds",
        "log_seconds",
        "progress_span",
        "prefetch",
    }
)


@dataclass(frozen=True)
class TrainingSettings:
    """Everything the loop needs to know beside the step and its data.

    Attributes
    ----------
    steps_per_epoch, epochs
        Optimiser steps per epoch, and epochs (0: nothing is trained).
    accumulate
        Micro-batches per optimiser step.
    learning_rate, weight_decay, optimizer
        Peak learning rate, decay, and ``adamw`` or ``adam``.
    schedule, warmup_steps
        ``constant``, ``cosine`` or ``one-cycle``, after a linear rise of `warmup_steps`.
    gradient_clip
        Largest norm of the gradient, None for no limit.
    ema_decay
        Decay of the running mean of the weights, which then are the result; None for none.
    precision
        ``32``, ``bf16`` or ``16``: what autocast runs the forward pass in.
    devices, launcher
        See `cryodl.core.training.devices.choose_devices` and `cryodl.core.training.launch`.
    seed
        All randomness follows from it and the counters of step, micro-batch and rank.
    patience
        Stop after so many epochs without a smaller `monitor`; None for never.
    monitor
        The metric that `patience` and `keep_best` watch; smaller is better.
    keep_best
        The result is the epoch with the smallest `monitor` instead of the last.
    compile
        Use torch.compile, which needs a working C++ compiler and, on a GPU, triton.
    checkpoint_seconds
        Time between checkpoints within an epoch; the end of an epoch always writes one.
    log_seconds
        Time between log lines within an epoch.
    phase, first_step, progress_span
        For commands that train several networks one after the other: a name (its checkpoints
        are then in ``checkpoints/<phase>``), the step number that metrics count from, and the
        part of the command's progress that this training is.
    signature
        What else must not differ when a run is resumed, for example the network's width.
    prefetch
        Micro-batches made ahead by a thread while a GPU computes; 0 on the CPU.
    """

    steps_per_epoch: int
    epochs: int
    accumulate: int = 1
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    optimizer: str = "adamw"
    schedule: str = "constant"
    warmup_steps: int = 0
    gradient_clip: float | None = None
    ema_decay: float | None = None
    precision: str = "32"
    devices: str = "auto"
    launcher: str = "local"
    seed: int = 0
    patience: int | None = None
    monitor: str = "loss"
    keep_best: bool = False
    compile: bool = False
    checkpoint_seconds: float = 300.0
    log_seconds: float = 60.0
    phase: str = ""
    first_step: int = 0
    progress_span: tuple[float, float] = (0.0, 1.0)
    signature: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    prefetch: int = 2

    def __post_init__(self) -> None:
        """Check every range.

        Raises
        ------
        ConfigError
            A value is out of range.
        """
        for name, least in (("steps_per_epoch", 1), ("epochs", 0), ("accumulate", 1), ("seed", 0)):
            _require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        for name in ("warmup_steps", "weight_decay", "prefetch", "first_step"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("launcher", LAUNCHERS),
        ):
            found = getattr(self, name)
            _require(found in known, name, found, f"one of {', '.join(known)}")
        clip, decay, patience = self.gradient_clip, self.ema_decay, self.patience
        _require(clip is None or clip > 0, "gradient_clip", clip, "more than 0")
        _require(decay is None or 0 < decay < 1, "ema_decay", decay, "a number between 0 and 1")
        _require(patience is None or patience >= 1, "patience", patience, "1 or more")

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.steps_per_epoch * self.epochs

    def fixed(self) -> dict[str, Any]:
        """Return what must agree between a checkpoint and the run that resumes it.

        More epochs may be asked for, unless the schedule depends on their number.
        """
        values = {
            name: value
            for name, value in vars(self).items()
            if name not in _FREE_ON_RESUME and name != "signature"
        }
        if self.schedule != "constant":
            values["epochs"] = self.epochs
        values.update({f"signature {name}": value for name, value in self.signature.items()})
        return values


def _require(condition: bool, name: str, found: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name.replace('_', ' ')}: found {found!r}, expected {expected}")
