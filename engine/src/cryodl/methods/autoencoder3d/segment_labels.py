"""Which voxels of a box belong to which class, from the selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.core.volumes.boxes import fourier_resample
from cryodl.methods.autoencoder3d.losses import IGNORED
from cryodl.methods.autoencoder3d.model import Autoencoder
from cryodl.methods.autoencoder3d.pose_normalization import (
    Pose,
    ball,
    matter,
    otsu,
    undo_pose,
)
from cryodl.methods.autoencoder3d.trained import Trained

_SMOOTH_PX = 1.0  # of the box of 32, before an average is cut
_ENVELOPE = 0.2
_FINE, _COARSE_PX = 3, 32  # masks of boxes up to this size are cut at a third of their voxels
_MOST_REACH = 1.0  # box edges: particles farther away are not in the box


@dataclass(frozen=True)
class Selected:
    """Chosen particles: rows of the training, classes from 1, and where their masks lie.

    Attributes
    ----------
    rows, classes : (M,) int64
        Which particles, and what they are.
    masks : list of (n, n, n) float32
        0 to 1 in the frame of the mask.
    poses : list of Pose
        From the frame of the mask to that of the box.
    groups : (M,) int64
        Of the clustering.
    maps : list of (n, n, n) float32
        What the masks were cut from.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    masks: list[NDArray[np.float32]]
    poses: list[Pose]
    groups: NDArray[np.int64]
    maps: list[NDArray[np.float32]]

    def volumes(self) -> dict[int, float]:
        """Return the mean number of voxels of each class."""
        sizes = np.array([float(mask.sum()) for mask in self.masks])
        return {int(c): float(sizes[self.classes == c].mean()) for c in np.unique(self.classes)}


def select_masks(
    trained: Trained,
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    source: str,
    threshold: str,
    grow_px: float,
    *,
    network: Autoencoder,
    groups: dict[str, NDArray],
    averages: list[NDArray[np.float32]],
) -> Selected:
    """Cut the masks of chosen particles.

    Parameters
    ----------
    trained : Trained
        The training.
    rows, classes : (M,) arrays
        The selection.
    source : str
        ``average``, ``decoded`` or ``center``.
    threshold : str
        ``envelope``, or as in `matter`.
    grow_px : float
        By how much masks are grown.
    network : Autoencoder
        To decode with.
    groups : dict
        ``labels``, ``rotations`` and ``centres_px`` of the clustering.
    averages : list
        Of the groups.
    """
    standard = [Pose(trained.rotations[i], trained.centres_px[i]) for i in rows]
    own = groups["labels"][rows]
    if source == "average":
        maps = dict(enumerate(averages))
        standard = [Pose(groups["rotations"][i], groups["centres_px"][i]) for i in rows]
    elif source == "center":
        codes, labels = trained.codes, groups["labels"]
        maps = {k: _decoded(network, codes[labels == k].mean(axis=0)) for k in np.unique(own)}
    else:
        decoded = [_decoded(network, trained.codes[i]) for i in rows]
        masks = [cut_mask(volume, threshold, grow_px) for volume in decoded]
        return Selected(rows, classes, masks, standard, own, decoded)
    cut = {k: cut_mask(maps[k], threshold, grow_px) for k in np.unique(own)}
    return Selected(rows, classes, [cut[k] for k in own], standard, own, [maps[k] for k in own])


def paint(
    selected: Selected,
    box_px: int,
    offsets_xyz_px: NDArray[np.float64],
    members: NDArray[np.int64],
) -> NDArray[np.int8]:
    """Return labels of a box: classes, background 0, and `IGNORED` at the borders.

    Parameters
    ----------
    selected : Selected
        Masks and poses.
    box_px : int
        Edge of the box.
    offsets_xyz_px : (K, 3) array
        From the centre of the box to the boxes of the members.
    members : (K,) integers
        Which of the selected lie in the box.
    """
    labels = np.zeros((box_px,) * 3, dtype=np.int8)
    for member, offset in zip(members, offsets_xyz_px, strict=True):
        pose = selected.poses[member]
        moved = Pose(pose.rotation, pose.centre_px + offset)
        inside = undo_pose(selected.masks[member], moved, order=1) > 0.5
        labels[inside] = selected.classes[member]
    edge = ndimage.grey_dilation(labels, size=3) != ndimage.grey_erosion(labels, size=3)
    rim = edge & (ndimage.binary_erosion(labels > 0) != (labels > 0))
    labels[rim] = IGNORED
    return labels


def in_reach(
    centre_xyz_px: NDArray[np.float64], places_xyz_px: NDArray[np.float64], box_px: int
) -> NDArray[np.int64]:
    """Return which places may have matter in a box about a centre."""
    near = np.abs(places_xyz_px - centre_xyz_px).max(axis=1) <= _MOST_REACH * box_px
    return np.flatnonzero(near)


def cut_mask(
    volume: NDArray[np.float32], threshold: str, grow_px: float = 0.0
) -> NDArray[np.float32]:
    """Return the share of each voxel inside the piece of matter nearest the centre, grown.

    It is cut and grown between the voxels: at the voxels of a coarse network, growth by one and a
    third of them is growth by one, and a particle loses a third of its volume.
    """
    n = volume.shape[0]
    fine = _FINE if n <= _COARSE_PX else 1
    finer = fourier_resample(volume, fine * n) if fine > 1 else volume
    level = threshold
    if threshold == "envelope":
        level = _envelope(ndimage.gaussian_filter(finer, _SMOOTH_PX * fine * n / 32))
    region = matter(finer, level, _SMOOTH_PX)
    if grow_px > 0 and region.any():
        region = ndimage.distance_transform_edt(~region) <= fine * grow_px
    share = ndimage.uniform_filter(region.astype(np.float32), fine, mode="constant")
    # An odd number of fine voxels lies evenly about the middle of each coarse one.
    return np.clip(share[::fine, ::fine, ::fine], 0, 1).astype(np.float32)


def _envelope(smooth: NDArray[np.float32]) -> str:
    """Return the level a fifth of the way from background to matter, in deviations."""
    values = smooth[ball(smooth.shape[0])]
    split = otsu(values)
    dark, bright = float(np.median(values[values <= split])), float(values[values > split].mean())
    level = dark + _ENVELOPE * (bright - dark)
    return str((level - float(values.mean())) / max(float(values.std()), 1e-12))


@torch.inference_mode()
def _decoded(network: Autoencoder, code: NDArray[np.float32]) -> NDArray[np.float32]:
    return network.decode(torch.from_numpy(code[None]))[0].numpy()
