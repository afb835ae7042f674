"""Training batches as a function of counters: cubes of rotated maps, cut on the fly."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cryodl.core.geometry.resample import centred_to_rfft, rotate_fourier_weight
from cryodl.core.training.seeds import numpy_generator
from cryodl.methods.spisonet.problem import Problem, Simulation, Volume

_ORIENTATION_STREAM = 1
_CROP_STREAM = 2
_IDENTITY = np.eye(3)


@dataclass(frozen=True)
class DataSettings:
    """Settings of the training data.

    Attributes
    ----------
    cube_size_px : int
        Edge of the training cube, a multiple of 8.
    batch_size, accumulate : int
        Cubes per optimiser step over all processes, and micro-batches it is split into; every
        process gets at least one cube a micro-batch, also where that makes the step larger.
    crops_per_orientation : int
        Cubes cut from one rotated map. Fewer means more orientations, which is better, and more
        time for rotating and filling whole maps.
    emphasis : float
        Weight taken off the loss in measured directions, in [0, 1): 0 = denoise as much as fill.
    seed : int
        All randomness follows from it and the counters.
    """

    cube_size_px: int = 48
    batch_size: int = 4
    accumulate: int = 1
    crops_per_orientation: int = 2
    emphasis: float = 0.8
    seed: int = 0

    def serials(self, step: int, micro: int, rank: int, world_size: int) -> range:
        """Return the running numbers of the cubes of a micro-batch; no two processes share one."""
        size = max(1, self.batch_size // self.accumulate // world_size)
        first = ((step * self.accumulate + micro) * world_size + rank) * size
        return range(first, first + size)


class CrossDirectionData:
    """Batches of the default loss.

    Each process makes the `Problem` for itself, on its own device, when the first batch is asked
    for; only arrays travel between processes.

    Parameters
    ----------
    problem_arguments : dict
        Of `Problem`, without the device.
    settings : DataSettings
        Sizes and seed.
    use_gpu : bool
        Keep maps on the current GPU of the process.
    """

    def __init__(
        self, problem_arguments: dict[str, Any], settings: DataSettings, *, use_gpu: bool = False
    ) -> None:
        self.settings = settings
        self._arguments = problem_arguments
        self._use_gpu = use_gpu
        self._problem: Problem | None = None
        self._cache: OrderedDict[int, Simulation] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what each process makes for itself."""
        return {**vars(self), "_problem": None, "_cache": OrderedDict()}

    @property
    def problem(self) -> Problem:
        """The maps on this process's device."""
        if self._problem is None:
            device = torch.device("cpu")
            if self._use_gpu:
                device = torch.device("cuda", torch.cuda.current_device())
            self._problem = Problem(**self._arguments, device=device)
            self._prepare(self._problem)
        return self._problem

    def _prepare(self, problem: Problem) -> None:
        c, n = self.settings.cube_size_px, problem.n
        # The spectrum of a cube is that of the map blurred by the cube's own transform.
        sigma = (n / c - 1) / 2
        self._rho = problem.tensor(_blurred(problem.snr.rho, sigma))
        covered = problem.tensor(_blurred(problem.snr.coverage, sigma))
        cover = centred_to_rfft(rotate_fourier_weight(covered, _IDENTITY, c)).clamp(max=1.0)
        power = problem.tensor(_cube_power(problem.power, n, c))
        self._static = (1 - self.settings.emphasis * cover) / centred_to_rfft(power)

    def orientation(self, index: int) -> Simulation:
        """Return simulation `index`; the cubes of a step share it, so the last ones are kept."""
        if index not in self._cache:
            generator = numpy_generator(self.settings.seed, _ORIENTATION_STREAM, index)
            half = index % len(self.problem.halves)
            self._cache[index] = self.problem.simulate(half, generator)
            while len(self._cache) > 2:
                self._cache.popitem(last=False)
        return self._cache[index]

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """Return one micro-batch.

        Returns
        -------
        dict
            ``input`` and ``target`` (b, 1, c, c, c), normalised grey values; ``weight``
            (b, 1, c, c, c//2 + 1), weight of the squared Fourier error.
        """
        c = self.settings.cube_size_px
        images, targets, weights = [], [], []
        for serial in self.settings.serials(step, micro, rank, world_size):
            simulation = self.orientation(serial // self.settings.crops_per_orientation)
            generator = numpy_generator(self.settings.seed, _CROP_STREAM, serial)
            cut = choose_cube(simulation.mask, c, generator)
            images.append(simulation.image[cut])
            targets.append(simulation.target[cut])
            rotated = rotate_fourier_weight(self._rho, simulation.rotation, c).clamp(max=1.0)
            weights.append(centred_to_rfft(rotated) * self._static)
        return {
            "input": torch.stack(images)[:, None],
            "target": torch.stack(targets)[:, None],
            "weight": torch.stack(weights)[:, None],
        }


def choose_cube(
    mask: Tensor, cube_size_px: int, generator: np.random.Generator
) -> tuple[slice, slice, slice]:
    """Choose a cube that fits and whose centre lies in the mask; any that fits if none does."""
    n, c = mask.shape[-1], cube_size_px
    inner = mask[tuple(slice(c // 2, n - c + c // 2 + 1) for _ in range(3))] > 0.5
    choice = torch.nonzero(inner.reshape(-1)).reshape(-1)
    draw, count = generator.random(), int(choice.numel())
    flat = int(choice[int(draw * count)]) if count else int(draw * inner.numel())
    z, y, x = (int(v) for v in np.unravel_index(flat, tuple(inner.shape)))
    return slice(z, z + c), slice(y, y + c), slice(x, x + c)


def fitting_cube_size(wanted_px: int, box_size_px: int) -> int:
    """Return the largest cube up to `wanted_px` that leaves room to move in the box.

    A box below ``wanted + 16`` takes the largest multiple of 16, then of 8, that fits in it with
    some room; the U-Net halves a cube three times.
    """
    if box_size_px >= wanted_px + 16:
        return wanted_px
    for step in (16, 8):
        fitting = (box_size_px - step) // step * step
        if fitting >= 16:
            return min(wanted_px, fitting)
    return 16


def _blurred(volume: Volume, sigma: float) -> Volume:
    return np.asarray(ndimage.gaussian_filter(volume, sigma) if sigma > 0 else volume)


def _cube_power(power: NDArray[np.float64], n: int, cube: int) -> Volume:
    """Return the signal power on the centred Fourier grid of a cube, (c, c, c)."""
    axis = (np.arange(cube) - cube // 2) * (n / cube)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return np.interp(radius, np.arange(power.size), power).astype(np.float32)
