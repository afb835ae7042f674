"""What is picked in error: empty ice, gold beads, pieces of membrane, blobs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.simulation.membranes import bead_profile, bilayer_profile
from cryodl.core.simulation.structures import random_blob

FloatVolume = NDArray[np.float32]

JUNK_KINDS = ("empty", "blob", "membrane", "bead")
_BEAD_CONTRAST = 5.0


def draw_junk(
    index: int, box_size_px: int, brightness: float, rng: np.random.Generator
) -> FloatVolume:
    """Return one box with something that is no particle.

    Parameters
    ----------
    index
        Chooses among `JUNK_KINDS` in turn.
    box_size_px
        Edge n.
    brightness
        Mean density of a particle.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        float32, (n, n, n).
    """
    n = box_size_px
    kind = JUNK_KINDS[index % len(JUNK_KINDS)]
    turn = random_rotations(1, rng)[0]
    place = rng.uniform(-0.1 * n, 0.1 * n, 3)
    if kind == "blob":
        blob = random_blob(rng.uniform(0.15, 0.3) * n, rng.uniform(1.0, 3.0), rng)
        return blob.posed(turn, place, n) * np.float32(brightness)
    volume = np.zeros((n, n, n), dtype=np.float32)
    if kind == "empty":
        return volume
    axis = np.arange(n, dtype=np.float64) - n // 2
    z, y, x = np.meshgrid(axis - place[2], axis - place[1], axis - place[0], indexing="ij")
    if kind == "bead":
        radius = rng.uniform(0.08, 0.15) * n
        bead = bead_profile(np.sqrt(x**2 + y**2 + z**2), radius)
        return (_BEAD_CONTRAST * brightness * bead).astype(np.float32)
    normal = turn[2]
    sheet = bilayer_profile(normal[0] * x + normal[1] * y + normal[2] * z, 0.12 * n)
    return (brightness * sheet).astype(np.float32)
