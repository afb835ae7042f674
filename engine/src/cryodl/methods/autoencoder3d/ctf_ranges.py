"""Tilt ranges of particles whose files have CTF volumes or CTF STAR files in place of tilts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.grids import radius_grid_px
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.tilt_series import particle_tilts
from cryodl.core.volumes.particle_average import read_ctf_volume
from cryodl.errors import InputError

Range = tuple[float, float, float]

_MOST_PX = 32  # what lies nearer to zero frequency tells the angles well enough
_BAND = 1 / 6, 1 / 3  # of the box: farther out high tilts have lost much to the dose
_FULL = 0.9  # quantile of a shell that stands for what is measured
_MEASURED = 0.4  # of that, or more
_STEPS_DEGREES = 5, 1
_BINS = 180


def ranges_of_ctf(particles: ParticleSet) -> list[Range] | None:
    """Return lowest and highest tilt and direction of the axis of each particle, whole degrees.

    None when there are no such files, when they tell nothing, or when boxes were cut in other
    directions than that of their tomogram, as CTF volumes then are too.
    """
    if not particles.ctf_paths or particles.box_rotations is not None:
        return None
    known: dict[Path, Range | None] = {}
    for index, path in enumerate(particles.ctf_paths):
        if path not in known:
            known[path] = _range_of_file(particles, index, path)
    found = [known[path] for path in particles.ctf_paths]
    return None if None in found else [entry for entry in found if entry is not None]


def _range_of_file(particles: ParticleSet, index: int, path: Path) -> Range | None:
    try:
        if path.suffix.lower() != ".star":
            return range_of_weight(read_ctf_volume(path, particles.box_size_px))
        tilts = particle_tilts(particles, index)
    except InputError:
        return None
    if tilts is None:
        return None
    angles = tilts.tilt_angles_degrees
    axis = float(tilts.tilt_axis_degrees)
    return _whole(float(angles.min()), float(angles.max()), axis)


def range_of_weight(weight: NDArray[np.float32]) -> Range | None:
    """Return the tilt range that explains best where a weight (n, n, n), centred, is not zero.

    None when it is zero everywhere, or nowhere.
    """
    if not np.any(weight):
        return None
    measured, points = _measured(np.abs(weight))
    if not 0.02 < measured.mean() < 0.98:
        return None
    axis = 0.0
    for step in _STEPS_DEGREES:
        reach = 90 if step == _STEPS_DEGREES[0] else _STEPS_DEGREES[0]
        tried = axis + np.arange(-reach, reach + 1, step)
        fits = [_best_range(measured, points, direction)[0] for direction in tried]
        axis = float(tried[int(np.argmax(fits))])
    _, low, high = _best_range(measured, points, axis)
    # Edges are hard, or a voxel wide: half of what the second adds is taken off.
    rim = np.rad2deg(0.5 * (1 - _MEASURED) / np.linalg.norm(points, axis=1).mean())
    return _whole(low + rim, high - rim, axis)


def _measured(weight: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return which frequencies were measured, and these as (M, 3) x, y, z."""
    n = weight.shape[0]
    kept = min(n, _MOST_PX) // 2
    inner = slice(n // 2 - kept, n // 2 + kept)
    inside = weight[inner, inner, inner]
    radius = radius_grid_px(2 * kept)
    shells = np.rint(radius).astype(np.int64)
    usual = np.zeros(int(shells.max()) + 1)
    for shell in range(kept):
        usual[shell] = np.quantile(inside[shells == shell], _FULL)
    chosen = (radius >= _BAND[0] * 2 * kept) & (radius <= _BAND[1] * 2 * kept)
    # Shells in which the CTF passes through zero say nothing.
    chosen &= usual[shells] > 0.2 * usual.max()
    level = usual[shells[chosen]]
    places = np.argwhere(chosen)[:, ::-1] - kept
    return inside[chosen] > _MEASURED * level, places.astype(np.float32)


def _best_range(
    measured: NDArray[np.bool_], points: NDArray[np.float32], axis_degrees: float
) -> tuple[float, float, float]:
    """Return how well tilts about an axis explain what was measured, and the best range."""
    axis = np.deg2rad(axis_degrees)
    across = points[:, 0] * np.sin(axis) - points[:, 1] * np.cos(axis)
    tilt = np.rad2deg(np.arctan2(points[:, 2] * np.where(across < 0, -1, 1), np.abs(across)))
    place = np.clip((tilt + 90) * _BINS / 180, 0, _BINS - 1).astype(np.int64)
    # What is measured speaks for its tilt, what is not against it: the best run of tilts.
    sums = np.bincount(place, np.where(measured, 1.0, -1.0), _BINS).cumsum()
    before = np.concatenate([[0.0], sums[:-1]])
    gain = np.where(np.tri(_BINS, dtype=bool), sums[:, None] - before[None, :], -np.inf)
    last, first = np.unravel_index(int(gain.argmax()), gain.shape)
    width = 180 / _BINS
    return float(gain.max()), -90 + width * float(first), -90 + width * float(last + 1)


def _whole(low: float, high: float, axis: float) -> Range:
    """Return whole degrees; an axis and its opposite are one, with tilts the other way."""
    turns = round(axis / 180 - 0.25)  # to -45 to 135
    low, high = (-high, -low) if turns % 2 else (low, high)
    return float(round(low)), float(round(high)), float(round(axis - 180 * turns))
