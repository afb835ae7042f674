"""The network step of an iteration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.methods.spisonet.relion_task import HalfMapTask


def run_network(
    task: HalfMapTask,
    maps: dict[int, NDArray[np.float32]],
    weight: NDArray[np.float32],
    mask: NDArray[np.float32],
) -> dict[int, NDArray[np.float32]]:
    """Train on the prepared half maps and correct them."""
    from cryodl.methods.spisonet.correct import correct_half_maps

    return correct_half_maps(task, maps, weight, mask)
