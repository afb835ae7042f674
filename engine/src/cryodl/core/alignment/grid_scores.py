"""All rotations of a grid scored with all shifts, in a coarse band (torch)."""

from __future__ import annotations

import torch
from torch import Tensor

from cryodl.core.alignment.reference import MapReference, Reference, Turned, as_real
from cryodl.core.alignment.rotation_grid import ball, even_rotations
from cryodl.core.alignment.spectra import Observations

# Rotations that are scored in one pass, to bound the memory.
_ROTATIONS_OF_A_PASS = 1152


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
        self._cached: tuple[Tensor, dict[tuple[int, int], list[Turned]]] | None = None
        self._grids: dict[int, Tensor] = {}

    def turned(self, count: int, shell: int, power: Tensor) -> tuple[Tensor, list[Turned]]:
        """Return the grid, (g, 3, 3), and the reference turned by it."""
        if count not in self._grids:
            found = even_rotations(count, self._symmetry)
            self._grids[count] = torch.as_tensor(found, device=self.points.device).to(torch.float32)
        grid = self._grids[count]
        if self._cached is None or not torch.equal(self._cached[0], power):
            self._cached = (power, {})
        kept = self._cached[1]
        if (count, shell) not in kept:
            points = self.points.within(shell)
            parts = grid.split(_ROTATIONS_OF_A_PASS)
            # A map is turned once for all particles, a particle for its own pair alone.
            rough = not isinstance(self.reference, MapReference)
            kept[count, shell] = [
                self.reference.turned(p, points, power, is_rough=rough) for p in parts
            ]
        return grid, kept[count, shell]

    def scored(
        self, seen: Observations, turned: list[Turned], shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best score over shifts of each rotation, and the number of that shift."""
        count = seen.data.shape[1]
        # Moving the reference by -s multiplies it by exp(2 pi i k s / n), the data by the inverse.
        phases = self.points.phases(shifts, count).conj()
        moved = as_real(seen.data[:, None] * phases)  # (b, T, 2P)
        best, place = [], []
        for part in turned:
            values = as_real(part.values)
            if values.ndim == 2:
                flat = torch.matmul(moved.flatten(0, 1), values.T)
                cross = flat.unflatten(0, moved.shape[:2]).transpose(1, 2)
            else:
                cross = torch.matmul(values, moved.transpose(1, 2))
            scores, index = part.scores(cross, seen).max(dim=2)
            best.append(scores)
            place.append(index)
        return torch.cat(best, dim=1), torch.cat(place, dim=1)

    def shifts(self, shell: int) -> Tensor:
        """Return the shifts that are tried in a band, (t, 3) px."""
        # Finer than the band resolves, so that the best shift is not missed by much.
        step = max(self.points.n / (2.6 * shell), 0.5)
        found = ball(self._max_shift_px, step)
        return torch.as_tensor(found, device=self.points.device).to(torch.float32)
