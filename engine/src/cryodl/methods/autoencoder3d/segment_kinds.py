"""What each thing is: by what the network says of its voxels, and by how large it is.

A network that has seen one tomogram confuses classes in another of other contrast and tilts; it
seldom confuses where a thing ends. Things of one class are of one size, and which size that is in
this tomogram the things themselves tell: a mixture of a normal distribution of log volumes for
each class, in which what the network says counts as the prior of each thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 30
_FEWEST = 5.0  # things of a class, before their sizes say anything
_LEAST_SPREAD = 0.08  # of log volumes
_SURE = 0.02  # the network is never surer than this
_ODD = 0.02  # share of things whose size says nothing
_ODD_DENSITY = 0.5  # of their log volumes


def kinds_of(
    votes: NDArray[np.float64], volumes: NDArray[np.float64], whole: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the chances of things to be of each class, (N, K), rows adding up to 1.

    Parameters
    ----------
    votes : (N, K) array
        Mean chance of each class in the voxels of each thing, rows adding up to 1.
    volumes : (N,) array
        Of the things.
    whole : (N,) bool
        Which lie inside the tomogram with all of them; the size of others says nothing.
    """
    prior = np.clip(votes, _SURE, 1 - _SURE)
    prior /= prior.sum(axis=1, keepdims=True)
    chances = prior.copy()
    sizes = np.log(np.maximum(volumes, 1.0))
    for _ in range(_ROUNDS):
        weights = chances * whole[:, None]
        counts = weights.sum(axis=0)
        if (counts < _FEWEST).any():
            return prior
        means = (weights * sizes[:, None]).sum(axis=0) / counts
        squares = (weights * (sizes[:, None] - means) ** 2).sum(axis=0) / counts
        spreads = np.maximum(np.sqrt(squares), _LEAST_SPREAD)
        away = (sizes[:, None] - means) / spreads
        density = np.exp(-(away**2) / 2) / (spreads * np.sqrt(2 * np.pi))
        likelihood = (1 - _ODD) * density + _ODD * _ODD_DENSITY
        likelihood[~whole] = 1.0
        chances = prior * likelihood
        chances /= chances.sum(axis=1, keepdims=True)
    return chances
