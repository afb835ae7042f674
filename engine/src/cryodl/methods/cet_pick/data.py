"""Crops to train on: around labelled particles, and anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.training.batches import Batch
from cryodl.core.training.seeds import numpy_generator
from cryodl.methods.cet_pick.labels import LabelShape, label_map
from cryodl.methods.cet_pick.tomogram import WorkingTomogram

_FLIPS = ((), (2,), (1,), (1, 2))  # axes of [z, y, x] that a view may be turned over on
_NOISE = 0.03  # of prepared values, which are in [0, 1]
_GAIN = 0.1
_OFFSET = 0.02


@dataclass(frozen=True)
class LabelledTomogram:
    """A tomogram with its labels and the part of it that is trained on.

    Attributes
    ----------
    tomogram : WorkingTomogram
        The voxels.
    centres_zyx : list of ndarray
        For each kind of particle (n, 3), in heat-map voxels.
    allowed_x : (int, int)
        Columns of the tomogram that crops may reach; the rest is held out.
    """

    tomogram: WorkingTomogram
    centres_zyx: list[NDArray[np.float64]]
    allowed_x: tuple[int, int]


@dataclass(frozen=True)
class CropShape:
    """Edges of a crop in working voxels, and how far it is moved off a labelled centre."""

    depth: int = 6
    edge_px: int = 48
    shift_px: int = 8
    shift_slices: int = 1


class CropSource:
    """Batches of crops in two views, as a function of counters.

    Parameters
    ----------
    tomograms : list of LabelledTomogram
        All that is trained on.
    crop : CropShape
        Sizes.
    label : LabelShape
        Sizes of labels.
    batch_size : int
        Crops per micro-batch; half of them, rounded up, hold a labelled particle.
    seed : int
        Of all choices.
    published : bool
        Every crop around a labelled particle and only the second view turned over, as published.
    """

    def __init__(
        self,
        tomograms: list[LabelledTomogram],
        crop: CropShape,
        label: LabelShape,
        batch_size: int,
        seed: int,
        published: bool = False,
    ) -> None:
        self.tomograms = tomograms
        self.crop = crop
        self.label = label
        self.batch_size = batch_size
        self.seed = seed
        self.published = published
        self._labels = [
            (number, kind, row)
            for number, entry in enumerate(tomograms)
            for kind, centres in enumerate(entry.centres_zyx)
            for row in range(len(centres))
        ]
        self._sizes = np.array([np.prod(t.tomogram.shape, dtype=np.float64) for t in tomograms])

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return one micro-batch.

        Returns
        -------
        dict
            ``first`` and ``second`` (b, d, e, e), ``labels`` (b, k, d, e/2, e/2), ``flips`` (b,).
        """
        generator = numpy_generator(self.seed, step, micro, rank)
        around = self.batch_size if self.published else -(-self.batch_size // 2)
        items = [self._item(generator, index < around) for index in range(self.batch_size)]
        names = ("first", "second", "labels", "flips")
        return {n: torch.from_numpy(np.stack(v)) for n, v in zip(names, zip(*items), strict=True)}

    def _item(self, generator: np.random.Generator, labelled: bool) -> tuple[Any, ...]:
        entry, start = self._around_label(generator) if labelled else self._anywhere(generator)
        depth, edge = self.crop.depth, self.crop.edge_px
        z, y, x = start
        values = entry.tomogram.region(((z, z + depth), (y, y + edge), (x, x + edge)))
        spacing = entry.tomogram.spacing_zyx
        labels = np.stack(
            [
                label_map(
                    c, (z, y // 2, x // 2), (depth, edge // 2, edge // 2), spacing, self.label
                )
                for c in entry.centres_zyx
            ]
        )
        if not self.published:
            axes = _FLIPS[generator.integers(len(_FLIPS))]
            values, labels = np.flip(values, axes), np.flip(labels, [a + 1 for a in axes])
        code = 1 + generator.integers(2 if self.published else 3)
        second = np.flip(values, _FLIPS[code])
        if not self.published:
            values, second = self._jitter(values, generator), self._jitter(second, generator)
        return values.copy(), second.copy(), labels.copy(), np.int64(code)

    def _jitter(self, values: NDArray, generator: np.random.Generator) -> NDArray[np.float32]:
        gain = 1 + generator.uniform(-_GAIN, _GAIN)
        offset = generator.uniform(-_OFFSET, _OFFSET)
        noise = generator.standard_normal(values.shape, dtype=np.float32) * np.float32(_NOISE)
        return ((values - 0.5) * np.float32(gain) + np.float32(0.5 + offset) + noise).astype(
            np.float32
        )

    def _around_label(
        self, generator: np.random.Generator
    ) -> tuple[LabelledTomogram, tuple[int, int, int]]:
        number, kind, row = self._labels[generator.integers(len(self._labels))]
        entry = self.tomograms[number]
        z, y, x = entry.centres_zyx[kind][row]
        shift, slices = self.crop.shift_px, self.crop.shift_slices
        dz = generator.integers(-slices, slices + 1)
        dy, dx = generator.integers(-shift, shift + 1, size=2)
        half = self.crop.edge_px // 2
        wanted = (z - self.crop.depth // 2 + dz, 2 * y - half + dy, 2 * x - half + dx)
        return entry, self._inside(entry, wanted)

    def _anywhere(
        self, generator: np.random.Generator
    ) -> tuple[LabelledTomogram, tuple[int, int, int]]:
        entry = self.tomograms[
            generator.choice(len(self.tomograms), p=self._sizes / self._sizes.sum())
        ]
        depth, height, _ = entry.tomogram.shape
        low, high = entry.allowed_x
        edge = self.crop.edge_px
        wanted = (
            generator.uniform(0, max(1, depth - self.crop.depth)),
            generator.uniform(0, max(1, height - edge)),
            generator.uniform(low, max(low + 1, high - edge)),
        )
        return entry, self._inside(entry, wanted)

    def _inside(
        self, entry: LabelledTomogram, wanted: tuple[float, float, float]
    ) -> tuple[int, int, int]:
        """Return the start of a crop inside what may be trained on, even in y and x."""
        depth, height, _ = entry.tomogram.shape
        low, high = entry.allowed_x
        edge = self.crop.edge_px
        z = int(np.clip(round(wanted[0]), 0, max(0, depth - self.crop.depth)))
        y = int(np.clip(round(wanted[1]), 0, max(0, height - edge)))
        x = int(np.clip(round(wanted[2]), low, max(low, high - edge)))
        # Heat-map voxels are pairs: a crop must not begin between the two of one.
        return z, y - y % 2, x - x % 2
