"""What is minimised: a batch in, named scalar losses out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryodl.core.geometry.rotations import rotate_cube
from cryodl.core.networks.real_transform import real_transform

_AXES = (-3, -2, -1)


def fourier_filter(cubes: Tensor, weight: Tensor) -> Tensor:
    """Multiply the transform of cubes by a weight: the operator A of the published loss.

    Parameters
    ----------
    cubes : Tensor
        (b, 1, c, c, c).
    weight : Tensor
        (c, c, c//2 + 1), layout of ``rfftn``.
    """
    # Transforms in half precision are neither available everywhere nor accurate enough.
    spectrum = real_transform(cubes.float())
    return torch.fft.irfftn(spectrum * weight, s=cubes.shape[-3:], dim=_AXES)


class CrossDirectionLoss(nn.Module):
    """The default: learn to fill missing directions from data measured in other directions.

    ``L = sum_k q |FFT(t (N(u) - y))|^2 / sum_k q |FFT(t (u - y))|^2`` with u the degraded and
    classically filled rotated map, y the rotated half map, t a taper, and
    ``q = R.rho / P * (1 - emphasis * coverage)``: the target counts where it was measured, shells
    count alike, and the missing directions of the input count most. The ratio is that of each cube,
    so that the mean over cubes is the same however a batch is shared out.

    Parameters
    ----------
    network : nn.Module
        (b, 1, c, c, c) to the same.
    cube_size_px : int
        Edge c of the cubes.
    whole_box : bool
        The cube is the whole map: no taper.
    """

    taper: Tensor

    def __init__(self, network: nn.Module, cube_size_px: int, whole_box: bool = False) -> None:
        super().__init__()
        self.network = network
        edge = torch.ones(cube_size_px)
        if not whole_box:
            edge = torch.hann_window(cube_size_px + 2, periodic=False)[1:-1].sqrt()
        taper = edge[:, None, None] * edge[None, :, None] * edge[None, None, :]
        self.register_buffer("taper", taper, persistent=False)

    def _error(self, difference: Tensor, weight: Tensor) -> Tensor:
        spectrum = real_transform(difference.float() * self.taper)
        return (weight * (spectrum.real**2 + spectrum.imag**2)).flatten(1).mean(1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, the error relative to that of doing nothing, and both its parts."""
        image, target, weight = batch["input"], batch["target"], batch["weight"]
        error = self._error(self.network(image) - target, weight)
        untouched = self._error(image - target, weight).detach()
        loss = (error / untouched.clamp(min=1e-12)).mean()
        return {"loss": loss, "error": error.detach().mean(), "untouched": untouched.mean()}


class PublishedLoss(nn.Module):
    """The published bootstrapping loss.

    ``Lc`` asks the filtered prediction to equal the data, ``Le`` asks the network to undo the
    filter on its own rotated prediction; the second half map enters with weight beta.

    Parameters
    ----------
    network : nn.Module
        (b, 1, c, c, c) to the same.
    weight : Tensor
        (c, c, c//2 + 1): the directional weight on the cube, layout of ``rfftn``.
    alpha, beta : float
        Weights of equivariance and of the terms across the half maps.

    References
    ----------
    Liu et al. 2025, Nature Methods 22, 113.
    """

    weight: Tensor

    def __init__(
        self, network: nn.Module, weight: Tensor, alpha: float = 1.0, beta: float = 0.5
    ) -> None:
        super().__init__()
        self.network = network
        self.alpha = alpha
        self.beta = beta
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss`` and its terms for ``x1``, ``x2`` (if any) and ``rotation``, (b,)."""
        x1, rotation = batch["x1"], batch["rotation"]
        x2 = batch.get("x2") if self.beta > 0 else None
        p1 = self.network(x1)
        a1 = fourier_filter(p1, self.weight)
        r1 = _rotate_each(p1, rotation)
        p2 = None if x2 is None else self.network(x2)
        q = self.network(fourier_filter(r1, self.weight))
        terms = {"Lc1": (a1 - x1).abs().mean(), "Le1": (q - r1).abs().mean()}
        loss = self.alpha * terms["Le1"] + terms["Lc1"]
        if x2 is not None and p2 is not None:
            terms["Lc2"] = (a1 - x2).abs().mean()
            terms["Le2"] = (q - _rotate_each(p2, rotation)).abs().mean()
            loss = loss + self.beta * (self.alpha * terms["Le2"] + terms["Lc2"])
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


def _rotate_each(cubes: Tensor, rotations: Tensor) -> Tensor:
    turned = [rotate_cube(cube, int(index)) for cube, index in zip(cubes, rotations)]
    return torch.stack(turned)
