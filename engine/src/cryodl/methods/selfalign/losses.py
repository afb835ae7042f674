"""Losses of poses, up to the symmetry of the reference."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as functional

from cryodl.core.training.batches import Batch


def pose_losses(
    rotation: Tensor, shift: Tensor, true_rotation: Tensor, true_shift: Tensor, group: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the squared Frobenius distance of rotations, 8 sin^2(w / 2), and that of shifts.

    Parameters
    ----------
    rotation, true_rotation : (b, 3, 3)
    shift, true_shift : (b, 3)
    group : (g, 3, 3)
        Poses A and A h of a symmetric reference are the same: the smallest distance counts.
    """
    traces = torch.einsum("bij,gkj,bik->bg", rotation, group, true_rotation)
    turn = (2 * (3 - traces.amax(dim=1))).mean()
    return turn, (shift - true_shift).square().sum(dim=1).mean()


class PoseStep(nn.Module):
    """A network with the loss of its answers, for `cryodl.core.training.fit`.

    Parameters
    ----------
    network : nn.Module
        Of `cryodl.methods.selfalign.model`.
    group : (g, 3, 3) tensor
        Symmetry of the reference.
    shift_weight : float
        Of the squared shift in px; unweighted, as published, it may stall the rotations.
    grid : (m, 3, 3) tensor, optional
        Rotations of a proposer.
    grid_degrees : float
        Width of the target about the true rotation.
    """

    group: Tensor
    grid: Tensor

    def __init__(
        self,
        network: nn.Module,
        group: Tensor,
        shift_weight: float,
        grid: Tensor | None = None,
        grid_degrees: float = 14.0,
    ) -> None:
        super().__init__()
        self.network, self.shift_weight, self.grid_degrees = network, shift_weight, grid_degrees
        self.is_proposer = grid is not None
        self.register_buffer("group", group, persistent=False)
        empty = torch.zeros(0, 3, 3) if grid is None else grid
        self.register_buffer("grid", empty, persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts."""
        first, second = self.network(batch["particle"], batch["template"])
        if self.is_proposer:
            return self._likelihood(first, batch["rotation"])
        turn, move = pose_losses(
            first.float(), second.float(), batch["rotation"], batch["shift"], self.group
        )
        return {"loss": turn + self.shift_weight * move, "rotation": turn, "shift": move}

    def _likelihood(self, logits: Tensor, true: Tensor) -> dict[str, Tensor]:
        equivalent = torch.einsum("bij,gjk->bgik", true, self.group)
        traces = torch.einsum("bgik,mik->bgm", equivalent, self.grid).amax(dim=1)
        angles = torch.rad2deg(torch.acos(((traces - 1) / 2).clamp(-1, 1)))
        target = torch.softmax(-0.5 * (angles / self.grid_degrees) ** 2, dim=1)
        logs = functional.log_softmax(logits.float(), dim=1)
        best = angles.gather(1, logits.topk(16, dim=1).indices)
        near = (best.amin(dim=1) < 20).float().mean()
        return {"loss": -(target * logs).sum(dim=1).mean(), "near": near}
