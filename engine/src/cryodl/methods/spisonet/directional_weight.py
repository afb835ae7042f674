"""Which directions of the half maps were measured, and up to which resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.fourier.grids import shell_index
from cryodl.core.run.threads import thread_limit
from cryodl.methods.spisonet.fsc3d import Fsc3D, compute_fsc3d
from cryodl.methods.spisonet.inputs import HalfMaps
from cryodl.methods.spisonet.snr import measured_share

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder
    from cryodl.methods.spisonet.config import CorrectConfig

_THRESHOLD = 0.143
_BEST = 0.9


def directional_weight(
    config: CorrectConfig,
    maps: HalfMaps,
    given: np.ndarray | None,
    masks: list[np.ndarray],
    run: RunFolder,
) -> tuple[np.ndarray, float]:
    """Return the directional weight and the resolution limit in Angstrom.

    A weight that was given is taken as it is when the half maps must stay independent; else
    directions in which only the mask makes the half maps correlate are taken out of it.
    """
    pixel, n = maps.pixel_size_angstrom, maps.box_size_px
    if given is not None:
        weight, limit = given, limit_of_weight(given, pixel)
    elif maps.half2 is None:
        run.log("one half map and no 3DFSC: all directions count as measured")
        weight, limit = np.ones((n, n, n), np.float32), 2 * pixel
    else:
        mask = np.minimum(masks[0], masks[-1])
        result = _fsc3d(config, maps, mask, config.limit_res or 2 * pixel)
        run.log(
            f"3DFSC computed: resolution {result.resolution_angstrom:.2f} A, "
            f"{result.best_resolution_angstrom:.2f} A in the best directions"
        )
        # What the best directions hold is what the others lack.
        weight, limit = np.clip(result.volume, 0.0, 1.0), result.best_resolution_angstrom
    strict = config.independent and given is not None
    if maps.half2 is not None and config.method != "published" and not strict:
        weight = _without_leaks(config, maps, weight, run)
    return weight, config.limit_res or limit


def limit_of_weight(weight: np.ndarray, pixel_size_angstrom: float) -> float:
    """Return the resolution in Angstrom up to which the best directions of a weight are measured.

    Parameters
    ----------
    weight : np.ndarray
        (n, n, n), centred.
    """
    n = len(weight)
    shell = shell_index(n)
    for r in range(2, n // 2):
        if np.quantile(weight[shell == r], _BEST) < _THRESHOLD:
            return n * pixel_size_angstrom / (r - 1)
    return 2 * pixel_size_angstrom


def _fsc3d(
    config: CorrectConfig, maps: HalfMaps, mask: np.ndarray | None, limit_angstrom: float
) -> Fsc3D:
    if maps.half2 is None:
        raise ValueError("a 3DFSC needs two half maps")
    with thread_limit(config.ncpus) as workers:
        return compute_fsc3d(
            maps.half1.data,
            maps.half2.data,
            mask,
            maps.pixel_size_angstrom,
            limit_resolution_angstrom=limit_angstrom,
            workers=workers,
        )


def _without_leaks(
    config: CorrectConfig, maps: HalfMaps, weight: np.ndarray, run: RunFolder
) -> np.ndarray:
    if maps.half2 is None:
        return weight
    unmasked = _fsc3d(config, maps, None, 2 * maps.pixel_size_angstrom).volume
    share = measured_share([maps.half1.data, maps.half2.data], weight, unmasked)
    mended = np.asarray(weight * share, dtype=np.float32)
    lost = float((weight - mended).sum() / max(float(weight.sum()), 1e-9))
    if lost > 0.01:
        run.log(f"{lost:.0%} of the 3DFSC came from the mask alone and was taken out")
    return mended
