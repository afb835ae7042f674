"""Averages that change with the latents: what a particle may look like, from all the others.

Each particle i is to show ``V_i = sum over k of b_ik V_k``, where b is linear in its latents (one
constant for a plain average), and the V_k are those that fit all particles best. They are a few
volumes of hundreds of particles, and so carry less noise than a network that was trained on the
same; and one particle can be taken out of them exactly.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryodl.methods.opus_tomo.consensus import FLOOR, signal_share
from cryodl.methods.opus_tomo.data import ParticleStore

_MOST_DIMENSIONS = 4
_MEANS_SOMETHING = 0.05  # of the largest deviation of a latent


def basis_of(latents: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a constant and the leading latents as orthonormal columns, (n, 1 + k).

    Parameters
    ----------
    latents : (n, d)
        The largest variation first; none are none.
    """
    values = np.asarray(latents, dtype=np.float64)[:, :_MOST_DIMENSIONS]
    deviations = values.std(axis=0)
    largest = deviations.max(initial=0.0)
    values = values[:, deviations > max(_MEANS_SOMETHING * largest, 1e-12)]
    columns = np.column_stack([np.ones(len(values)), values - values.mean(axis=0)])
    found = np.linalg.qr(columns)[0] * np.sqrt(len(values))
    signs = np.sign((found * columns).sum(axis=0))
    return np.asarray(found * signs)


class Regression:
    """Averages of all particles by a basis, from which single particles can be left out.

    Parameters
    ----------
    store : ParticleStore
        All particles.
    mask : (c, c, c)
        On the working grid.
    basis : (n, k)
        A column of ones, or `basis_of` latents.
    """

    def __init__(
        self, store: ParticleStore, mask: NDArray[np.float32], basis: NDArray[np.float64]
    ) -> None:
        self.store, self.mask, self.basis = store, mask, basis
        count = basis.shape[1]
        shape = store.sampling.shape
        weight = np.zeros((2, *shape, count, count), np.float32)
        data = np.zeros((2, *shape, count), np.complex64)
        for index in range(len(store)):
            found, row = store.canonical(index), basis[index].astype(np.float32)
            data[index % 2] += found.data[..., None] * row
            weight[index % 2] += found.weight[..., None, None] * np.outer(row, row)
        floor = FLOOR * max(float(weight[..., 0, 0].sum(axis=0).max()), 1e-30)
        ridge = np.float32(floor) * np.eye(count, dtype=np.float32)
        halves = [
            _solved(np.linalg.inv(w + ridge / 2), d) for w, d in zip(weight, data, strict=True)
        ]
        self._inverse = np.linalg.inv(weight.sum(axis=0) + ridge)
        self._volumes = _solved(self._inverse, data.sum(axis=0))
        # What both halves do not agree on is noise, and poses would follow it.
        self._share = np.stack(
            [signal_share(*(self._masked(half[..., k]) for half in halves)) for k in range(count)],
            axis=-1,
        ).astype(np.float32)

    def without(self, index: int) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Return the V_k by all the others, and b of this particle without that of the constant.

        A particle is drawn to its own noise in an average, and so to the pose that it had.
        """
        found, row = self.store.canonical(index), self.basis[index].astype(np.float32)
        lever = self._inverse @ row
        own = (lever @ row) * found.weight
        rest = found.data - found.weight * (self._volumes @ row)
        without = self._volumes - lever * (rest / np.maximum(1 - own, 1e-3))[..., None]
        parts = np.stack([self._masked(part) for part in np.moveaxis(without * self._share, -1, 0)])
        parts[0] *= row[0]
        return parts, self.basis[index, 1:]

    def _masked(self, transform: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        volume = scipy.fft.irfftn(transform, s=self.mask.shape) * self.mask
        found: NDArray[np.complex64] = scipy.fft.rfftn(volume).astype(np.complex64)
        return found


def _solved(inverse: NDArray[np.float32], data: NDArray[np.complex64]) -> NDArray[np.complex64]:
    found: NDArray[np.complex64] = (inverse @ data[..., None])[..., 0]
    return found
