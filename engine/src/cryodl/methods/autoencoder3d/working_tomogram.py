"""Tomograms as the segmentation network sees them: its voxels, matter bright, locally standardised.

Along each axis the values are means weighted by a triangle as wide as the new voxel, so that what
is finer is not aliased; between voxels they are interpolated linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from cryodl.methods.autoencoder3d.data import CLIP

_WINDOW_BOXES = 2.0  # edge of the neighbourhood that sets mean and deviation, in boxes
_SLAB = 16
_UNIT = 1e-3


@dataclass(frozen=True)
class WorkingTomogram:
    """A prepared tomogram.

    Attributes
    ----------
    values : (z, y, x) float32
        In voxels of the network.
    step_px : float
        Voxels of the file to one of the network.
    file_shape : (int, int, int)
        Of the file.
    """

    values: NDArray[np.float32]
    step_px: float
    file_shape: tuple[int, int, int]

    def to_working(self, points_xyz_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places in the file as places in `values`."""
        return (points_xyz_px + 0.5) / self.step_px - 0.5

    def to_file(self, points_xyz_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places in `values` as places in the file."""
        return (points_xyz_px + 0.5) * self.step_px - 0.5

    def on_file_grid(self, labels: NDArray) -> NDArray:
        """Return values of the nearest voxels, on the grid of the file."""
        indices = [
            np.clip(np.round((np.arange(size) + 0.5) / self.step_px - 0.5), 0, limit - 1)
            for size, limit in zip(self.file_shape, labels.shape, strict=True)
        ]
        return labels[np.ix_(*(index.astype(np.int64) for index in indices))]

    def smooth_on_file_grid(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values between voxels, linearly, on the grid of the file."""
        found = np.asarray(values, dtype=np.float32)
        if self.step_px == 1:
            return found
        for axis, (size, limit) in enumerate(zip(self.file_shape, values.shape, strict=True)):
            place = np.clip((np.arange(size) + 0.5) / self.step_px - 0.5, 0, limit - 1)
            low = np.minimum(place.astype(np.int64), max(limit - 2, 0))
            part = (
                (place - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
            )
            first = np.take(found, low, axis=axis)
            first += part * (np.take(found, np.minimum(low + 1, limit - 1), axis=axis) - first)
            found = first
        return found


def prepare(tomogram: NDArray, step_px: float, box_px: int, *, dark: bool) -> WorkingTomogram:
    """Bring a tomogram to the network's voxels and scale.

    Parameters
    ----------
    tomogram : (z, y, x) array
        Memory-mapped or not; read by sections.
    step_px : float
        Voxels of it to one of the network.
    box_px : int
        Box of the network.
    dark : bool
        What matter is.
    """
    z, y, x = tomogram.shape
    values = _resampled(tomogram, step_px) if abs(step_px - 1) > _UNIT else _copied(tomogram)
    if dark:
        np.negative(values, out=values)
    _standardise_locally(values, max(3, round(_WINDOW_BOXES * box_px)))
    return WorkingTomogram(values, step_px if abs(step_px - 1) > _UNIT else 1.0, (z, y, x))


def _copied(tomogram: NDArray) -> NDArray[np.float32]:
    values = np.array(tomogram, dtype=np.float32)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return values


def _resampled(tomogram: NDArray, step: float) -> NDArray[np.float32]:
    wz, wy, wx = (_weights(size, step) for size in tomogram.shape)
    out = np.zeros((wz.shape[0], wy.shape[0], wx.shape[0]), dtype=np.float32)
    columns = wz.tocsc()
    for start in range(0, tomogram.shape[0], _SLAB):
        slab = _copied(tomogram[start : start + _SLAB])
        planes = np.stack([(wx @ (wy @ plane).T).T for plane in slab])
        part = columns[:, start : start + len(slab)].tocsr()
        touched = np.flatnonzero(np.diff(part.indptr))
        flat = part[touched] @ planes.reshape(len(slab), -1)
        out[touched] += flat.reshape(-1, *out.shape[1:]).astype(np.float32)
    return out


def _weights(size: int, step: float) -> sparse.csr_matrix:
    """Return the matrix (new, old) of one axis."""
    count = max(1, round(size / step))
    centres = (np.arange(count) + 0.5) * step - 0.5
    reach = max(1.0, step)
    rows, columns, values = [], [], []
    for row, centre in enumerate(centres):
        near = np.arange(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1)
        weight = np.maximum(0, 1 - np.abs(near - centre) / reach)
        weight /= weight.sum()
        rows.append(np.full(len(near), row))
        columns.append(np.clip(near, 0, size - 1))
        values.append(weight)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix: sparse.csr_matrix = sparse.coo_matrix(entries, shape=(count, size)).tocsr()
    return matrix.astype(np.float32)


def _standardise_locally(values: NDArray[np.float32], window: int) -> None:
    """Shift and scale in place by mean and deviation of the neighbourhood."""
    values -= np.float32(values.mean(dtype=np.float64))
    whole = max(float(values.std(dtype=np.float64)), 1e-12)
    values /= np.float32(whole)
    np.clip(values, -4 * CLIP, 4 * CLIP, out=values)  # gold must not set the scale around it
    mean = ndimage.uniform_filter(values, window, mode="reflect")
    values -= mean
    spread = ndimage.uniform_filter(np.square(values), window, mode="reflect")
    del mean
    np.maximum(spread, np.float32(0.01), out=spread)
    np.sqrt(spread, out=spread)
    values /= spread
    np.clip(values, -CLIP, CLIP, out=values)
