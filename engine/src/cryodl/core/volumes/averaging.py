"""Average subtomograms by their poses, each frequency by how well it was measured (torch).

Particle p with pose ``x_particle = A x_reference - s`` and transfer T (wedge or CTF, in its own
frame) adds to the reference at frequency k

    N(k) += T(A k) P(A k) exp(-2 pi i (A k) . s / n)        D(k) += T(A k)^2

and the average is N / D where D is large enough. Transforms are looked up between the frequencies
of a box of twice the size with cubic splines, so that a rotation costs neither resolution nor the
rim of the box; the weights are smooth and are looked up linearly.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cryodl.core.fourier.grids import check_box_size, half_shell_index
from cryodl.core.fourier.shells import shell_mean
from cryodl.core.fourier.transform import half_to_centred
from cryodl.core.geometry.fourier_lookup import (
    PADDING,
    FourierLookup,
    cubic_lookup,
    linear_lookup,
)
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError, InputError

Weighting = Literal["transfer", "premultiplied"]
_MASK_EDGE_PX = 2.0
# Voxels of the padded boxes of one pass; few stay in the cache of a processor, many fill a GPU.
_VOXELS_OF_A_PASS = {"cpu": 2**20}
_VOXELS_OF_A_GPU_PASS = 2**26


class WedgeAverage:
    """Running averages of two half sets.

    Parameters
    ----------
    n : int
        Box size, odd or even.
    symmetry : str
        Point group, see `symmetry_matrices`.
    weighting : "transfer" or "premultiplied"
        What the weights of `add` are: the factor T that the particle was seen through (a wedge or
        a CTF), or, for subtomograms that were multiplied by it already (pseudo-subtomograms of
        RELION 4), the weight T^2 that goes with them.
    mask_radius_px : float, optional
        What of a particle is used, about its own centre; by default what a rotation keeps within
        the box. What lies beyond would come back in from the other side of the box.
    device : str
        Of torch.
    """

    def __init__(
        self,
        n: int,
        symmetry: str = "C1",
        *,
        weighting: Weighting = "transfer",
        mask_radius_px: float | None = None,
        device: str = "cpu",
    ) -> None:
        if weighting not in ("transfer", "premultiplied"):
            raise ConfigError(
                f"average: weighting {weighting!r} is unknown; give transfer or premultiplied"
            )
        symmetry_matrices(symmetry)
        self.n, self.symmetry, self.weighting = check_box_size(n), symmetry, weighting
        radius = n / 2 - _MASK_EDGE_PX if mask_radius_px is None else mask_radius_px
        if not radius > 0:
            raise ConfigError(f"average: mask radius {radius} px, expected more than 0")
        self._mask_radius_px = radius
        self._grid = FourierLookup(self.n, torch.device(device))
        count = self._grid.points.shape[0]
        self._numerator = torch.zeros(2, count, dtype=torch.complex128, device=device)
        self._weight = torch.zeros(2, count, dtype=torch.float64, device=device)
        self.counts = np.zeros(2, dtype=np.int64)

    def add(
        self,
        subtomograms: ArrayLike,
        rotations: ArrayLike,
        shifts_px: ArrayLike,
        wedges: ArrayLike | None = None,
        *,
        half_sets: ArrayLike | None = None,
    ) -> None:
        """Add particles.

        Parameters
        ----------
        subtomograms : (b, n, n, n) array
            Bright matter, mean about 0.
        rotations : (b, 3, 3) array
            A of the pose, on (x, y, z).
        shifts_px : (b, 3) array
            s of the pose along x, y, z.
        wedges : (b, n, n, n) or (n, n, n) array, optional
            Centred, in the frame of the particle; 1 everywhere by default. See `weighting`.
        half_sets : (b,) array, optional
            1 or 2; particles without one (0, or none given) go to the smaller half.

        Raises
        ------
        InputError
            Shapes that do not belong together, or values that are not finite.
        """
        volumes, matrices, shifts, weights = self._checked(
            subtomograms, rotations, shifts_px, wedges
        )
        halves = self._halves(len(volumes), half_sets)
        voxels = _VOXELS_OF_A_PASS.get(volumes.device.type, _VOXELS_OF_A_GPU_PASS)
        step = max(1, voxels // (PADDING * self.n) ** 3)
        for start in range(0, len(volumes), step):
            part = slice(start, start + step)
            self._add(
                volumes[part],
                matrices[part],
                shifts[part],
                weights[part] if weights is not None and weights.shape[0] > 1 else weights,
                halves[part],
            )

    def result(
        self, half: int | None = None, *, regularisation: float = 0.0, floor: float = 0.02
    ) -> NDArray[np.float32]:
        """Return the average, of all particles or of one half.

        Parameters
        ----------
        half : 1 or 2, optional
            All by default.
        regularisation : float
            Added to D, in units of one fully measured particle: 1 / SNR of a Wiener filter.
        floor : float
            D is not taken smaller than this share of its mean over the shell: what is hardly
            measured fades out instead of blowing up. 0 where nothing was measured at all.

        Returns
        -------
        ndarray, (n, n, n) float32

        Raises
        ------
        InputError
            There are no particles in it.
        """
        if half not in (None, 1, 2):
            raise ConfigError(f"average: half {half!r}, expected 1, 2 or none for all")
        chosen = [0, 1] if half is None else [half - 1]
        if self.counts[chosen].sum() == 0:
            raise InputError(
                f"average: no particles in {'it' if half is None else f'half {half}'}; add some, "
                "at least two for half maps"
            )
        numerator, weight = self._sums(chosen)
        return divide_by_weight(
            numerator, weight, self.n, regularisation=regularisation, floor=floor
        )

    def halves(
        self, *, regularisation: float = 0.0, floor: float = 0.02
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the two half maps; see `result`."""
        first, second = (
            self.result(half, regularisation=regularisation, floor=floor) for half in (1, 2)
        )
        return first, second

    def weight(self, half: int | None = None) -> NDArray[np.float32]:
        """Return D, centred (n, n, n): how often each frequency of the reference was measured."""
        chosen = [0, 1] if half is None else [half - 1]
        return half_to_centred(self._sums(chosen)[1], self.n)

    def _sums(self, chosen: list[int]) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Return N and D in the half layout, symmetric."""
        numerator, weight = self._numerator[chosen].sum(dim=0), self._weight[chosen].sum(dim=0)
        matrices = symmetry_matrices(self.symmetry)
        if len(matrices) > 1:
            numerator, weight = self._copied(numerator, weight, matrices)
        half = self._grid.to_half
        return half(numerator).astype(np.complex64), half(weight).astype(np.float32)

    def _copied(
        self, numerator: Tensor, weight: Tensor, matrices: NDArray[np.float64]
    ) -> tuple[Tensor, Tensor]:
        """Sum N and D over a group: every copy counts as a measurement."""
        grid, n = self._grid, self.n
        map_ = np.fft.fftshift(np.fft.irfftn(grid.to_half(numerator), s=(n, n, n)))
        transform = grid.padded_transform(_as_tensor(map_[None], grid.points))
        # D ends at Nyquist: the share of a look-up that lies within makes up for what does not.
        both = [weight, torch.ones_like(weight)]
        centred = [half_to_centred(grid.to_half(w).astype(np.float32), n) for w in both]
        sources = _as_tensor(np.stack(centred), grid.points)
        numerators, weights = torch.zeros_like(numerator), torch.zeros_like(weight)
        for matrix in _as_tensor(matrices, grid.points):
            points, mirrored = _x_positive(grid.points @ matrix.T)
            values = cubic_lookup(transform, points[None] * PADDING)[0]
            found = linear_lookup(sources, points.expand(2, -1, -1), n)
            numerators += torch.where(mirrored, values.conj(), values)
            weights += found[0] / found[1].clamp(min=1e-3)
        return numerators, weights

    def _add(
        self,
        volumes: Tensor,
        matrices: Tensor,
        shifts: Tensor,
        weights: Tensor | None,
        halves: Tensor,
    ) -> None:
        grid = self._grid
        # Frequencies of the particle, (b, P, 3).
        source, mirrored = _x_positive(torch.einsum("bij,pj->bpi", matrices, grid.points))
        masked = volumes * self._masks(shifts)
        values = cubic_lookup(grid.padded_transform(masked), source * PADDING)
        phase = (-2 * torch.pi / self.n) * torch.einsum("bpi,bi->bp", source, shifts)
        values = values * torch.polar(torch.ones_like(phase), phase)
        values = torch.where(mirrored, values.conj(), values)
        if weights is None:
            gain = torch.ones(1, 1, device=values.device)
        else:
            gain = linear_lookup(weights.expand(len(volumes), -1, -1, -1), source, self.n)
        if self.weighting == "transfer":
            values, gain = values * gain, gain**2
        gain = gain.expand(values.shape)
        for half in (0, 1):
            members = halves == half
            self._numerator[half] += values[members].sum(dim=0)
            self._weight[half] += gain[members].sum(dim=0)

    def _masks(self, shifts: Tensor) -> Tensor:
        """Return soft spheres about the centres of the particles, which lie at -s."""
        axis = torch.arange(self.n, device=shifts.device, dtype=torch.float32) - self.n // 2
        x, y, z = ((axis[None] + shifts[:, i : i + 1]) ** 2 for i in range(3))
        radius = torch.sqrt(z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :])
        outside = ((radius - self._mask_radius_px) / _MASK_EDGE_PX).clamp(0, 1)
        return 0.5 + 0.5 * torch.cos(torch.pi * outside)

    def _halves(self, count: int, given: ArrayLike | None) -> Tensor:
        halves = np.zeros(count, dtype=np.int64) if given is None else np.asarray(given)
        if halves.shape != (count,) or not np.isin(halves, (0, 1, 2)).all():
            raise InputError(
                f"half sets: shape {halves.shape}, expected {count} numbers 1 or 2; give one a "
                "particle"
            )
        out = np.empty(count, dtype=np.int64)
        for i, half in enumerate(halves):
            out[i] = int(half) - 1 if half else int(self.counts[0] > self.counts[1])
            self.counts[out[i]] += 1
        return torch.from_numpy(out).to(self._grid.points.device)

    def _checked(
        self,
        subtomograms: ArrayLike,
        rotations: ArrayLike,
        shifts_px: ArrayLike,
        wedges: ArrayLike | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        n, box = self.n, (self.n,) * 3
        volumes = _as_tensor(subtomograms, self._grid.points)
        count = volumes.shape[0] if volumes.ndim == 4 else -1
        matrices = _as_tensor(rotations, self._grid.points)
        shifts = _as_tensor(shifts_px, self._grid.points)
        weights = None if wedges is None else _as_tensor(wedges, self._grid.points)
        if weights is not None and weights.ndim == 3:
            weights = weights[None]
        shapes = {
            "subtomograms": (volumes, (count, *box)),
            "rotations": (matrices, (count, 3, 3)),
            "shifts": (shifts, (count, 3)),
        }
        if weights is not None:
            expected = (1 if weights.shape[0] == 1 else count, *box)
            shapes["wedges"] = (weights, expected)
        for name, (values, shape) in shapes.items():
            if tuple(values.shape) != shape or not bool(torch.isfinite(values).all()):
                raise InputError(
                    f"{name} to average: shape {tuple(values.shape)}, expected finite values of "
                    f"{('b', *shape[1:])} for a box of {n} px and one of each a particle"
                )
        return volumes, matrices, shifts, weights


def divide_by_weight(
    numerator: NDArray[np.complexfloating],
    weight: NDArray[np.floating],
    n: int,
    *,
    regularisation: float = 0.0,
    floor: float = 0.02,
) -> NDArray[np.float32]:
    """Divide accumulated data by their weights and transform back.

    Parameters
    ----------
    numerator, weight : (m, m, m // 2 + 1) arrays
        Half layout; the transform's origin is at voxel 0.
    n : int
        Box of the result, m or smaller: the centre is cut out.
    regularisation, floor
        See `WedgeAverage.result`.

    Returns
    -------
    ndarray, (n, n, n) float32
        Origin at voxel ``n // 2``.
    """
    for name, value in (("regularisation", regularisation), ("floor", floor)):
        if not (np.isfinite(value) and value >= 0):
            raise ConfigError(f"average: {name} {value}, expected 0 or more; give another")
    m = weight.shape[0]
    index = half_shell_index(m)
    mean = shell_mean(weight, index, int(index.max()) + 1)
    lowest = np.maximum(floor * mean[index], 1e-12)
    quotient = numerator / (np.maximum(weight, lowest) + regularisation)
    quotient = np.where(weight > 0, quotient, 0)
    volume = np.fft.fftshift(np.fft.irfftn(quotient, s=(m, m, m)))
    start = m // 2 - n // 2
    return volume[(slice(start, start + n),) * 3].astype(np.float32)


def _as_tensor(values: ArrayLike, like: Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values.to(device=like.device, dtype=torch.float32)
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=like.device)


def _x_positive(points: Tensor) -> tuple[Tensor, Tensor]:
    """Turn frequencies (..., 3) of negative x about, and tell which."""
    mirrored = points[..., 0] < 0
    return torch.where(mirrored[..., None], -points, points), mirrored
