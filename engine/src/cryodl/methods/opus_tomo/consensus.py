"""The average of the particles on the working grid, its mask, and the noise around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryodl.core.volumes.masks import estimate_mask
from cryodl.methods.opus_tomo.canonical import half_shells
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import Scene
from cryodl.methods.opus_tomo.stacks import noise_factor

FLOOR = 0.02  # of the largest weight, as a Wiener filter
_NOISE_PARTICLES = 256
_WELL_SEEN = 0.05
_MASK_EXTEND_PX = 2.0
_MASK_EDGE_PX = 3.0


def make_scene(
    store: ParticleStore,
    mask: NDArray[np.float32] | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> Scene:
    """Average all particles and measure the noise.

    Parameters
    ----------
    store : ParticleStore
        All particles.
    mask : (c, c, c), optional
        On the working grid; found from the average when there is none.
    progress : callable, optional
        Told the fraction that is done.
    """
    tell = progress or (lambda fraction: None)
    shape = store.sampling.shape
    data, weight = np.zeros((2, *shape), np.complex128), np.zeros((2, *shape))
    for index in range(len(store)):
        found = store.canonical(index)
        data[index % 2] += found.data
        weight[index % 2] += found.weight
        tell((index + 1) / len(store))
    c = store.sampling.crop_px
    halves = [_divided(data[i], weight[i]) for i in (0, 1)]
    share = signal_share(halves[0], halves[1])
    average = _divided(data.sum(axis=0), weight.sum(axis=0)) * share
    consensus = np.fft.irfftn(average, s=(c,) * 3).astype(np.float32)
    if mask is None:
        mask = estimate_mask(
            consensus,
            store.sampling.working_pixel_angstrom,
            extend_px=_MASK_EXTEND_PX,
            edge_px=_MASK_EDGE_PX,
        )
    noise = noise_by_shell(store, consensus * mask)
    if store.are_stacks:
        noise *= np.float32(noise_factor(c))
    return Scene(consensus, mask.astype(np.float32), noise)


def _divided(
    data: NDArray[np.complexfloating], weight: NDArray[np.floating]
) -> NDArray[np.complexfloating]:
    return data / (weight + FLOOR * max(float(weight.max()), 1e-30))


def signal_share(
    first: NDArray[np.complexfloating], second: NDArray[np.complexfloating]
) -> NDArray[np.float64]:
    """Return the Wiener filter of the mean of two half maps, from their shell correlation.

    Parameters
    ----------
    first, second : (c, c, c // 2 + 1)
        Transforms.

    Returns
    -------
    ndarray, same shape
        2 FSC / (1 + FSC) of each frequency's shell, smoothed over three shells; poses that are
        fitted to noise of the average would follow it.
    """
    c = first.shape[0]
    shells = half_shells(c).ravel()
    cross, one, two = (
        np.bincount(shells, values.ravel())
        for values in ((first * second.conj()).real, np.abs(first) ** 2, np.abs(second) ** 2)
    )
    correlation = cross / np.maximum(np.sqrt(one * two), 1e-30)
    padded = np.pad(correlation, 1, mode="edge")
    correlation = ((padded[:-2] + padded[1:-1] + padded[2:]) / 3).clip(0, 1)
    share = 2 * correlation / (1 + correlation)
    found: NDArray[np.float64] = share[shells].reshape(first.shape)
    return found


def noise_by_shell(store: ParticleStore, consensus: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the variance of the noise of a voxel, by shell, from what the consensus leaves over.

    Data were multiplied by a sphere of the box before they were transformed; their power is that
    of the noise times its voxels.
    """
    c = store.sampling.crop_px
    shells = half_shells(c)
    transform = np.fft.rfftn(consensus)
    power, weight = np.zeros(c // 2 + 1), np.zeros(c // 2 + 1)
    step = max(1, len(store) // _NOISE_PARTICLES)
    for index in range(0, len(store), step):
        found = store.canonical(index)
        seen = found.weight > _WELL_SEEN * found.weight.max()
        rest = np.abs(found.data - found.weight * transform) ** 2
        power += np.bincount(shells[seen], rest[seen], c // 2 + 1)
        weight += np.bincount(shells[seen], found.weight[seen], c // 2 + 1)
    voxels = np.pi / 6 * (c - 2) ** 3
    known = weight > 0
    noise = np.interp(
        np.arange(c // 2 + 1), np.flatnonzero(known), power[known] / weight[known] / voxels
    )
    noise[0] = noise[1]  # the mean of a box was set by its background
    return np.maximum(noise, 1e-4 * noise.max()).astype(np.float32)
