"""The half maps, checked before any work."""

from __future__ import annotations

from cryodl.core.io.mrc import Volume, check_same_grid, read_volume
from cryodl.errors import InputError
from cryodl_toy.config import TrainConfig


def check_half_maps(config: TrainConfig) -> tuple[Volume, Volume]:
    """Return both half maps.

    Raises
    ------
    InputError
        They cannot be read, are on different grids, or smaller than a crop.
    """
    first, second = read_volume(config.half1), read_volume(config.half2)
    check_same_grid(first, second)
    if min(first.data.shape) < config.crop_px:
        raise InputError(
            f"{config.half1}: found an edge of {min(first.data.shape)} px, expected at least the "
            f"{config.crop_px} of a crop; give a smaller --crop-px"
        )
    return first, second
