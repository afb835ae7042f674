"""Crops of both half maps at the same place."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.training.batches import Batch
from cryodl.core.training.seeds import numpy_generator


class CropSource:
    """Micro-batches as a function of counters, so that a resumed run sees the same."""

    def __init__(
        self, halves: NDArray[np.float32], crop_px: int, batch_size: int, seed: int
    ) -> None:
        self.halves, self.crop_px = halves, crop_px
        self.batch_size, self.seed = batch_size, seed

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return crops, (batch, 1, n, n, n) each."""
        rng = numpy_generator(self.seed, step, micro, rank)
        room = np.array(self.halves.shape[1:]) - self.crop_px + 1
        corners = rng.integers(0, room, (self.batch_size, 3))
        n = self.crop_px
        crops = np.stack(
            [self.halves[:, z : z + n, y : y + n, x : x + n] for z, y, x in corners], axis=1
        )
        first, second = torch.from_numpy(crops).unsqueeze(2)
        return {"first": first, "second": second}
