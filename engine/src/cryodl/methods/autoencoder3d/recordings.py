"""What was measured of each particle: the tilt range of its tomogram, as two beam directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.wedge import missing_wedge, tilt_rotations
from cryodl.core.io.particles.model import ParticleSet
from cryodl.methods.autoencoder3d.ctf_ranges import ranges_of_ctf


@dataclass(frozen=True)
class Recordings:
    """Kinds of recording, and which each particle is of.

    Attributes
    ----------
    ranges : list of (float, float, float)
        Lowest and highest tilt and direction of the tilt axis in degrees; empty when unknown.
    kinds : (N,) int64
        Row of `ranges` of each particle.
    box_rotations : (N, 3, 3) float64 or None
        Rotations with which boxes were cut, if any.
    """

    ranges: list[tuple[float, float, float]]
    kinds: NDArray[np.int64]
    box_rotations: NDArray[np.float64] | None = None

    @property
    def known(self) -> bool:
        """Whether the tilts of all particles are known."""
        return bool(self.ranges)

    def normals(self) -> NDArray[np.float64]:
        """Return the beam at the lowest and the highest tilt of each kind, (T, 2, 3)."""
        return np.stack(
            [tilt_rotations([low, high], axis)[:, 2] for low, high, axis in self.ranges]
        )

    def wedges(self, n: int) -> NDArray[np.float32]:
        """Return the weight of each kind, (T, n, n, n) centred."""
        return np.stack(
            [missing_wedge(n, low, high, tilt_axis_degrees=axis) for low, high, axis in self.ranges]
        )

    def as_dict(self) -> dict[str, list[list[float]]]:
        """Return what a file can keep of the ranges."""
        return {"ranges": [list(entry) for entry in self.ranges]}


def recordings_of(
    particles: ParticleSet, given: tuple[float, float] | None, axis: Literal["x", "y"]
) -> Recordings:
    """Return what is known of the tilts: what was given, else what the file says.

    CTF files come before a range of tilts, for they also know the axis.
    """
    count = len(particles)
    rotations = particles.box_rotations
    direction = 90.0 if axis == "y" else 0.0
    own = ranges_of_ctf(particles) if given is None else None
    if own is not None:
        distinct = sorted(set(own))
        return Recordings(distinct, np.array([distinct.index(r) for r in own]), rotations)
    shared = given or particles.tilt_range_degrees
    if shared is not None:
        ranges = [(float(shared[0]), float(shared[1]), direction)]
        return Recordings(ranges, np.zeros(count, dtype=np.int64), rotations)
    if any(name not in particles.tilts for name in particles.tomograms) or not particles.tilts:
        return Recordings([], np.zeros(count, dtype=np.int64), rotations)
    names = sorted(set(particles.tomograms))
    ranges = []
    for name in names:
        tilts = particles.tilts[name]
        angles = tilts.tilt_angles_degrees
        ranges.append((float(angles.min()), float(angles.max()), float(tilts.tilt_axis_degrees)))
    kinds = np.array([names.index(name) for name in particles.tomograms], dtype=np.int64)
    return Recordings(ranges, kinds, rotations)
