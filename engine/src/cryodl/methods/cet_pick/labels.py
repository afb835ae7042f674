"""From labelled centres to the heat map that the network learns.

The sigma is an eighth of the particle's diameter. The published (CornerNet) rule, close to it for
particles of 16 voxels and more, leaves smaller ones a single voxel to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNLABELLED = -1.0
_HARD = 0.9
_OVERLAP = 0.7
_DIAMETER_IN_SIGMAS = 8
_REACH = 2.5  # sigmas


@dataclass(frozen=True)
class LabelShape:
    """How large a label is, in voxels of the tomogram.

    Attributes
    ----------
    sigma_px : float
        Of the Gaussian around each centre.
    radius_px : float
        Where it ends.
    """

    sigma_px: float
    radius_px: float


def published_radius(bbox_px: float) -> int:
    """Return the published radius in heat-map voxels for a particle of `bbox_px` voxels.

    The smallest of the three CornerNet radii for an overlap of 0.7; of squares it is always the
    third: floor(0.2733 h), h half the diameter.
    """
    half = int(bbox_px) // 2
    m = _OVERLAP
    radii = (
        (2 * half + np.sqrt(4 * half**2 - 4 * half**2 * (1 - m) / (1 + m))) / 2,
        (4 * half + np.sqrt(16 * half**2 - 16 * (1 - m) * half**2)) / 2,
        (-4 * m * half + np.sqrt(16 * m**2 * half**2 + 16 * m * (1 - m) * half**2)) / 2,
    )
    return int(np.floor(min(radii)))


def label_shape(
    bbox_px: float, sigma_px: float | None = None, published: bool = False
) -> LabelShape:
    """Return the label of a particle of `bbox_px` voxels, or of a given sigma."""
    if published:
        radius = max(1, published_radius(bbox_px))
        return LabelShape(2 * (2 * radius + 1) / 6, 2 * radius)
    sigma = sigma_px or bbox_px / _DIAMETER_IN_SIGMAS
    return LabelShape(sigma, _REACH * sigma)


def label_map(
    centres_zyx: NDArray[np.float64],
    start_zyx: tuple[int, int, int],
    shape: tuple[int, int, int],
    spacing_zyx: tuple[float, float, float],
    label: LabelShape,
) -> NDArray[np.float32]:
    """Return the heat map of a region: 1 at centres, falling off, -1 where nothing is known.

    Parameters
    ----------
    centres_zyx : numpy.ndarray
        (n, 3) in heat-map voxels, fractions kept.
    start_zyx, shape : tuple
        Of the region, in heat-map voxels.
    spacing_zyx : tuple
        Tomogram voxels per heat-map voxel: labels are round in the tomogram.
    label : LabelShape
        Their size.
    """
    spacing = np.asarray(spacing_zyx)
    found = np.zeros(shape, dtype=np.float32)
    reach = np.maximum(np.ceil(label.radius_px / spacing), 1)
    local = centres_zyx - np.asarray(start_zyx)
    near = np.all((local > -reach - 1) & (local < np.asarray(shape) + reach), axis=1)
    for centre in local[near]:
        low = np.maximum(np.floor(centre - reach), 0).astype(int)
        high = np.minimum(np.ceil(centre + reach) + 1, shape).astype(int)
        if np.any(high <= low):
            continue
        axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
        offsets = [(axis - c) * s for axis, c, s in zip(axes, centre, spacing, strict=True)]
        squared = offsets[0][:, None, None] ** 2 + offsets[1][:, None] ** 2 + offsets[2] ** 2
        value = np.exp(-squared / (2 * label.sigma_px**2))
        value[squared > label.radius_px**2] = 0
        value[value > _HARD] = 1
        # A centre between voxels must leave a hard one all the same.
        nearest = np.round(centre).astype(int) - low
        if np.all((nearest >= 0) & (nearest < high - low)):
            value[tuple(nearest)] = 1
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        np.maximum(found[window], value, out=found[window])
    found[found == 0] = UNLABELLED
    return found
