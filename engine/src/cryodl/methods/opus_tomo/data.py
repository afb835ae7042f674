"""Particles from their files, in the frame of the reference, and the batches of a training."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.training.batches import Batch
from cryodl.core.training.seeds import numpy_generator
from cryodl.core.volumes.normalize import standardise_background
from cryodl.core.volumes.particle_average import (
    AverageSettings,
    are_premultiplied,
    particle_transfer,
)
from cryodl.methods.opus_tomo.canonical import Canonical, CanonicalFrame, Sampling
from cryodl.methods.opus_tomo.losses import Rise, prior_weight
from cryodl.methods.opus_tomo.stacks import stack_canonical

_GIGABYTE = 2**30


class ParticleStore:
    """Particles as N and D, computed when first asked for and kept while memory lasts.

    Parameters
    ----------
    particles : ParticleSet
        Subtomograms with poses.
    settings : AverageSettings
        What is known of their transfer.
    sampling : Sampling
        Boxes.
    sign : 1 or -1
        -1 turns dark matter bright.
    cache_gb : float
        Memory for what is kept.
    device : str
        Of torch, for the transforms.
    """

    def __init__(
        self,
        particles: ParticleSet,
        settings: AverageSettings,
        sampling: Sampling,
        sign: int = 1,
        cache_gb: float = 4.0,
        device: str = "cpu",
    ) -> None:
        self.particles, self.settings, self.sampling = particles, settings, sampling
        self.sign, self.cache_gb, self.device = sign, cache_gb, device
        self.premultiplied = are_premultiplied(particles)
        self.rotations, shifts = particles.box_poses()
        self.shifts_px = shifts / sampling.pixel_size_angstrom
        self.views = particles.rotations[:, 2]  # A^T z: whence seen, also if boxes were cut rotated
        bytes_each = 12 * int(np.prod(sampling.shape))
        self._most = int(cache_gb * _GIGABYTE / bytes_each)
        self._kept: OrderedDict[int, Canonical] = OrderedDict()
        self._frame: CanonicalFrame | None = None

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.particles)

    def __getstate__(self) -> dict[str, Any]:
        """Travel to other processes without what can be made again."""
        return {**vars(self), "_kept": OrderedDict(), "_frame": None}

    def canonical(self, index: int) -> Canonical:
        """Return one particle, not whitened."""
        found = self._kept.get(index)
        if found is not None:
            return found
        if self.are_stacks:
            found = stack_canonical(self.particles, index, self.settings, self.sampling, self.sign)
        else:
            found = self._of_volume(index)
        if len(self._kept) < self._most:
            self._kept[index] = found
        return found

    def _of_volume(self, index: int) -> Canonical:
        if self._frame is None:
            self._frame = CanonicalFrame(self.sampling, self.device)
        return self._frame.transform(
            self.volume(index),
            self.transfer(index),
            self.rotations[index],
            self.shifts_px[index],
            premultiplied=self.premultiplied,
        )

    @property
    def are_stacks(self) -> bool:
        """Tell whether particles are stacks of tilt images."""
        return self.particles.image_kind == "tilt_stack"

    def volume(self, index: int) -> NDArray[np.float32]:
        """Return a subtomogram: bright matter, background of mean 0 and deviation 1."""
        return self.sign * standardise_background(read_subtomogram(self.particles, index))

    def transfer(self, index: int) -> NDArray[np.float32] | None:
        """Return what a subtomogram was seen through, centred, or None."""
        return particle_transfer(self.particles, index, self.settings, squared=self.premultiplied)

    def stacked(self, indices: NDArray[np.intp]) -> Batch:
        """Return several particles: ``index``, ``data``, ``weight`` and ``energy``."""
        found = [self.canonical(int(i)) for i in indices]
        return {
            "index": torch.as_tensor(np.asarray(indices, dtype=np.int64)),
            "data": torch.from_numpy(np.stack([f.data for f in found])),
            "weight": torch.from_numpy(np.stack([f.weight for f in found])),
            "energy": torch.from_numpy(np.stack([f.energy for f in found])),
        }


@dataclass(frozen=True)
class Plan:
    """How a training goes through the particles.

    Attributes
    ----------
    members : (n,) int
        Particles that are trained on.
    batch_size : int
        Most of a batch; batches are as equal as can be, and none is left out.
    epochs : int
        Of the whole training, all rounds together.
    first_epoch : int
        Of this round.
    rise, cycles
        Of the prior.
    seed : int
        Of the order.
    """

    members: NDArray[np.intp]
    batch_size: int
    epochs: int
    first_epoch: int = 0
    rise: Rise = "cos"
    cycles: int = 2
    seed: int = 0

    def steps_per_epoch(self, world_size: int = 1) -> int:
        """Return how many steps see every particle once."""
        return max(1, -(-len(self.members) // (self.batch_size * world_size)))


class ParticleSource:
    """Batches in which each member comes exactly once an epoch, in a new order each time."""

    def __init__(self, store: ParticleStore, plan: Plan, steps_per_epoch: int) -> None:
        self.store, self.plan, self.steps_per_epoch = store, plan, steps_per_epoch

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return one batch and ``beta``, the weight of the prior now."""
        chosen = self.members(step, rank, world_size)
        plan = self.plan
        epoch = plan.first_epoch + (step + 0.5) / self.steps_per_epoch
        beta = prior_weight(min(epoch / plan.epochs, 1 - 1e-9), plan.rise, plan.cycles)
        return {**self.store.stacked(chosen), "beta": torch.tensor(beta, dtype=torch.float32)}

    def members(self, step: int, rank: int = 0, world_size: int = 1) -> NDArray[np.intp]:
        """Return the particles of a batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        plan = self.plan
        order = numpy_generator(plan.seed, plan.first_epoch + epoch).permutation(plan.members)
        pieces = np.array_split(order, self.steps_per_epoch * world_size)
        return np.sort(pieces[place * world_size + rank])
