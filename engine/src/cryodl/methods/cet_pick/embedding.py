"""Codes of boxes in which alike is near alike, learned from two views of each box (NT-Xent).

After Chen et al., SimCLR (2020), with the views that leave the missing wedge in place.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cryodl.core.training.batches import Batch
from cryodl.core.training.seeds import numpy_generator
from cryodl.methods.cet_pick.proposals import SHIFT

_TEMPERATURE = 0.2
_NOISE = 0.35  # of boxes with a deviation of 1
_WIDTH = 16
_BATCH = 128
_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3), (4,), (2, 4), (3, 4), (2, 3, 4))


class BoxEncoder(nn.Module):
    """Boxes (n, 1, e, e, e) to codes (n, length) of norm 1, by a small 3D network."""

    def __init__(self, length: int) -> None:
        super().__init__()
        widths = (_WIDTH, 2 * _WIDTH, 4 * _WIDTH)
        layers: list[nn.Module] = []
        incoming = 1
        for number, width in enumerate(widths):
            layers += [
                nn.Conv3d(incoming, width, 3, stride=1 + (number > 0), padding=1, bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            ]
            incoming = width
        self.features = nn.Sequential(*layers)
        self.code = nn.Linear(2 * incoming, length)

    def forward(self, boxes: Tensor) -> Tensor:
        """Return codes."""
        found = self.features(boxes)
        pooled = torch.cat([found.mean((2, 3, 4)), found.amax((2, 3, 4))], dim=1)
        return functional.normalize(self.code(pooled), dim=1)


class EmbeddingStep(nn.Module):
    """Loss of two views of a batch of boxes."""

    def __init__(self, encoder: BoxEncoder, length: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(length, length), nn.ReLU(), nn.Linear(length, length))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss``."""
        views = torch.cat([batch["first"], batch["second"]])
        vectors = functional.normalize(self.head(self.encoder(views)), dim=1)
        return {"loss": nt_xent(vectors, _TEMPERATURE)}


def nt_xent(vectors: Tensor, temperature: float) -> Tensor:
    """Return how badly each view finds the other of its box among all views.

    Parameters
    ----------
    vectors : Tensor
        (2 n, c) of norm 1; row i and row i + n are views of one box.
    temperature : float
        Small values look at the nearest only.
    """
    count = len(vectors) // 2
    similar = vectors @ vectors.T / temperature
    similar = similar.masked_fill(torch.eye(2 * count, device=vectors.device).bool(), -torch.inf)
    partner = torch.arange(2 * count, device=vectors.device).roll(count)
    return functional.cross_entropy(similar, partner)


class BoxViews:
    """Batches of two views of boxes, as a function of counters.

    Views are turned over on any axes (two of them are a half turn), moved by a voxel, and get
    noise and another contrast.
    """

    def __init__(self, boxes: NDArray[np.float16], batch_size: int, seed: int) -> None:
        self.boxes = boxes
        self.batch_size = min(batch_size, len(boxes))
        self.seed = seed

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return ``first`` and ``second``, each (b, 1, e, e, e)."""
        generator = numpy_generator(self.seed, step, micro, rank)
        chosen = generator.choice(len(self.boxes), self.batch_size, replace=False)
        views = [np.stack([_view(self.boxes[i], generator) for i in chosen]) for _ in range(2)]
        names = ("first", "second")
        return {n: torch.from_numpy(v[:, None]) for n, v in zip(names, views, strict=True)}


def _view(box: NDArray[np.float16], generator: np.random.Generator) -> NDArray[np.float32]:
    starts = generator.integers(0, 2 * SHIFT + 1, 3)
    edge = box.shape[0] - 2 * SHIFT
    values = box[tuple(slice(s, s + edge) for s in starts)].astype(np.float32)
    values = np.flip(values, np.flatnonzero(generator.integers(0, 2, 3)))
    values = values * np.float32(generator.uniform(0.8, 1.2))
    noise = generator.standard_normal(values.shape, dtype=np.float32)
    return values + np.float32(_NOISE * generator.uniform(0, 1)) * noise


@torch.inference_mode()
def codes_of(
    encoder: BoxEncoder, boxes: NDArray[np.float16], device: torch.device
) -> NDArray[np.float32]:
    """Return codes (n, length), each the mean over the eight mirror images of its box."""
    encoder = encoder.to(device).eval()
    inner = slice(SHIFT, -SHIFT)
    found = []
    for start in range(0, len(boxes), _BATCH):
        part = boxes[start : start + _BATCH, inner, inner, inner].astype(np.float32)
        values = torch.from_numpy(part)[:, None].to(device)
        codes = torch.stack([encoder(values.flip(axes)) for axes in _FLIPS]).mean(0)
        found.append(codes.cpu().numpy())
    return np.concatenate(found)
