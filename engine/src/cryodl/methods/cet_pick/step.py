"""One training step: both views through the network, and the three losses."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cryodl.core.training.batches import Batch
from cryodl.methods.cet_pick.losses import (
    Contrast,
    consistency_loss,
    contrastive_loss,
    focal_loss,
    positive_unlabelled_loss,
    probabilities,
)
from cryodl.methods.cet_pick.model import PickingNetwork

# By the code of a batch: axes of (z, y, x) that the second view is turned over on.
_FLIPPED_AXES: dict[int, tuple[int, ...]] = {0: (), 1: (-1,), 2: (-2,), 3: (-2, -1)}


@dataclass(frozen=True)
class LossSettings:
    """Weights and options of the losses.

    Attributes
    ----------
    prior : float
        Share of voxels at a particle's centre (tau).
    emphasis : float or None
        Share of positives in the loss, None for `prior`.
    contrast_weight : float
        Of the contrastive loss (cr_weight); with 0 it is not computed.
    consistency_weight : float
        Of the difference between the views.
    contrast : Contrast
        Of the contrastive loss.
    fully_labelled : bool
        Every particle is labelled: unlabelled voxels are negatives.
    """

    prior: float = 0.01
    emphasis: float | None = 0.02
    contrast_weight: float = 0.1
    consistency_weight: float = 1.0
    contrast: Contrast = field(default_factory=Contrast)
    fully_labelled: bool = False


class PickingStep(nn.Module):
    """Losses of a batch of crops, see `cryodl.methods.cet_pick.data.CropSource`."""

    def __init__(self, network: PickingNetwork, settings: LossSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts."""
        labels = batch["labels"].float()
        first_logits, first_vectors = self.network(batch["first"])
        second_logits, second_vectors = self.network(batch["second"])
        second_logits = _turned_back(second_logits, batch["flips"])
        losses = {"heat_map": self._heat_map(first_logits, second_logits, labels)}
        if self.settings.consistency_weight:
            losses["consistency"] = consistency_loss(first_logits, second_logits)
        if self.settings.contrast_weight:
            vectors = first_vectors, _turned_back(second_vectors, batch["flips"])
            losses["contrast"] = self._contrast(vectors, (first_logits, second_logits), labels)
        total = losses["heat_map"]
        total = total + self.settings.consistency_weight * losses.get("consistency", 0.0)
        total = total + self.settings.contrast_weight * losses.get("contrast", 0.0)
        return {"loss": total, **losses}

    def _heat_map(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        if self.settings.fully_labelled:
            return focal_loss(first, labels)
        kinds = range(labels.shape[1])
        parts = [
            positive_unlabelled_loss(
                first[:, k],
                self._known(labels, k),
                self.settings.prior,
                self.settings.emphasis,
            )
            for k in kinds
        ]
        return torch.stack(parts).mean()

    def _known(self, labels: Tensor, kind: int) -> Tensor:
        """Return the labels of one kind; the centre of another kind is none of it."""
        own = labels[:, kind]
        if labels.shape[1] == 1:
            return own
        others = torch.cat([labels[:, :kind], labels[:, kind + 1 :]], dim=1).amax(1)
        return torch.where((own < 0) & (others == 1), torch.zeros_like(own), own)

    def _contrast(
        self, vectors: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor], labels: Tensor
    ) -> Tensor:
        first, second = (v.movedim(1, -1).flatten(0, -2) for v in vectors)
        losses = []
        for kind in range(labels.shape[1]):
            chances = tuple(probabilities(found[:, kind]).flatten() for found in logits)
            losses.append(
                contrastive_loss(
                    first,
                    second,
                    labels[:, kind].flatten(),
                    (chances[0], chances[1]),
                    self.settings.contrast,
                )
            )
        return torch.stack(losses).mean()


def _turned_back(maps: Tensor, flips: Tensor) -> Tensor:
    """Return the second view's maps in the frame of the first."""
    pieces = [
        m.flip(_FLIPPED_AXES[int(code)]) if int(code) else m
        for m, code in zip(maps, flips, strict=True)
    ]
    return torch.stack(pieces)
