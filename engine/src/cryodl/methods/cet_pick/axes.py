"""Which axis of a file is the thickness of the specimen.

The picker works on arrays ``[z, y, x]`` whose z is the thickness. Files come in two orders: the
usual one, and that of IMOD's unrotated reconstructions, where the thickness is the middle axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

# Axes of the file (0 slowest) that become z, y, x of the working array.
_AXES: dict[str, tuple[int, int, int]] = {"zyx": (0, 1, 2), "imod": (1, 0, 2), "xyz": (2, 0, 1)}
# The published program's words: xzy was its default, and its zxy the ordinary case.
_ALIASES = {"xzy": "imod", "zxy": "zyx"}
_AXIS_NAMES = ("z", "y", "x")
_CLEARLY_THINNER = 0.75
_SPECTRUM_EDGE = 96
_BAND = (0.08, 0.35)  # per voxel: below are large structures, above is little
_CONE = 0.94  # squared cosine of 14 degrees; wedges are at least 20 to each side
_EMPTY = 0.5


def resolve_order(order: str, volume: NDArray[Any], name: str) -> tuple[str, str]:
    """Return the order as ``zyx``, ``imod`` or ``xyz``, and a warning or an empty text.

    Parameters
    ----------
    order : str
        As the user gave it; ``auto`` takes the direction of the missing wedge, or the clearly
        shortest axis, for the thickness.
    volume : numpy.ndarray
        As stored, slowest axis first; may be on the disk.
    name : str
        Of the file, for messages.

    Raises
    ------
    InputError
        The missing wedge lies along another axis than the order says.
    """
    beam = beam_axis(volume)
    ranked = sorted(range(3), key=lambda axis: volume.shape[axis])
    thin, next_one = (volume.shape[axis] for axis in ranked[:2])
    shortest = ranked[0] if thin <= _CLEARLY_THINNER * next_one else None
    if order == "auto":
        return _guessed(beam, shortest, volume.shape)
    chosen = _ALIASES.get(order, order)
    axis = _AXES[chosen][0]
    if beam is not None and beam != axis:
        raise InputError(
            f"--order: found {order}, which takes {_AXIS_NAMES[axis]} of {name} for the thickness, "
            f"but its missing wedge lies along {_AXIS_NAMES[beam]}; give --order {_named(beam)}"
        )
    if beam is None and shortest not in (None, axis):
        return chosen, (
            f"--order {order} takes an axis of {volume.shape[axis]} px for the thickness of {name} "
            f"while the shortest has {thin} px: is the order right?"
        )
    return chosen, ""


def _guessed(beam: int | None, shortest: int | None, shape: tuple[int, ...]) -> tuple[str, str]:
    if beam in (0, 1):
        return _named(beam), ""
    if shortest in (0, 1):
        return _named(shortest), ""
    return "zyx", (
        f"neither the missing wedge nor the edges ({'x'.join(map(str, shape[::-1]))}) tell which "
        "axis is the thickness: z is taken; give --order imod if it is y"
    )


def _named(axis: int | None) -> str:
    return next(name for name, axes in _AXES.items() if axes[0] == axis)


def beam_axis(volume: NDArray[Any]) -> int | None:
    """Return the axis of a stored tomogram along which a cone of its spectrum is empty.

    The missing wedge holds the axis of the beam and neither of the others. None when no axis is
    clearly emptier: filtered or denoised tomograms.
    """
    edges = [min(edge, _SPECTRUM_EDGE) for edge in volume.shape]
    starts = [(edge - size) // 2 for edge, size in zip(volume.shape, edges, strict=True)]
    block = volume[tuple(slice(s, s + e) for s, e in zip(starts, edges, strict=True))]
    values = np.nan_to_num(np.array(block, dtype=np.float32))
    middle, spread = np.median(values), values.std()
    values = np.clip(values - middle, -4 * spread, 4 * spread)  # gold fills every direction
    for axis, edge in enumerate(edges):
        shape = [1, 1, 1]
        shape[axis] = edge
        values = values * np.hanning(edge).astype(np.float32).reshape(shape)
    power = np.abs(np.fft.fftn(values)) ** 2
    frequency = np.meshgrid(*(np.fft.fftfreq(edge) for edge in edges), indexing="ij", sparse=True)
    squared = frequency[0] ** 2 + frequency[1] ** 2 + frequency[2] ** 2
    band = (squared > _BAND[0] ** 2) & (squared < _BAND[1] ** 2)
    cones = [band & (frequency[axis] ** 2 > _CONE * squared) for axis in range(3)]
    means = [float(power[cone].mean()) if cone.any() else np.inf for cone in cones]
    lowest, second = sorted(means)[:2]
    return int(np.argmin(means)) if lowest < _EMPTY * second else None


def to_working(array: NDArray[np.float32], order: str) -> NDArray[np.float32]:
    """Return a view ``[z, y, x]`` of an array as stored."""
    return array.transpose(_AXES[order])


def from_working(array: NDArray[np.float32], order: str) -> NDArray[np.float32]:
    """Return a working array in the order of the file."""
    return np.ascontiguousarray(array.transpose(np.argsort(_AXES[order])))


def points_to_working(points_xyz: NDArray[np.float64], order: str) -> NDArray[np.float64]:
    """Return points of a file, (n, 3) as x, y, z, as x, y, z of the working array."""
    return points_xyz[:, ::-1][:, _AXES[order]][:, ::-1]


def points_from_working(points_xyz: NDArray[np.float64], order: str) -> NDArray[np.float64]:
    """Return working points as x, y, z of the file."""
    return points_xyz[:, ::-1][:, np.argsort(_AXES[order])][:, ::-1]
