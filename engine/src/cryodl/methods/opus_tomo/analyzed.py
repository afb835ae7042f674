"""A finished analysis, as the commands after it read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError
from cryodl.methods.opus_tomo.trained import TrainedRun, open_training, read_result


@dataclass(frozen=True)
class Analysis:
    """Folder of an analysis, its arrays, and the training it is of."""

    folder: Path
    arrays: dict[str, NDArray]
    training: TrainedRun


def open_analysis(folder: Path) -> Analysis:
    """Read an analysis.

    Raises
    ------
    InputError
        None is there, or its training is gone.
    """
    result = read_result(folder, "opus-tomo analyze")
    path = folder / str(result["analysis"])
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected an analysis; run opus-tomo analyze again"
        ) from error
    training = open_training(folder / str(arrays["training"]))
    if training.names != [str(name) for name in arrays["name"]]:
        raise InputError(
            f"{folder}: found other particles than in {training.folder}, expected the training it "
            "was made of; run opus-tomo analyze again"
        )
    latents = {**training.latents, "z_mu": arrays["z_mu"]}
    return Analysis(folder, arrays, TrainedRun(training.folder, latents, str(arrays["model"])))
