"""From chances of classes to things: where each is, what it is, and which voxels are its own.

How sure a network is depends on the contrast and on the tilts of the tomogram, and with it how wide
things are above a fixed chance. How large things of a class are does not: so the level at which a
class is cut is the one at which its things have the volume that they had in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from cryodl.methods.autoencoder3d.proposals import apart
from cryodl.methods.autoencoder3d.segment_kinds import kinds_of
from cryodl.methods.autoencoder3d.working_tomogram import WorkingTomogram

_REACH = 2.0  # of the outline of a thing, in radii of a ball of its volume
_FEWEST = 3  # things whose volumes say something about their class
_ALIKE = 0.35  # deviation of the volumes of things of one kind, relative to their median
_LARGE = 4.0  # volumes of its class: a thing that is more than one particle
_LOWEST, _HIGHEST = 0.05, 0.95  # of the levels


@dataclass(frozen=True)
class Component:
    """One thing that was found: where (x, y, z of the file), what, how sure, how large."""

    point_xyz_px: NDArray[np.float64]
    kind: int
    score: float
    voxels: float


@dataclass(frozen=True)
class Found:
    """What a tomogram holds.

    Attributes
    ----------
    labels : (z, y, x) uint8
        Class of each voxel of the network, 0 for background.
    things : list of Component
        One each.
    levels : (classes,) float32
        Chance of being anything from which a voxel belongs to a thing of the class.
    """

    labels: NDArray[np.uint8]
    things: list[Component]
    levels: NDArray[np.float32]


@dataclass(frozen=True)
class _Core:
    """A thing while its outline is drawn: place (z, y, x), window, chances, size, class."""

    place: NDArray[np.float64]
    window: tuple[slice, ...]
    votes: NDArray[np.float64]
    voxels: int
    kind: int = 0
    score: float = 0.0

    def is_whole(self, shape: tuple[int, ...], radius: float) -> bool:
        """Tell whether a ball of this radius lies inside the volume."""
        last = np.array(shape) - 1 - radius
        return bool((self.place >= radius).all() and (self.place <= last).all())


def find_things(
    chances: NDArray[np.floating],
    working: WorkingTomogram,
    description: Mapping[str, Any],
    threshold: float,
    min_volume: float,
    *,
    by_volume: bool = True,
) -> Found:
    """Find things; each is of one class, by all its voxels and by its size (see `kinds_of`).

    What touches is cut apart at the peaks of the chance of being anything.

    Parameters
    ----------
    chances : (classes, z, y, x) array
        Of the network; background first.
    working : WorkingTomogram
        What it looked at.
    description : mapping
        Of the model: ``volumes_px``, the mean volume of each class in training.
    threshold : float
        Chance of being anything from which something is found.
    min_volume : float
        Smallest thing, as a share of the volume of its class.
    by_volume : bool
        Whether outlines are drawn where things have the volume of their class; else at
        `threshold`.
    """
    volumes = np.array(
        [float(description["volumes_px"].get(str(k), 1.0)) for k in range(1, len(chances))]
    )
    anything = 1 - chances[0].astype(np.float32)
    owners, cores = _cores(anything, chances, volumes, threshold, min_volume)
    owners, cores = _sorted_out(owners, cores, volumes, min_volume)
    levels = np.full(len(chances), threshold, dtype=np.float32)
    if by_volume:
        levels[1:] = _levels(anything, owners, cores, volumes, threshold)
    labels = np.zeros(anything.shape, dtype=np.uint8)
    things = []
    for number, core in enumerate(cores, start=1):
        start, own, values = _surroundings(anything, owners, cores, number, volumes)
        inside = own & (values >= levels[core.kind])
        numbered, count = ndimage.label(inside)
        if count == 0:
            continue
        if count > 1:
            inside = numbered == np.bincount(numbered[inside]).argmax()
        voxels = np.argwhere(inside) + start
        labels[tuple(voxels.T)] = core.kind
        point = working.to_file(voxels.mean(axis=0)[::-1])
        things.append(Component(point, core.kind, core.score, float(len(voxels))))
    return Found(labels, things, levels)


def labels_of_file(
    found: Found, background: NDArray[np.floating], working: WorkingTomogram
) -> NDArray[np.uint8]:
    """Return labels on the grid of the file, with borders between the voxels of the network."""
    if working.step_px == 1:
        return found.labels
    labels = found.labels
    wide = np.where(labels == 0, ndimage.grey_dilation(labels, size=3), labels)
    on_file = working.on_file_grid(wide)
    inside = 1 - working.smooth_on_file_grid(background) >= found.levels[on_file]
    return np.where(inside, on_file, 0).astype(np.uint8)


def _cores(
    anything: NDArray[np.float32],
    chances: NDArray[np.floating],
    volumes: NDArray[np.float64],
    threshold: float,
    min_volume: float,
) -> tuple[NDArray[np.int32], list[_Core]]:
    """Return which thing each voxel above the threshold belongs to, from 1, and the things."""
    diameter = 2 * _radius(volumes.min())
    smooth = ndimage.gaussian_filter(anything, 0.25 * diameter)
    owners, _ = ndimage.label(anything >= threshold)
    cores: list[_Core] = []
    for number, box in enumerate(ndimage.find_objects(owners), start=1):
        own = owners[box] == number
        owners[box][own] = 0
        if own.sum() < min_volume * volumes.min():
            continue
        start = np.array([side.start for side in box])
        for part in _parts(own, smooth[box], diameter, float(volumes.mean())):
            at = tuple((part + start).T)
            votes = chances[(slice(1, None), *at)].mean(axis=1, dtype=np.float64)
            if len(part) < min_volume * volumes.min():
                continue
            window = tuple(
                slice(int(a), int(b) + 1)
                for a, b in zip(part.min(axis=0) + start, part.max(axis=0) + start, strict=True)
            )
            place = part.mean(axis=0) + start
            cores.append(_Core(place, window, votes, len(part)))
            owners[at] = -len(cores)  # not to be taken for a region that is still to come
    return np.negative(owners, out=owners), cores


def _sorted_out(
    owners: NDArray[np.int32],
    cores: list[_Core],
    volumes: NDArray[np.float64],
    min_volume: float,
) -> tuple[NDArray[np.int32], list[_Core]]:
    """Return the things with their classes, without those that are too small for them."""
    if not cores:
        return owners, cores
    votes = np.stack([core.votes for core in cores])
    sizes = np.array([core.voxels for core in cores], dtype=np.float64)
    whole = np.array(
        [core.is_whole(owners.shape, _radius(min(volumes.max(), core.voxels))) for core in cores]
    )
    anything = votes.sum(axis=1)
    sure = kinds_of(votes / np.maximum(anything[:, None], 1e-6), sizes, whole)
    kinds = sure.argmax(axis=1)
    kept = sizes >= min_volume * volumes[kinds]
    numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    chosen = [
        replace(core, kind=int(kind) + 1, score=float(score))
        for core, kind, score, stays in zip(
            cores, kinds, anything * sure.max(axis=1), kept, strict=True
        )
        if stays
    ]
    return (owners if kept.all() else numbers[owners]), chosen


def _levels(
    anything: NDArray[np.float32],
    owners: NDArray[np.int32],
    cores: list[_Core],
    volumes: NDArray[np.float64],
    threshold: float,
) -> NDArray[np.float64]:
    """Return at which chance things of each class have its volume; the threshold if unsure."""
    levels = np.full(len(volumes), threshold)
    for kind, volume in enumerate(volumes, start=1):
        sizes = np.array([core.voxels for core in cores if core.kind == kind])
        if len(sizes) < _FEWEST:
            continue
        middle = float(np.median(sizes))
        if 1.4826 * float(np.median(np.abs(sizes - middle))) > _ALIKE * middle:
            continue  # membranes, for example, have no volume of their own
        found = []
        for number, core in enumerate(cores, start=1):
            if core.kind != kind or not core.is_whole(anything.shape, _radius(volume)):
                continue
            _, own, values = _surroundings(anything, owners, cores, number, volumes)
            rank = min(round(volume), int(own.sum()))
            found.append(-np.partition(-values[own], rank - 1)[rank - 1])
        if len(found) >= _FEWEST:
            levels[kind - 1] = np.clip(np.median(found), _LOWEST, _HIGHEST)
    return levels


def _surroundings(
    anything: NDArray[np.float32],
    owners: NDArray[np.int32],
    cores: list[_Core],
    number: int,
    volumes: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32]]:
    """Return a window about a thing: its first voxel, which voxels may be its own, chances."""
    core = cores[number - 1]
    volume = float(volumes[core.kind - 1])
    if core.voxels > _LARGE * volume:
        first = np.array([side.start for side in core.window])
        return first, owners[core.window] == number, anything[core.window]
    reach = _REACH * _radius(max(volume, core.voxels))
    start = np.maximum(np.floor(core.place - reach), 0).astype(np.int64)
    stop = np.minimum(np.ceil(core.place + reach) + 1, anything.shape).astype(np.int64)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    near = owners[window]
    distance = _squares(window, core.place)
    own = (near == number) | ((near == 0) & (distance <= reach**2))
    for other in np.setdiff1d(np.unique(near[near > 0]), [number]):
        own &= (near == number) | (distance <= _squares(window, cores[other - 1].place))
    return start, own, anything[window]


def _squares(window: tuple[slice, ...], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances of the voxels of a window from a place."""
    z, y, x = (side - at for side, at in zip(np.ogrid[window], place, strict=True))
    found: NDArray[np.float64] = z**2 + y**2 + x**2
    return found


def _parts(
    own: NDArray[np.bool_], smooth: NDArray[np.float32], diameter: float, usual: float
) -> list[NDArray[np.int32]]:
    """Return the voxels of each thing in one connected region."""
    voxels = np.argwhere(own).astype(np.int32)
    if len(voxels) < 1.5 * usual:
        return [voxels]
    edge = max(3, round(0.5 * diameter)) | 1
    peaks = own & (smooth == ndimage.maximum_filter(smooth, edge, mode="constant"))
    places = np.argwhere(peaks)
    order = np.argsort(-smooth[peaks], kind="stable")
    places = places[order][apart(places[order].astype(np.float64), 0.6 * diameter)]
    if len(places) < 2:
        return [voxels]
    nearest = cKDTree(places).query(voxels)[1]
    order = np.argsort(nearest, kind="stable")
    ends = np.cumsum(np.bincount(nearest, minlength=len(places)))[:-1]
    return np.split(voxels[order], ends)


def _radius(volume: float) -> float:
    """Return that of a ball."""
    return float((3 * volume / (4 * np.pi)) ** (1 / 3))
