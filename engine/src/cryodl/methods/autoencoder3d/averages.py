"""Averages of groups, upright: what was measured of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryodl.core.volumes.averaging import WedgeAverage
from cryodl.core.volumes.boxes import fourier_resample
from cryodl.core.volumes.particle_average import turned_weight
from cryodl.methods.autoencoder3d.pose_normalization import (
    Pose,
    PoseSettings,
    apply_pose,
    normalise_pose,
)

_BATCH = 64


class Poses(NamedTuple):
    """Poses of particles in their groups: ``x_box = A x_group + c``."""

    rotations: NDArray[np.float64]
    centres_px: NDArray[np.float64]


def upright(poses: Poses, rows: NDArray[np.int64], average: NDArray[np.float32]) -> Poses:
    """Turn the frame of a group so that the principal axes of its average are x, y, z.

    Groups that are one structure then look alike in their pictures.
    """
    pose = normalise_pose(average, PoseSettings("full", keep_all=True))
    rotations, centres = poses.rotations.copy(), poses.centres_px.copy()
    centres[rows] += poses.rotations[rows] @ pose.centre_px
    rotations[rows] = poses.rotations[rows] @ pose.rotation
    return Poses(rotations, centres)


def average_boxes(
    boxes: NDArray,
    rows: NDArray[np.int64],
    rotations: NDArray[np.float64],
    centres_px: NDArray[np.float64],
    wedges: NDArray[np.float32],
    kinds: NDArray[np.int64],
    cut: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Return the average of some particles, each frequency by how often it was measured.

    Poses are in the frames of the boxes, wedges in that of the tomogram; `cut` leads from the first
    to the second where boxes were cut in other directions.
    """
    n = boxes.shape[-1]
    if len(rows) == 0:
        return np.zeros((n, n, n), dtype=np.float32)
    average = WedgeAverage(n)
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        weights = wedges[kinds[part]]
        if cut is not None:
            turns = zip(weights, cut[part], strict=True)
            weights = np.stack([turned_weight(weight, turn) for weight, turn in turns])
        average.add(boxes[part].astype(np.float32), rotations[part], -centres_px[part], weights)
    return average.result(regularisation=0.5)


def working_boxes(
    boxes: NDArray,
    most_px: int,
    cut: NDArray[np.float64] | None = None,
    edge_px: int | None = None,
) -> NDArray[np.float32]:
    """Return boxes of at most `most_px` voxels; what is finer decides nothing here.

    Only the middle of each, of `edge_px` voxels, is kept, if this is given. Boxes that were cut in
    other directions are turned to that of the tomogram, in which what was measured of all of them
    is the same.
    """
    found = np.asarray(boxes, dtype=np.float32)
    if cut is not None:
        still = np.zeros(3)
        pairs = zip(found, cut, strict=True)
        found = np.stack([apply_pose(box, Pose(turn.T, still)) for box, turn in pairs])
    if edge_px is not None:
        start = boxes.shape[-1] // 2 - edge_px // 2
        found = found[(slice(None), *(slice(start, start + edge_px),) * 3)]
    if found.shape[-1] <= most_px:
        return np.ascontiguousarray(found)
    return np.stack([fourier_resample(box, most_px) for box in found])


def in_boxes(poses: Poses, cut: NDArray[np.float64] | None) -> Poses:
    """Return poses in the frame of the tomogram as poses in the frames of the boxes."""
    if cut is None:
        return poses
    back = np.swapaxes(cut, 1, 2)
    return Poses(back @ poses.rotations, np.einsum("nij,nj->ni", back, poses.centres_px))
