"""A finished training, as the later commands read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

_NEEDED = ("name", "z_mu", "scaled", "linear", "direction", "tomogram", "misfit")


@dataclass(frozen=True)
class TrainedRun:
    """Folder of a training, what is in its latents file, and which of its models they are of."""

    folder: Path
    latents: dict[str, NDArray]
    model_name: str = "model.safetensors"

    @property
    def model_path(self) -> Path:
        """Where the model is."""
        return self.folder / self.model_name

    @property
    def names(self) -> list[str]:
        """Names of the particles."""
        return [str(name) for name in self.latents["name"]]


def open_training(folder: Path) -> TrainedRun:
    """Read the latents of a training.

    Raises
    ------
    InputError
        No finished training is there.
    """
    result = read_result(folder, "opus-tomo train")
    path = folder / str(result["latents"])
    try:
        with np.load(path, allow_pickle=False) as stored:
            latents = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected latents of opus-tomo train; run it again"
        ) from error
    missing = [name for name in _NEEDED if name not in latents]
    if missing:
        raise InputError(
            f"{path}: found no {missing[0]}, expected latents of opus-tomo train; run it again"
        )
    return TrainedRun(folder, latents)


def kept_model(epoch: int) -> str:
    """Return where the model after an epoch is kept, in the run folder."""
    return f"epochs/model_{epoch:03d}.safetensors"


def at_epoch(training: TrainedRun, epoch: int) -> TrainedRun:
    """Return a training as it was after an epoch: the particles are encoded by the model of then.

    Raises
    ------
    InputError
        No model of that epoch was kept, or the particles are gone.
    """
    from cryodl.methods.opus_tomo.canonical import Sampling
    from cryodl.methods.opus_tomo.config import TrainConfig
    from cryodl.methods.opus_tomo.data import ParticleStore
    from cryodl.methods.opus_tomo.density import load_model
    from cryodl.methods.opus_tomo.inputs import open_particles
    from cryodl.methods.opus_tomo.latents import encode_all
    from cryodl.methods.opus_tomo.presets import choose

    folder, name = training.folder, kept_model(epoch)
    last = int(training.latents["epoch"])
    if epoch == last:
        return training
    if not (folder / name).is_file():
        kept = sorted(int(p.stem[-3:]) for p in folder.glob(kept_model(0).replace("000", "*")))
        raise InputError(
            f"{folder}: found models after epochs {', '.join(map(str, [*kept, last]))}, expected "
            f"one after {epoch}; choose one of these, or train with --keep-every"
        )
    model, description = load_model(folder / name)
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    asked = saved["parameters"]
    given = {key: asked[key] for key in TrainConfig.model_fields if key in asked}
    star = folder / str(read_result(folder, "opus-tomo train")["star"])
    elsewhere = dict.fromkeys(("folder", "mask", "split"))
    config = TrainConfig(**{**given, **elsewhere, "star": star, "output": folder})
    checked = open_particles(config, lambda line: None)
    sampling = Sampling(
        description["box_px"],
        description["render_px"],
        model.crop_px,
        description["pixel_size_angstrom"],
    )
    sign = int(description["sign"])
    store = ParticleStore(checked.particles, checked.settings, sampling, sign, config.cache_gb)
    steps = choose(config).refine_steps
    found = encode_all(model, store, refine_steps=steps, prior=config.beta_control)
    row = {name: i for i, name in enumerate(checked.particles.names)}
    order = np.array([row[name] for name in training.names])
    latents = {
        **training.latents,
        "z_mu": found.mean[order],
        "scaled": found.scaled[order],
        "misfit": found.misfit[order],
        "zd_mu": found.pose_mean[order],
    }
    return TrainedRun(folder, latents, name)


def read_result(folder: Path, command: str) -> dict[str, Any]:
    """Return ``result.json`` of a finished run.

    Raises
    ------
    InputError
        There is none, or it is of another command.
    """
    path = folder / "result.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"{folder}: found no finished run, expected the output folder of cryodl {command}; "
            "give that, or finish the run with --resume"
        ) from None
    if not isinstance(found, dict) or found.get("command") != command:
        name = found.get("command") if isinstance(found, dict) else None
        raise InputError(
            f"{folder}: found a run of {name!r}, expected one of cryodl {command}; give its folder"
        )
    return found
