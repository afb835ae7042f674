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
    """Folder of a training and what is in its latents file."""

    folder: Path
    latents: dict[str, NDArray]

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
