"""Weighted back-projection."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.core.simulation.projection import RowProjector
from cryodl.errors import ConfigError

Filter = Literal["ramp", "exact"]


def back_projection_weights(projector: RowProjector, kind: Filter = "ramp") -> NDArray[np.float32]:
    """Return the weight of each image before it is smeared, so that densities keep their scale.

    Parameters
    ----------
    projector
        Gives tilts, axis and sizes.
    kind
        ``ramp``: |k| times the angle that a tilt stands for. ``exact``: each slice counts by the
        overlap with its neighbours in a specimen as thick as the volume (Harauz and van Heel 1986,
        Optik 73, 146), which lets a few widely spaced tilts keep their high frequencies.

    Returns
    -------
    numpy.ndarray
        float32, (K, y, x) in the layout of ``rfft2``; the axis along the tilt axis has length 1.

    Raises
    ------
    ConfigError
        There is no such filter.
    """
    frequency = projector.across_frequency_px()
    angles = np.radians(projector.tilt_angles_degrees)
    if kind == "ramp":
        weights = [frequency * step for step in _angular_shares(angles)]
    elif kind == "exact":
        thickness = projector.shape_zyx[0]
        weights = []
        for angle in angles:
            overlap = np.zeros_like(frequency)
            for other in angles:
                distance = thickness * frequency * abs(math.sin(angle - other))
                overlap += np.maximum(0.0, 1.0 - distance)
            weights.append(1.0 / (thickness * overlap))
    else:
        raise ConfigError(f"reconstruction filter: found {kind!r}, expected ramp or exact")
    return np.stack(weights).astype(np.float32)


def _angular_shares(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angle in radians that each tilt stands for, half way to its neighbours."""
    if len(angles) == 1:
        return np.array([math.pi])
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[order])
    shares = np.empty(len(angles))
    shares[order] = np.concatenate([gaps[:1], (gaps[1:] + gaps[:-1]) / 2, gaps[-1:]])
    return shares
