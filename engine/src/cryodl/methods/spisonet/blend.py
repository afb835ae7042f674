"""How far to trust each estimate, measured on data whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from torch import Tensor

from cryodl.methods.spisonet.problem import Problem

ESTIMATES = 3  # classical filling, network, Wiener-filtered data
_RIDGE = 0.02
_SHELL_SMOOTH = 1.5
_MAX_COEFFICIENT = 1.5


@dataclass(frozen=True)
class Blend:
    """Coefficients by shell of one zone of Fourier space.

    Attributes
    ----------
    coefficients : np.ndarray
        (3, n//2 + 1), of the classical filling, the network and the Wiener-filtered data.
    explained : np.ndarray
        (n//2 + 1,): share of the signal power explained, in [0, 1], which is the squared FSC with
        the truth to expect.
    """

    coefficients: NDArray[np.float64]
    explained: NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The blends of the missing and of the measured directions."""

    missing: Blend
    measured: Blend


class Moments:
    """Sums by shell of the products of three estimates with each other and with a target.

    Parameters
    ----------
    problem : Problem
        Gives shells and signal power.
    """

    def __init__(self, problem: Problem) -> None:
        self._shell = problem.shell.reshape(-1).cpu().numpy()
        self._power = problem.power
        self._size = problem.n // 2 + 1
        self._gram = np.zeros((ESTIMATES, ESTIMATES, self._size))
        self._cross = np.zeros((ESTIMATES, self._size))
        self._count = np.zeros(self._size)

    def sum_by_shell(self, values: Tensor) -> NDArray[np.float64]:
        """Sum a real tensor in the layout of ``rfftn`` over shells, (n//2 + 1,)."""
        flat = values.reshape(-1).double().cpu().numpy()
        return np.bincount(self._shell, flat, self._size).astype(np.float64)

    def add(self, estimates: list[Tensor], target: Tensor, weight: Tensor) -> None:
        """Add transforms in the layout of ``rfftn``; `weight` is the target's reliability."""
        self._count += self.sum_by_shell(weight)
        for i, first in enumerate(estimates):
            self._cross[i] += self.sum_by_shell(weight * (first * target.conj()).real)
            for j in range(i + 1):
                value = self.sum_by_shell(weight * (first * estimates[j].conj()).real)
                self._gram[i, j] += value
                if i != j:
                    self._gram[j, i] += value

    def solve(self, use: tuple[int, ...]) -> Blend:
        """Return the non-negative least-squares blend of the estimates numbered in `use`."""
        gram, cross, power = (
            ndimage.gaussian_filter1d(values, _SHELL_SMOOTH, axis=-1, mode="nearest")
            for values in (self._gram, self._cross, self._power * self._count)
        )
        coefficients = np.zeros((ESTIMATES, self._size))
        explained = np.zeros(self._size)
        index = np.asarray(use)
        for r in np.flatnonzero(power > 0):
            # The ridge leaves an estimate out unless it explains something of the target.
            matrix = gram[np.ix_(index, index, [r])][..., 0] / power[r]
            matrix = matrix + _RIDGE * np.eye(index.size)
            right = cross[index, r] / power[r]
            root = np.linalg.cholesky(matrix)
            solution, _ = optimize.nnls(root.T, np.linalg.solve(root, right))
            coefficients[index, r] = np.minimum(solution, _MAX_COEFFICIENT)
            explained[r] = float(np.clip(coefficients[index, r] @ right, 0.0, 1.0))
        return Blend(coefficients, explained)
