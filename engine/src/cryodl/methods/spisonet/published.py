"""The published recipe, kept as an option: its data, its weight on a cube, its averaging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from cryodl.core.fourier.transform import friedel_average
from cryodl.core.geometry.rotations import cube_rotations, rotate_cube
from cryodl.core.training.seeds import numpy_generator
from cryodl.methods.spisonet.data import DataSettings, choose_cube
from cryodl.methods.spisonet.problem import Volume

_PUBLISHED_STREAM = 4
_CUBE_ROTATIONS = 24
_FLAT = 1e-3


def cube_weight(fsc3d: Volume, cube_size_px: int, *, rescale: bool = False) -> Volume:
    """Reduce a directional weight from the box to a training cube.

    The weight is blurred as the cube's own transform does, sampled about zero frequency, made
    equal at k and -k, and 1 at zero frequency. (The published program resizes the array, which
    shifts zero frequency by up to half a voxel.)

    Parameters
    ----------
    fsc3d : np.ndarray
        (n, n, n), centred.
    cube_size_px : int
        Edge c of the cube.
    rescale : bool
        Stretch the values to [0, 1], as published.

    Returns
    -------
    np.ndarray
        (c, c, c) float32 in [0, 1], centred.
    """
    n, c = fsc3d.shape[0], cube_size_px
    sigma = max(0.0, (n / c - 1) / 2)
    smooth = np.clip(fsc3d, 0.0, 1.0).astype(np.float64)
    if sigma > 0:
        smooth = ndimage.gaussian_filter(smooth, sigma)
    axis = (np.arange(c) - c // 2) * (n / c) + n // 2
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    weight = ndimage.map_coordinates(smooth, points, order=1, mode="nearest")
    weight = np.clip(friedel_average(weight), 0.0, 1.0)
    low, high = weight.min(), weight.max()
    if rescale and high - low > _FLAT:
        weight = (weight - low) / (high - low)
    weight[c // 2, c // 2, c // 2] = 1.0
    return weight.astype(np.float32)


class PublishedData:
    """Batches of the published loss: the same cube of both half maps, and a rotation.

    Parameters
    ----------
    halves : sequence of np.ndarray
        (n, n, n), normalised; two, or one for independent halves.
    mask : np.ndarray
        (n, n, n): cubes are centred on voxels where it is above 0.5.
    settings : DataSettings
        Sizes and seed.
    """

    def __init__(self, halves: Sequence[Volume], mask: Volume, settings: DataSettings) -> None:
        self.settings = settings
        self._halves = [torch.as_tensor(np.ascontiguousarray(half)) for half in halves]
        self._mask = torch.as_tensor(np.ascontiguousarray(mask))

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """Return ``x1``, with two halves ``x2`` (b, 1, c, c, c), and ``rotation`` (b,) 0 to 23."""
        cubes: list[list[Tensor]] = [[] for _ in self._halves]
        rotations = []
        for serial in self.settings.serials(step, micro, rank, world_size):
            generator = numpy_generator(self.settings.seed, _PUBLISHED_STREAM, serial)
            cut = choose_cube(self._mask, self.settings.cube_size_px, generator)
            swap = int(generator.integers(2)) if len(self._halves) == 2 else 0
            for place, kept in enumerate(cubes):
                kept.append(self._halves[place ^ swap][cut][None])
            rotations.append(int(generator.integers(24)))
        batch = {f"x{place + 1}": torch.stack(kept) for place, kept in enumerate(cubes)}
        return {**batch, "rotation": torch.tensor(rotations)}


class RotationAverage(nn.Module):
    """A network averaged over the 24 rotations of a cube at prediction time.

    Parameters
    ----------
    network : nn.Module
        (b, 1, c, c, c) to the same.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        matrices = cube_rotations()
        self._inverse = [
            next(i for i, other in enumerate(matrices) if np.array_equal(other, matrix.T))
            for matrix in matrices
        ]

    def forward(self, cubes: Tensor) -> Tensor:
        """Return the mean over the rotations, each turned back."""
        total = torch.zeros_like(cubes)
        for index, inverse in enumerate(self._inverse):
            total += rotate_cube(self.network(rotate_cube(cubes, index)), inverse)
        return total / _CUBE_ROTATIONS
