"""The step: each half map predicts the other, whose noise it does not know."""

from __future__ import annotations

from torch import Tensor, nn

from cryodl.core.training.batches import Batch


class FilterStep(nn.Module):
    """Mean squared difference in both directions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss."""
        there = (self.network(batch["first"]) - batch["second"]).square().mean()
        back = (self.network(batch["second"]) - batch["first"]).square().mean()
        return {"loss": (there + back) / 2}
