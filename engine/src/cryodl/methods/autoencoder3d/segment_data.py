"""Boxes and labels that the segmentation network is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryodl.core.io.mrc import open_tomogram
from cryodl.core.training.batches import Batch
from cryodl.core.training.seeds import numpy_generator
from cryodl.methods.autoencoder3d.pose_normalization import Pose
from cryodl.methods.autoencoder3d.segment_labels import Selected, in_reach, paint
from cryodl.methods.autoencoder3d.segment_synthesis import (
    Model,
    Synthesis,
    cleaned,
    strength_of,
)
from cryodl.methods.autoencoder3d.trained import Trained
from cryodl.methods.autoencoder3d.working_tomogram import WorkingTomogram, prepare

_JITTER = 0.25  # of the box: how far boxes are moved off their particles
_COPIES = 2  # of each particle of a tomogram: one as it is, the others moved
_GAIN, _NOISE = 0.3, 0.1
_AWAY = 0.6  # of the box: how far background is from all particles
_TRIES = 50
_MOST_GROUND, _FEWEST_GROUND = 200, 8  # boxes of a tomogram without particles


@dataclass(frozen=True)
class Boxes:
    """Training data: (M, n, n, n) boxes and labels, and which block of the data each is from."""

    volumes: NDArray[np.float16]
    labels: NDArray[np.int8]
    blocks: NDArray[np.int64]


def particle_boxes(trained: Trained, selected: Selected, background: float, seed: int) -> Boxes:
    """Return boxes of the selected particles and of others, where there are no tomograms."""
    rng = np.random.default_rng(seed)
    n = trained.boxes.shape[-1]
    rest = np.setdiff1d(np.arange(len(trained.names)), selected.rows)
    count = min(len(rest), round(background * len(selected.rows)))
    others = rng.permutation(rest)[:count]
    zero = np.zeros((1, 3))
    labels = [paint(selected, n, zero, np.array([i])) for i in range(len(selected.rows))]
    labels += [np.zeros((n, n, n), dtype=np.int8)] * len(others)
    rows = np.concatenate([selected.rows, others])
    volumes = np.stack([trained.boxes[i] for i in rows]).astype(np.float16)
    return Boxes(volumes, np.stack(labels), np.arange(len(rows)))


def tomogram_boxes(
    trained: Trained, selected: Selected, background: float, seed: int
) -> tuple[Boxes, Synthesis | None]:
    """Return boxes cut from the tomograms, about particles and away from them; and more, made up.

    Every selected particle that reaches into a box is painted there.
    """
    volumes, labels, blocks = [], [], []
    rng = np.random.default_rng(seed)
    n = trained.boxes.shape[-1]
    step = float(trained.account["box_size_px"]) / n
    names = np.array(trained.particles.tomograms)
    seen: dict[int, tuple[Pose, NDArray[np.float32]]] = {}
    ground: list[NDArray[np.float16]] = []
    for number, (name, path) in enumerate(sorted(trained.account["tomograms"].items())):
        stored = open_tomogram(Path(path), pixel_size_angstrom=_pixel(trained)).data
        working = prepare(stored, step, n, dark=bool(trained.account["dark"]))
        own = names == name
        places = working.to_working(trained.particles.coordinates_px)
        mine = np.flatnonzero(own[selected.rows])
        empty = _empty_places(working, places[own], _MOST_GROUND, n, rng)
        ground += [cut_box(working.values, place, n).astype(np.float16) for place in empty]
        centres = _centres(places[own], places[selected.rows[mine]], empty, background, n, rng)
        for centre in centres:
            whole = np.round(centre).astype(int)
            near = mine[in_reach(whole, places[selected.rows[mine]], n)]
            offsets = places[selected.rows[near]] - whole
            volumes.append(cut_box(working.values, whole, n).astype(np.float16))
            labels.append(paint(selected, n, offsets, near))
            # Blocks of space: the held-out part must not overlap what is learned from.
            blocks.append(1000 * number + int(whole[0] // (2 * n)) + 30 * int(whole[1] // (2 * n)))
        for member in mine:
            place = places[selected.rows[member]]
            whole, pose = np.round(place).astype(int), selected.poses[member]
            moved = Pose(pose.rotation, pose.centre_px + place - whole)
            seen[int(member)] = (moved, cut_box(working.values, whole, n))
    made = Boxes(np.stack(volumes), np.stack(labels), np.array(blocks))
    return made, _synthesis(trained, selected, seen, ground)


def _synthesis(
    trained: Trained,
    selected: Selected,
    seen: dict[int, tuple[Pose, NDArray[np.float32]]],
    ground: list[NDArray[np.float16]],
) -> Synthesis | None:
    """Return what boxes can be put together from, None where a class does not show clearly."""
    n = trained.boxes.shape[-1]
    known = trained.recordings.known
    wedges = trained.recordings.wedges(n) if known else np.ones((1, n, n, n), np.float32)
    models = []
    for group in np.unique(selected.groups):
        members = [int(m) for m in np.flatnonzero(selected.groups == group) if int(m) in seen]
        if not members:
            continue
        mask = selected.masks[members[0]]
        volume = cleaned(selected.maps[members[0]], mask)
        kinds = trained.recordings.kinds[selected.rows[members]] if known else [0] * len(members)
        strength = strength_of(
            volume,
            [seen[m][0] for m in members],
            [seen[m][1] for m in members],
            [wedges[kind] for kind in kinds],
        )
        if strength is not None:
            kind = int(selected.classes[members[0]])
            models.append(Model(volume, mask, kind, strength, float(len(members))))
    complete = {model.kind for model in models} == set(selected.classes.tolist())
    if not complete or len(ground) < _FEWEST_GROUND:
        return None
    return Synthesis(models, np.stack(ground))


def cut_box(values: NDArray[np.float32], centre_xyz: NDArray, n: int) -> NDArray:
    """Return a box about a voxel; beyond the border the tomogram is mirrored."""
    indices = []
    for centre, size in zip(centre_xyz[::-1], values.shape, strict=True):
        wanted = np.mod(int(centre) - n // 2 + np.arange(n), 2 * size)
        indices.append(np.where(wanted < size, wanted, 2 * size - 1 - wanted))
    return values[np.ix_(*indices)]


def _pixel(trained: Trained) -> float:
    network = float(trained.account["pixel_size_angstrom"])
    return network * trained.boxes.shape[-1] / float(trained.account["box_size_px"])


def _centres(
    all_places: NDArray[np.float64],
    chosen: NDArray[np.float64],
    empty: NDArray[np.float64],
    background: float,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    moved = [chosen]
    for _ in range(_COPIES - 1):
        moved.append(chosen + rng.uniform(-_JITTER * n, _JITTER * n, chosen.shape))
    count = round(background * len(chosen))
    others = all_places[~np.isin(all_places, chosen).all(axis=1)]
    others = rng.permutation(others)[: count // 2]
    return np.concatenate([*moved, others, empty[: count - len(others)]])


def _empty_places(
    working: WorkingTomogram,
    all_places: NDArray[np.float64],
    count: int,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return places away from all particles, as many as are found."""
    size = np.array(working.values.shape[::-1])
    tree = cKDTree(all_places) if len(all_places) else None
    empty: list[NDArray[np.float64]] = []
    for _ in range(_TRIES * count):
        if len(empty) >= count:
            break
        place = np.round(rng.uniform(0, size - 1))
        if tree is None or tree.query(place)[0] > _AWAY * n:
            empty.append(place)
    return np.array(empty).reshape(-1, 3)


class LabelledSource:
    """Batches of boxes with labels, turned about the beam and varied in gain; see `BatchSource`."""

    def __init__(
        self,
        boxes: Boxes,
        rows: NDArray[np.int64],
        batch_size: int,
        seed: int,
        synthesis: Synthesis | None = None,
    ) -> None:
        self.boxes, self.rows, self.batch_size, self.seed = boxes, rows, batch_size, seed
        self.synthesis = synthesis

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every box is seen about once."""
        return max(1, round(len(self.rows) / self.batch_size))

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return one micro-batch: ``volumes`` and ``labels``."""
        generator = numpy_generator(self.seed, step, micro, rank)
        chosen = generator.choice(self.rows, size=min(self.batch_size, len(self.rows)))
        volumes, labels = [], []
        for number, row in enumerate(chosen):
            if self.synthesis is not None and number % 2:
                volume, label = self.synthesis.draw(generator)
            else:
                volume, label = self.boxes.volumes[row].astype(np.float32), self.boxes.labels[row]
            for axes in ((0, 1), (1, 2)):  # half turns about the axes keep the wedge where it is
                if generator.integers(2):
                    volume, label = np.flip(volume, axes), np.flip(label, axes)
            gain = 1 + generator.uniform(-_GAIN, _GAIN)
            noise = _NOISE * generator.standard_normal(volume.shape, dtype=np.float32)
            volumes.append((volume * np.float32(gain) + noise).astype(np.float32))
            labels.append(label)
        return {
            "volumes": torch.from_numpy(np.stack(volumes)),
            "labels": torch.from_numpy(np.stack(labels).copy()),
        }

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Return boxes as they are."""
        return {
            "volumes": torch.from_numpy(self.boxes.volumes[rows].astype(np.float32)),
            "labels": torch.from_numpy(self.boxes.labels[rows]),
        }
