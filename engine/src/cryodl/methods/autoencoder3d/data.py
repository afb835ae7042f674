"""Subvolumes as the networks see them: one box, one scale, on the disk; and batches of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.fourier.filters import low_pass
from cryodl.core.geometry.rotations import rotate_cube
from cryodl.core.io.atomic import atomic_path, mapped_array
from cryodl.core.training.batches import Batch
from cryodl.core.training.seeds import numpy_generator
from cryodl.core.volumes.boxes import fourier_resample
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.inputs import Subvolumes
from cryodl.methods.autoencoder3d.pose_normalization import (
    Pose,
    PoseSettings,
    apply_pose,
    ball,
    normalise_pose,
)

CLIP = 5.0  # deviations
STORED = np.float16


def standardised(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a box of mean 0 and deviation 1 in its ball, outliers clipped; 0 if it is constant."""
    inside = volume[ball(volume.shape[0])].astype(np.float64)
    mean, deviation = float(inside.mean()), float(inside.std())
    if not deviation > 1e-6 * abs(mean) or deviation == 0:
        return np.zeros_like(volume, dtype=np.float32)
    return np.clip((volume.astype(np.float64) - mean) / deviation, -CLIP, CLIP).astype(np.float32)


def write_boxes(
    path: Path,
    subvolumes: Subvolumes,
    network_box_px: int,
    *,
    low_pass_angstrom: float | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> NDArray[np.bool_]:
    """Write all boxes as the network sees them, (N, n, n, n) float16.

    Returns
    -------
    ndarray, (N,) bool
        Which hold anything.
    """
    count = len(subvolumes.particles)
    good = np.ones(count, dtype=bool)
    shape = (count, *(network_box_px,) * 3)
    with atomic_path(path) as temporary:
        stored = mapped_array(temporary, STORED, shape)
        for index, box in enumerate(subvolumes.boxes()):
            if low_pass_angstrom is not None:
                box = low_pass(box, low_pass_angstrom, subvolumes.pixel_size_angstrom)
            if box.shape[0] != network_box_px:
                box = fourier_resample(box, network_box_px)
            values = standardised(box)
            good[index] = bool(values.any())
            stored[index] = values
            progress((index + 1) / count)
        stored.flush()
        del stored
    return good


def write_posed(
    path: Path, boxes: NDArray, poses: list[Pose], progress: Callable[[float], None]
) -> None:
    """Write boxes in their standard poses."""
    with atomic_path(path) as temporary:
        stored = mapped_array(temporary, STORED, boxes.shape)
        for index, pose in enumerate(poses):
            stored[index] = apply_pose(boxes[index].astype(np.float32), pose)
            progress((index + 1) / len(poses))
        stored.flush()
        del stored


def open_boxes(path: Path) -> NDArray[np.float16]:
    """Map what `write_boxes` or `write_posed` wrote.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    try:
        found: NDArray[np.float16] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected the boxes of autoencoder3d train; train "
            "again"
        ) from error
    return found


def find_poses(
    boxes: NDArray, settings: PoseSettings, progress: Callable[[float], None]
) -> list[Pose]:
    """Return the pose of each box."""
    poses = []
    for index in range(len(boxes)):
        poses.append(normalise_pose(boxes[index].astype(np.float32), settings))
        progress((index + 1) / len(boxes))
    return poses


@dataclass
class BoxSource:
    """Batches of boxes of a file; see `BatchSource`.

    Attributes
    ----------
    path : Path
        Of the boxes.
    rows : (M,) int64
        Which of them.
    recordings, rotations : (N,) and (N, 3, 3)
        Kind of recording and A of every box.
    batch_size, seed : int
        Of the batches.
    turned : bool
        Add copies that are turned at random by one of the 24 rotations of the cube.
    """

    path: Path
    rows: NDArray[np.int64]
    recordings: NDArray[np.int64]
    rotations: NDArray[np.float32]
    batch_size: int
    seed: int
    turned: bool = False

    def __post_init__(self) -> None:
        self._boxes: NDArray | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the map of the file behind: another process makes its own."""
        return {**self.__dict__, "_boxes": None}

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every box is seen about once."""
        return max(1, round(len(self.rows) / self.batch_size))

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return one micro-batch: ``volumes``, ``recordings``, ``rotations``, and ``turned``."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = numpy_generator(self.seed, epoch).permutation(self.rows)
        start = (within * world_size + rank) * self.batch_size
        chosen = np.sort(order[(start + np.arange(min(self.batch_size, len(order)))) % len(order)])
        batch = self.take(chosen)
        if self.turned:
            choices = numpy_generator(self.seed, step, micro, rank).integers(24, size=len(chosen))
            turned = [rotate_cube(v, int(k)) for v, k in zip(batch["volumes"].numpy(), choices)]
            batch["turned"] = torch.from_numpy(np.stack(turned).copy())
        return batch

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Return the boxes of some rows."""
        if self._boxes is None:
            self._boxes = open_boxes(self.path)
        return {
            "volumes": torch.from_numpy(self._boxes[rows].astype(np.float32)),
            "recordings": torch.from_numpy(self.recordings[rows]),
            "rotations": torch.from_numpy(self.rotations[rows].astype(np.float32)),
        }
