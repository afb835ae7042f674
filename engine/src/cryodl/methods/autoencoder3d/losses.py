"""What the networks are trained for."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from jaxtyping import Float, Int
from torch import Tensor, nn

from cryodl.core.networks.real_transform import real_transform
from cryodl.core.training.batches import Batch
from cryodl.methods.autoencoder3d.model import Autoencoder, SegmentationNetwork

IGNORED = -1  # label of voxels that do not count
_SMOOTH = 1.0


class WedgeWeight(nn.Module):
    """What was measured of each Fourier component, in the frames of turned particles.

    Parameters
    ----------
    n : int
        Box.
    normals : (T, 2, 3) tensor
        For each kind of recording the beam at the lowest and the highest tilt, on (x, y, z).
    """

    points: Tensor
    normals: Tensor
    counts: Tensor

    def __init__(self, n: int, normals: Float[Tensor, "t 2 3"]) -> None:
        super().__init__()
        whole = torch.fft.fftfreq(n, 1 / n)
        half = torch.arange(n // 2 + 1, dtype=torch.float32)
        z, y, x = torch.meshgrid(whole, whole, half, indexing="ij")
        self.register_buffer("points", torch.stack([x, y, z], dim=-1), persistent=False)
        self.register_buffer("normals", normals.float(), persistent=False)
        # Opposite frequencies that the half transform leaves out count as well.
        counts = torch.full((n // 2 + 1,), 2.0)
        counts[0] = 1.0
        if n % 2 == 0:
            counts[-1] = 1.0
        self.register_buffer("counts", counts, persistent=False)

    def forward(
        self, recordings: Int[Tensor, " b"], rotations: Float[Tensor, "b 3 3"]
    ) -> Float[Tensor, "b n n h"]:
        """Return weights 0 to 1 for particles turned back by A (``x_particle = A x``)."""
        turned = torch.einsum("bti,bij->btj", self.normals[recordings], rotations)
        heights = torch.einsum("zyxj,btj->btzyx", self.points, turned)
        above, below = heights[:, 0], heights[:, 1]
        inside = torch.maximum(torch.minimum(above, -below), torch.minimum(-above, below))
        return (1 + inside).clamp(0, 1)


def wedge_error(
    decoded: Float[Tensor, "b n n n"],
    target: Float[Tensor, "b n n n"],
    weight: Float[Tensor, "b n n h"],
    counts: Float[Tensor, " h"],
) -> Tensor:
    """Return the mean squared error of the measured components, as a mean over voxels.

    Equal to the mean squared error where everything was measured.
    """
    n = decoded.shape[-1]
    difference = real_transform((decoded - target).float(), norm="ortho")
    power = difference.real**2 + difference.imag**2
    measured = weight * counts
    share = measured.sum(dim=(1, 2, 3)) / n**3
    return ((power * measured).sum(dim=(1, 2, 3)) / (n**3 * share.clamp(min=1e-3))).mean()


class AutoencoderStep(nn.Module):
    """Losses of a batch of subvolumes.

    Parameters
    ----------
    network : Autoencoder
        What is trained.
    sparsity, rotinv : float
        Weights of the size of the codes, and of their change when the particle is turned.
    denoise : float
        Deviation of noise added to the input alone.
    wedge : WedgeWeight, optional
        None compares voxels.
    """

    def __init__(
        self,
        network: Autoencoder,
        sparsity: float = 1e-4,
        denoise: float = 0.0,
        rotinv: float = 0.0,
        wedge: WedgeWeight | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.sparsity, self.denoise, self.rotinv = sparsity, denoise, rotinv
        self.wedge = wedge

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts."""
        volumes = batch["volumes"].float()
        seen = volumes
        if self.denoise and self.training:
            seen = volumes + self.denoise * torch.randn_like(volumes)
        decoded, codes = self.network(seen)
        losses = {"error": self._error(decoded, volumes, batch)}
        total = losses["error"] + self.sparsity * codes.abs().sum(dim=1).mean()
        if self.rotinv:
            turned = self.network.encode(batch["turned"].float())
            scale = codes.detach().var(dim=0).sum().clamp(min=1e-6)
            losses["invariance"] = (codes - turned).square().sum(dim=1).mean() / scale
            total = total + self.rotinv * losses["invariance"]
        return {"loss": total, **losses}

    def _error(self, decoded: Tensor, volumes: Tensor, batch: Batch) -> Tensor:
        if self.wedge is None:
            return functional.mse_loss(decoded, volumes)
        weight = self.wedge(batch["recordings"], batch["rotations"])
        return wedge_error(decoded, volumes, weight, self.wedge.counts)


class SegmentationStep(nn.Module):
    """Cross-entropy weighted by class and soft Dice; voxels labelled `IGNORED` do not count."""

    weights: Tensor

    def __init__(self, network: SegmentationNetwork, weights: Float[Tensor, " c"]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("weights", weights.float(), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts."""
        logits = self.network(batch["volumes"].float()).float()
        labels = batch["labels"].long()
        entropy = functional.cross_entropy(
            logits, labels, weight=self.weights, ignore_index=IGNORED
        )
        dice = dice_loss(logits, labels)
        return {"loss": entropy + dice, "cross_entropy": entropy, "dice": dice}


def dice_loss(logits: Float[Tensor, "b c d h w"], labels: Int[Tensor, "b d h w"]) -> Tensor:
    """Return 1 less the mean soft overlap of the classes above background."""
    counted = (labels != IGNORED).float()
    chances = logits.softmax(dim=1) * counted[:, None]
    classes = logits.shape[1]
    truth = functional.one_hot(labels.clamp(min=0), classes).movedim(-1, 1) * counted[:, None]
    axes = (0, 2, 3, 4)
    overlap = (chances * truth).sum(axes)
    whole = chances.sum(axes) + truth.sum(axes)
    return 1 - ((2 * overlap + _SMOOTH) / (whole + _SMOOTH))[1:].mean()


def class_weights(counts: Int[Tensor, " c"], most: float = 20.0) -> Float[Tensor, " c"]:
    """Return weights by the inverse root of how frequent classes are, the background's 1."""
    share = counts.float().clamp(min=1) / counts.sum().clamp(min=1)
    relative = (share[0] / share).sqrt()
    return relative.clamp(min=1 / math.sqrt(most), max=most)
