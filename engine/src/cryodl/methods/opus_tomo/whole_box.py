"""Densities of the working grid in the box of the particles, centre voxel on centre voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.volumes.boxes import resample_volume


@dataclass(frozen=True)
class BoxOf:
    """Boxes that a density belongs to: of the particles, and of the same with fewer voxels."""

    box_px: int
    render_px: int
    pixel_size_angstrom: float


def to_whole_box(
    density: NDArray[np.float32],
    crop_px: int,
    box: BoxOf,
    *,
    pixel_size_angstrom: float | None = None,
    cropped: bool = False,
) -> NDArray[np.float32]:
    """Resample a density (t, t, t) that covers the cropped box.

    Parameters
    ----------
    density
        In any number of voxels.
    crop_px : int
        Edge of the cropped box in working voxels.
    box : BoxOf
        Of the particles.
    pixel_size_angstrom : float, optional
        Of the result, by default that of the particles.
    cropped : bool
        Keep to the cropped box instead of the whole one.

    Returns
    -------
    ndarray
        Cubic, of an even number of voxels.
    """
    wanted = pixel_size_angstrom or box.pixel_size_angstrom
    working = box.pixel_size_angstrom * box.box_px / box.render_px
    own = working * crop_px / density.shape[0]
    edge = working * crop_px if cropped else box.pixel_size_angstrom * box.box_px
    count = 2 * round(edge / wanted / 2)
    return resample_volume(density, own, count, wanted)
