"""All rotations of a grid scored with all shifts, in a coarse band (torch)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cryodl.core.alignment.reference import MapReference, Reference, flat_real
from cryodl.core.alignment.rotation_grid import ball, even_rotations
from cryodl.core.alignment.spectra import Observations

# Rotations that are scored in one pass, to bound the memory.
_ROTATIONS_OF_A_PASS = 1152


class TurnedReference(NamedTuple):
    """A reference in some orientations, for one particle (R, P) or one each (b, R, P).

    Attributes
    ----------
    values : Tensor, (..., R, 2 P)
        Real and imaginary parts.
    squared : Tensor, (..., R, P)
        Their power.
    """

    values: Tensor
    squared: Tensor

    @staticmethod
    def of(turned: Tensor) -> TurnedReference:
        """Prepare what `Reference.turned` gave."""
        return TurnedReference(flat_real(turned), turned.real**2 + turned.imag**2)


class GridScores:
    """A reference turned by even grids of rotations, which are kept for the next particles.

    Parameters
    ----------
    reference : Reference
        What is turned.
    symmetry : str
        Of the reference: equivalent rotations are left out.
    max_shift_px : float
        Of the shifts that are tried.
    """

    def __init__(self, reference: Reference, symmetry: str, max_shift_px: float) -> None:
        self.reference, self.points = reference, reference.points
        self._symmetry, self._max_shift_px = symmetry, max_shift_px
        self._kept: dict[tuple[int, int], list[TurnedReference]] = {}
        self._grids: dict[int, Tensor] = {}

    def turned(self, count: int, shell: int) -> tuple[Tensor, list[TurnedReference]]:
        """Return the grid, (g, 3, 3), and the reference turned by it."""
        if count not in self._grids:
            found = even_rotations(count, self._symmetry)
            self._grids[count] = torch.as_tensor(found, device=self.points.device).to(torch.float32)
        grid = self._grids[count]
        if (count, shell) not in self._kept:
            points = self.points.within(shell)
            # A map is turned once for all particles, a particle for its own pair alone.
            rough = not isinstance(self.reference, MapReference)
            self._kept[count, shell] = [
                TurnedReference.of(self.reference.turned(part, points, is_rough=rough))
                for part in grid.split(_ROTATIONS_OF_A_PASS)
            ]
        return grid, self._kept[count, shell]

    def scored(
        self, seen: Observations, turned: list[TurnedReference], shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best score over shifts of each rotation, and the number of that shift."""
        count = seen.data.shape[1]
        # Moving the reference by -s multiplies it by exp(2 pi i k s / n), the data by the inverse.
        moved = flat_real(seen.data[:, None] * self.points.phases(-shifts, count))  # (b, T, 2P)
        best, place = [], []
        for part in turned:
            if part.values.ndim == 2:
                flat = torch.matmul(moved.flatten(0, 1), part.values.T)
                cross = flat.unflatten(0, moved.shape[:2]).transpose(1, 2)
                energy = seen.weight @ part.squared.T
            else:
                cross = torch.matmul(part.values, moved.transpose(1, 2))
                energy = torch.matmul(part.squared, seen.weight[..., None])[..., 0]
            scores, index = self.reference.scores(cross, energy).max(dim=2)
            best.append(scores)
            place.append(index)
        return torch.cat(best, dim=1), torch.cat(place, dim=1)

    def shifts(self, shell: int) -> Tensor:
        """Return the shifts that are tried in a band, (t, 3) px."""
        # Finer than the band resolves, so that the best shift is not missed by much.
        step = max(self.points.n / (2.6 * shell), 0.5)
        found = ball(self._max_shift_px, step)
        return torch.as_tensor(found, device=self.points.device).to(torch.float32)
