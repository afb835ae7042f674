"""From unregularised half maps to corrected ones, in the order of the published wrapper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.filters import (
    apply_shell_profile,
    apply_transfer,
    low_pass,
    radius_of_resolution_px,
    sphere,
)
from cryodl.core.fourier.shells import amplitude_spectrum
from cryodl.core.fourier.transform import half_to_centred
from cryodl.core.io.mrc import write_volume
from cryodl.errors import InputError
from cryodl.methods.spisonet.filters import angular_whiten, fsc_weighting, whiten
from cryodl.methods.spisonet.fsc3d import compute_fsc3d
from cryodl.methods.spisonet.recombination import combine, join_beyond
from cryodl.methods.spisonet.relion.measured import keep_measured
from cryodl.methods.spisonet.relion.network import run_network
from cryodl.methods.spisonet.relion.result import check_map
from cryodl.methods.spisonet.relion.task import HalfMapTask
from cryodl.methods.spisonet.snr import snr_model

_TINY = 1e-12


@dataclass(frozen=True)
class HalfMap:
    """One half of the data.

    Attributes
    ----------
    volume : ndarray, (n, n, n) float32
        Unregularised map.
    sampling : ndarray, (n, n, n // 2 + 1) float32, or None
        Share of signal that RELION's weights support, FFT order; None where they are not at hand.
    own : ndarray, (n, n, n) float32, or None
        The map RELION would have made, regularised; None where it is not at hand.
    """

    volume: NDArray[np.float32]
    sampling: NDArray[np.float32] | None
    own: NDArray[np.float32] | None = None


def correct_maps(task: HalfMapTask, halves: dict[int, HalfMap]) -> dict[int, NDArray[np.float32]]:
    """Correct one half map or both.

    Parameters
    ----------
    task : HalfMapTask
        The call; its report's column `weight` is filled.
    halves : dict
        Half 1 or 2 to its map. A single half gets a network of its own, and its directional
        weight from RELION's weights, for a 3DFSC takes two.

    Returns
    -------
    dict
        Half to corrected map, (n, n, n) float32.
    """
    settings, pixel = task.settings, task.pixel_size_angstrom
    mask, limit = task.mask(), task.limit_angstrom
    maps = {half: given.volume for half, given in sorted(halves.items())}
    _keep(task, "input", maps)
    unfiltered = maps
    if settings.whitening and limit < settings.whitening_low:
        maps = {
            half: whiten(
                volume,
                pixel,
                low_resolution_angstrom=settings.whitening_low,
                high_resolution_angstrom=limit,
                mask=mask,
            )
            for half, volume in maps.items()
        }
    undo = {half: _shell_gain(maps[half], unfiltered[half]) for half in maps}
    maps = _with_low_resolution(task, maps, mask)
    weight = directional_weight(task, maps, halves, mask)
    write_volume(task.folder / "weight.mrc", weight, pixel_size_angstrom=pixel)
    if settings.fsc_weighting and settings.method == "published":
        maps = {half: fsc_weighting(volume, weight) for half, volume in maps.items()}
    _keep(task, "prepared", maps)
    snr = snr_model(weight, mean_cosine=_is_mean_cosine(task))
    if settings.method == "wiener":
        maps = {half: apply_transfer(volume, snr.rho) for half, volume in maps.items()}
    else:
        maps = run_network(task, maps, weight, mask, mean_cosine=_is_mean_cosine(task))
    for volume in maps.values():
        check_map(volume, volume)  # before anything of RELION's is joined to it and hides a fault
    if settings.angular_whiten and limit < settings.whitening_low:
        maps = {
            half: angular_whiten(
                volume,
                pixel,
                low_resolution_angstrom=settings.whitening_low,
                high_resolution_angstrom=limit,
            )
            for half, volume in maps.items()
        }
    if settings.grey_scale == "relion":
        maps = {
            half: volume if gain is None else apply_shell_profile(volume, gain, beyond=1.0)
            for (half, volume), gain in zip(maps.items(), undo.values())
        }
    own = {half: given.own for half, given in halves.items() if given.own is not None}
    if len(own) < len(halves):  # the half maps are to be treated alike
        own = {}
    if settings.measured == "relion" and own:
        maps = keep_measured(own, maps, snr)
    return {half: _beyond_limit(task, volume, own.get(half)) for half, volume in maps.items()}


def _beyond_limit(
    task: HalfMapTask, volume: NDArray[np.float32], own: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Put RELION's own map beyond the resolution of the correction, or cut there.

    Shells below FSC 0.143 hold little, but RELION weighs them by what they hold, direction by
    direction: cutting them off costs more in the well measured directions than it gains.
    """
    limit, pixel = task.limit_angstrom, task.pixel_size_angstrom
    if task.settings.beyond == "relion" and own is not None:
        return join_beyond(volume, own, limit, pixel)
    return low_pass(volume, limit, pixel) if task.settings.lowpass else volume


def _shell_gain(
    whitened: NDArray[np.float32], before: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    """Return what brings whitened shells back to the power they had, None if none was changed.

    RELION compares the map with images on an absolute grey scale, with the noise it estimated
    there: shells that were raised would count as so much more signal.
    """
    if whitened is before:
        return None
    raised = amplitude_spectrum(whitened)
    smallest = _TINY * max(float(raised.max()), _TINY)
    gain: NDArray[np.float64] = amplitude_spectrum(before) / np.maximum(raised, smallest)
    return gain


def directional_weight(
    task: HalfMapTask,
    maps: dict[int, NDArray[np.float32]],
    halves: dict[int, HalfMap],
    mask: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return how far each frequency is measured, (n, n, n) centred, in [0, 1], 0 beyond the limit.

    From the 3DFSC, from the weights RELION accumulated, or the smaller of the two.
    """
    source = task.settings.directional_weight if len(maps) == 2 else "weight"
    task.report.weight = source
    candidates = []
    if source in ("fsc", "min"):
        first, second = (maps[half] for half in (1, 2))
        limit, pixel = task.limit_angstrom, task.pixel_size_angstrom
        fsc3d = compute_fsc3d(
            first,
            second,
            mask,
            pixel,
            limit_resolution_angstrom=limit,
            estimator="mean-cosine" if _is_mean_cosine(task) else "fsc",
        )
        candidates.append(np.clip(fsc3d.volume, 0.0, 1.0))
    if source in ("weight", "min"):
        candidates.append(_sampling_weight(task, halves))
    weight: NDArray[np.float32] = np.minimum.reduce(candidates).astype(np.float32)
    if not weight.any():
        raise InputError(
            f"{task.call.star}: found a directional weight of 0 everywhere, expected signal common "
            "to the half maps; check the mask, or let the network start later"
        )
    return weight


def _is_mean_cosine(task: HalfMapTask) -> bool:
    """Tell in which unit the weight is: RELION's weights give correlations, not cosines.

    The published loss takes any weight as it is, and was tuned with mean cosines.
    """
    return task.report.weight == "fsc" or (
        task.settings.method == "published" and task.report.weight == "min"
    )


def _sampling_weight(task: HalfMapTask, halves: dict[int, HalfMap]) -> NDArray[np.float32]:
    n = task.call.box_size_px
    known = [given.sampling for given in halves.values() if given.sampling is not None]
    centred = half_to_centred(np.mean(known, axis=0, dtype=np.float32), n)
    radius_px = radius_of_resolution_px(task.limit_angstrom, n, task.pixel_size_angstrom)
    result: NDArray[np.float32] = centred * sphere(n, int(radius_px + 1), 0)
    kept = task.low_resolution_map()
    if kept is not None:
        # The reference is complete in all directions up to where it is kept.
        reference_px = radius_of_resolution_px(kept[1], n, task.pixel_size_angstrom)
        result = np.maximum(result, sphere(n, reference_px))
    return result


def _with_low_resolution(
    task: HalfMapTask, maps: dict[int, NDArray[np.float32]], mask: NDArray[np.float32]
) -> dict[int, NDArray[np.float32]]:
    kept = task.low_resolution_map()
    if kept is None:
        return maps
    low, limit = kept
    pixel = task.pixel_size_angstrom
    return {half: combine(low, volume, limit, pixel, mask=mask) for half, volume in maps.items()}


def _keep(task: HalfMapTask, stage: str, maps: dict[int, NDArray[np.float32]]) -> None:
    if not task.settings.keep_files:
        return
    for half, volume in maps.items():
        path = task.folder / f"{stage}_half{half}.mrc"
        write_volume(path, volume, pixel_size_angstrom=task.pixel_size_angstrom)
