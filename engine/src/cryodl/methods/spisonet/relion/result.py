"""The map that a call returns to RELION: what it may be, and what stands in for a correction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import EXIT_BUG, CryodlError, InputError
from cryodl.methods.spisonet.relion.task import HalfMapTask


class Interrupted(CryodlError):  # noqa: N818 - an order to stop is no error of the call
    """The call was told to stop."""

    exit_status = EXIT_BUG


def check_map(
    result: NDArray[np.float32], own: NDArray[np.float32], largest_ratio: float = 10.0
) -> None:
    """Refuse a map that cannot be right.

    Parameters
    ----------
    result : ndarray
        The map to be returned.
    own : ndarray
        RELION's own, for comparison.
    largest_ratio : float
        Standard deviations may differ by this factor.

    Raises
    ------
    InputError
        Wrong box, values that are not finite, constant, or on another grey scale.
    """
    advice = "look at the 3DFSC and the log of the iteration, and at the mask"
    if result.shape != own.shape:
        raise InputError(
            f"result: found a map of shape {result.shape}, expected {own.shape}; {advice}"
        )
    if not np.isfinite(result).all():
        raise InputError(f"result: found values that are not finite, expected a map; {advice}")
    sd, expected = (float(v.std(dtype=np.float64)) for v in (result, own))
    if sd == 0:
        raise InputError(f"result: found the same value everywhere, expected a map; {advice}")
    if expected > 0 and not 1 / largest_ratio <= sd / expected <= largest_ratio:
        raise InputError(
            f"result: found a standard deviation of {sd:.3g}, expected within a factor of "
            f"{largest_ratio:g} of RELION's own, {expected:.3g}; {advice}"
        )


def plain_map(task: HalfMapTask, own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return RELION's own map, with the low resolution of the reference put in if wanted."""
    kept = task.low_resolution_map()
    if kept is None:
        return own
    from cryodl.methods.spisonet.recombination import combine

    low, limit_angstrom = kept
    return combine(low, own, limit_angstrom, task.pixel_size_angstrom, mask=task.mask())
