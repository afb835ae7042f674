"""Regions of Fourier space, as centred boolean volumes (DC at ``n//2``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.transform import friedel_mate
from cryodl.errors import ConfigError

BoolVolume = NDArray[np.bool_]


def unit_axis_xyz(axis_xyz: Sequence[float]) -> NDArray[np.float64]:
    """Return an axis scaled to length one.

    Parameters
    ----------
    axis_xyz
        Three finite numbers (x, y, z), not all zero.

    Returns
    -------
    numpy.ndarray
        Shape ``(3,)``, order (x, y, z).

    Raises
    ------
    ConfigError
        If the axis is not three finite numbers, or has no length.
    """
    axis = np.asarray(axis_xyz, dtype=np.float64)
    length = float(np.linalg.norm(axis)) if axis.shape == (3,) else 0.0
    if not np.isfinite(length) or length == 0.0:
        raise ConfigError(
            f"axis: found {list(axis_xyz)}, expected three numbers x y z that are not all zero; "
            "give for example 0 0 1 for z"
        )
    return axis / length


def double_cone_region(
    box_size_px: int, axis_xyz: Sequence[float], half_angle_degrees: float
) -> BoolVolume:
    """Mark the Fourier voxels within an angle of an axis, on both sides of the origin.

    A Fourier coefficient and its Friedel mate are always marked together, also on the planes of an
    even box that hold only the negative Nyquist frequency. The origin has no direction and is never
    marked.

    Parameters
    ----------
    box_size_px
        Edge n of the cubic box.
    axis_xyz
        Axis of the cone (x, y, z), any length.
    half_angle_degrees
        Angle between the axis and the cone's surface, above 0 and at most 90.

    Returns
    -------
    numpy.ndarray
        Boolean, ``(n, n, n)`` (z, y, x), centred.

    Raises
    ------
    ConfigError
        If the box, the axis or the angle is out of range.
    """
    axis = unit_axis_xyz(axis_xyz)
    if box_size_px < 2:
        raise ConfigError(f"box size: found {box_size_px} px, expected 2 or more")
    if not 0.0 < half_angle_degrees <= 90.0:
        raise ConfigError(
            f"cone half-angle: found {half_angle_degrees} degrees, expected above 0 and at most 90"
        )
    line = np.arange(box_size_px, dtype=np.float64) - box_size_px // 2
    z, y, x = line[:, None, None], line[:, None], line
    along = np.abs(x * axis[0] + y * axis[1] + z * axis[2])
    radius = np.sqrt(x * x + y * y + z * z)
    # the slack keeps voxels that lie on the surface inside, whatever the rounding
    inside = (along >= radius * np.cos(np.radians(half_angle_degrees)) - 1e-9) & (radius > 0)
    return inside | friedel_mate(inside)
