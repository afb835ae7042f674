"""The network step of an iteration: the same engine as ``cryodl spisonet correct``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc import Volume
from cryodl.core.run.folder import RunFolder
from cryodl.methods.spisonet.cli import COMMANDS
from cryodl.methods.spisonet.config import CorrectConfig
from cryodl.methods.spisonet.inputs import HalfMaps
from cryodl.methods.spisonet.prepared import Prepared
from cryodl.methods.spisonet.recombination import join_beyond
from cryodl.methods.spisonet.relion.task import NETWORK_FOLDER, HalfMapTask

_TILE_MARGIN_PX = 16


def run_network(
    task: HalfMapTask,
    maps: dict[int, NDArray[np.float32]],
    weight: NDArray[np.float32],
    mask: NDArray[np.float32],
    *,
    mean_cosine: bool,
) -> dict[int, NDArray[np.float32]]:
    """Train on the prepared half maps and correct them.

    Parameters
    ----------
    task : HalfMapTask
        The call.
    maps : dict
        Half to map, (n, n, n); one or both halves.
    weight : ndarray, (n, n, n)
        Directional weight, centred.
    mask : ndarray, (n, n, n)
        Solvent mask.
    mean_cosine : bool
        Whether the weight holds mean cosines rather than correlations.

    Returns
    -------
    dict
        Half to corrected map, on the grey scale of the input.
    """
    from cryodl.methods.spisonet.restore import restore_halves

    pixel, limit = task.pixel_size_angstrom, task.limit_angstrom
    halves = sorted(maps)
    volumes = [Volume(maps[half], pixel) for half in halves]
    given = HalfMaps(volumes[0], volumes[1] if len(volumes) == 2 else None, mask)
    prepared = Prepared(
        given, [v.data for v in volumes], [mask] * len(volumes), weight, mean_cosine, limit
    )
    name = NETWORK_FOLDER if len(halves) == 2 else f"{NETWORK_FOLDER}_half{halves[0]}"
    config = correct_config(task, task.folder / name, both=len(halves) == 2)
    command = next(command for command in COMMANDS if command.verb == "correct")
    with RunFolder(command, config) as run:
        corrections, _ = restore_halves(prepared, config, run)
    if not task.settings.keep_files:
        shutil.rmtree(config.output / "checkpoints", ignore_errors=True)
    return {
        half: join_beyond(correction.filtered, maps[half], limit, pixel)
        for half, correction in zip(halves, corrections)
    }


def correct_config(task: HalfMapTask, output: Path, *, both: bool) -> CorrectConfig:
    """Return the settings of the correction as those of ``cryodl spisonet correct``."""
    settings, call = task.settings, task.call
    # `wiener` never comes here: it needs no correction beyond its weight.
    method = "classical" if settings.method == "wiener" else settings.method
    previous = None if settings.retrain_each_iter else task.previous_model(output.name)
    return CorrectConfig(
        half1=call.result,
        half2=call.result if both else None,
        output=output,
        overwrite=True,
        method=method,
        alpha=settings.alpha,
        beta=settings.beta,
        independent=settings.independent,
        epochs=settings.epochs,
        n_subvolume=settings.n_subvolume,
        cube_size=settings.cube_size,
        predict_crop_size=settings.cube_size + _TILE_MARGIN_PX,
        batch_size=settings.batch_size,
        acc_batches=settings.acc_batches,
        width=settings.width,
        devices=settings.devices,
        precision=settings.precision,
        seed=settings.seed,
        pretrained_model=previous,
        limit_res=task.limit_angstrom,
    )
