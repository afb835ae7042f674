"""Turn every particle to fit the average of each group, and let it join the one it fits best.

The correlation is taken over the frequencies that were measured, with the group's average as the
missing wedge would show it, in units of the noise; so groups compare fairly. A particle is never
compared with an average that it is part of: the halves of the set have averages of their own.
Positions are searched in a few steps about the centre of mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.conventions import centre_voxel
from cryodl.core.alignment.reference import TransformLookup
from cryodl.core.alignment.rotation_grid import even_rotations
from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.volumes.averaging import WedgeAverage
from cryodl.core.volumes.boxes import fourier_resample

WORKING_BOX_PX = 16
_HIGHEST_SHELL = 5
_ROTATIONS_AT_ONCE = 256
_BATCH = 64
_EDGE_PX = 2.0
_GRID_SEED = 20260101


@dataclass(frozen=True)
class Grouping:
    """Groups of particles, and the pose of each in the frame of its group.

    Attributes
    ----------
    labels : (N,) int64
        From 0.
    rotations : (N, 3, 3) float64
        A: ``x_box = A x_group + c``.
    centres_px : (N, 3) float64
        c, in voxels of the working box.
    scores : (N, k) float32
        Best correlation with each group, in deviations of the noise; empty before a round.
    """

    labels: NDArray[np.int64]
    rotations: NDArray[np.float64]
    centres_px: NDArray[np.float64]
    scores: NDArray[np.float32]


class ClassAlignment:
    """Particles ready to be compared with averages.

    Parameters
    ----------
    boxes : (N, n, n, n) array
        Standardised, in the frame they were recorded in.
    wedges : (T, w, w, w) array or None
        Of each kind of recording, at the working box; None where unknown.
    kinds : (N,) integers
        Kind of each particle.
    rotations : int
        Orientations to try.
    """

    def __init__(
        self,
        boxes: NDArray,
        wedges: NDArray[np.float32] | None,
        kinds: NDArray[np.int64],
        rotations: int = 2304,
    ) -> None:
        self.working = working_boxes(boxes)
        self.n = self.working.shape[-1]
        ones = np.ones((1, *(self.n,) * 3), dtype=np.float32)
        self.wedges = ones if wedges is None else wedges
        self.kinds = np.zeros(len(boxes), dtype=np.int64) if wedges is None else kinds
        self.grid = even_rotations(rotations)
        self._points, self._chosen = _frequencies(self.n)
        self._spectra = self._transform(torch.from_numpy(self.working))
        self._seen = torch.from_numpy(self.wedges).reshape(len(self.wedges), -1)[:, self._chosen]
        # By parity of a shuffled order: halves must not be batches of a microscope.
        order = np.random.default_rng(_GRID_SEED).permutation(len(boxes))
        self.halves = np.argsort(order) % 2 + 1

    def averages(self, grouping: Grouping, half: int | None = None) -> list[NDArray[np.float32]]:
        """Return the average of each group, zeros for a group without particles."""
        found = []
        for label in range(int(grouping.labels.max()) + 1):
            rows = np.flatnonzero(grouping.labels == label)
            if half is not None:
                rows = rows[self.halves[rows] == half]
            found.append(
                average_boxes(
                    self.working,
                    rows,
                    grouping.rotations,
                    grouping.centres_px,
                    self.wedges,
                    self.kinds,
                )
            )
        return found

    def improve(self, grouping: Grouping, count: int) -> Grouping:
        """Return the grouping after one round, with its scores."""
        n = len(self.working)
        scores = np.full((n, count), -np.inf, dtype=np.float32)
        rotations = np.zeros((n, count, 3, 3))
        centres = np.zeros((n, count, 3))
        for half in (1, 2):
            references = self.averages(grouping, 3 - half)
            references += [np.zeros_like(references[0])] * (count - len(references))
            for kind in range(len(self.wedges)):
                rows = np.flatnonzero((self.halves == half) & (self.kinds == kind))
                if len(rows) == 0:
                    continue
                for label, reference in enumerate(references):
                    if not reference.any():
                        continue
                    best = self._compare(rows, kind, reference, grouping.centres_px[rows])
                    scores[rows, label], rotations[rows, label], centres[rows, label] = best
        labels = scores.argmax(axis=1).astype(np.int64)
        at = np.arange(n)
        return Grouping(labels, rotations[at, labels], centres[at, labels], scores)

    def _compare(
        self,
        rows: NDArray[np.int64],
        kind: int,
        reference: NDArray[np.float32],
        centres_px: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Return the best score of each particle, and its rotation and centre."""
        steps = np.array([[0, 0, 0], *np.eye(3), *-np.eye(3)])
        seen = self._seen[kind]
        moved = []
        for step in steps:
            places = torch.from_numpy((centres_px + step).astype(np.float32))
            angle = (2 * torch.pi / self.n) * (places @ self._points.T)
            values = self._spectra[rows] * torch.polar(torch.ones_like(angle), angle) * seen
            moved.append(torch.view_as_real(values).flatten(1))
        best = torch.full((len(rows),), -torch.inf)
        turn, shift = torch.zeros(len(rows), dtype=torch.long), torch.zeros_like(best).long()
        lookup = TransformLookup(reference * _soft_ball(self.n), _HIGHEST_SHELL)
        grid = torch.from_numpy(self.grid.astype(np.float32))
        for start in range(0, len(grid), _ROTATIONS_AT_ONCE):
            # The transform turned by A is, at k, that of the reference at A^T k.
            turned = lookup.at(self._points @ grid[start : start + _ROTATIONS_AT_ONCE]) * seen
            flat = torch.view_as_real(turned).flatten(1)
            flat = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-9)
            for number, values in enumerate(moved):
                found, which = (values @ flat.T).max(dim=1)
                better = found > best
                best = torch.where(better, found, best)
                turn = torch.where(better, which + start, turn)
                shift = torch.where(better, torch.full_like(shift, number), shift)
        return best.numpy(), self.grid[turn.numpy()], centres_px + steps[shift.numpy()]

    def _transform(self, volumes: Tensor) -> Tensor:
        axes = (-3, -2, -1)
        found = []
        for part in volumes.split(256):
            whole = torch.fft.fftn(torch.fft.ifftshift(part, dim=axes), dim=axes, norm="ortho")
            centred = torch.fft.fftshift(whole, dim=axes).reshape(len(part), -1)
            found.append(centred[:, self._chosen])
        return torch.cat(found)


def refine_grouping(
    alignment: ClassAlignment, start: Grouping, clusters: int, rounds: int
) -> tuple[Grouping, float]:
    """Make rounds until the groups no longer change; a group may lose all its members.

    Returns
    -------
    Grouping
        After the last round.
    float
        Adjusted Rand index of the last two rounds: 1 when nothing changes any more.
    """
    grouping, steady = start, 1.0
    for number in range(rounds):
        found = alignment.improve(grouping, clusters)
        steady = adjusted_rand_index(grouping.labels, found.labels)
        grouping = found
        if steady == 1 and number:
            break
    return grouping, steady


def average_boxes(
    boxes: NDArray,
    rows: NDArray[np.int64],
    rotations: NDArray[np.float64],
    centres_px: NDArray[np.float64],
    wedges: NDArray[np.float32],
    kinds: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the average of some particles, each frequency by how often it was measured."""
    n = boxes.shape[-1]
    if len(rows) == 0:
        return np.zeros((n, n, n), dtype=np.float32)
    average = WedgeAverage(n)
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        average.add(
            boxes[part].astype(np.float32),
            rotations[part],
            -centres_px[part],
            wedges[kinds[part]],
        )
    return average.result(regularisation=0.5)


def working_boxes(boxes: NDArray) -> NDArray[np.float32]:
    """Return boxes of at most `WORKING_BOX_PX`; what is finer decides nothing here."""
    if boxes.shape[-1] <= WORKING_BOX_PX:
        return np.asarray(boxes, dtype=np.float32)
    return np.stack([fourier_resample(box.astype(np.float32), WORKING_BOX_PX) for box in boxes])


def _frequencies(n: int) -> tuple[Tensor, Tensor]:
    """Return one of each pair of opposite frequencies (P, 3), and where they are in a box."""
    axis = torch.arange(n, dtype=torch.float32) - centre_voxel(n)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    ahead = (points @ torch.tensor([1.0, 1e-3, 1e-6])) > 0
    chosen = ahead & (points.norm(dim=1) <= min(_HIGHEST_SHELL, (n - 1) // 2))
    return points[chosen], torch.nonzero(chosen)[:, 0]


def _soft_ball(n: int) -> NDArray[np.float32]:
    axis = (np.arange(n) - centre_voxel(n)).astype(np.float32)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return np.clip((0.45 * n - radius) / _EDGE_PX + 1, 0, 1).astype(np.float32)
