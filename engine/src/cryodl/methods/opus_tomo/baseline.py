"""What a linear method sees: principal components of the residuals, to compare the network with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel

_MOST_VOXELS = 20_000
_BATCH = 16


def linear_components(
    model: DensityModel, store: ParticleStore, components: int
) -> NDArray[np.float32]:
    """Return principal components (n, components) of the residuals within the mask.

    The residuals are those that the encoder sees. Boxes of many voxels are thinned out evenly.
    """
    inside = np.flatnonzero(model.mask.cpu().numpy().ravel() > 0.5)
    inside = inside[:: max(1, len(inside) // _MOST_VOXELS)]
    gram = residuals(model, store, inside)
    gram -= gram.mean(axis=0)
    count = min(components, len(store) - 1, gram.shape[1])
    values, vectors = np.linalg.eigh(gram @ gram.T)
    order = np.argsort(values)[::-1][:count]
    return (vectors[:, order] * np.sqrt(np.maximum(values[order], 0))).astype(np.float32)


@torch.no_grad()
def residuals(
    model: DensityModel, store: ParticleStore, voxels: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the encoder's input at some voxels, (n, voxels)."""
    rows = []
    for start in range(0, len(store), _BATCH):
        chosen = np.arange(start, min(start + _BATCH, len(store)))
        batch = store.stacked(chosen)
        found = model.encoder_input(*model.whitened(batch["data"], batch["weight"]))
        rows.append(found.flatten(1).numpy()[:, voxels])
    return np.concatenate(rows)
