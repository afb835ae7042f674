"""What the simulated tomograms of the demonstration hold, and which particles are which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.evaluation.matching import match_points
from cryodl.core.evaluation.poses import Poses
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.errors import InputError

_RADIUS_ANGSTROM = 64.0  # half a particle


@dataclass(frozen=True)
class Truth:
    """All simulated particles.

    Attributes
    ----------
    tomograms : (N,) str
        Of each particle.
    coordinates_angstrom : (N, 3) float64
        x, y, z.
    classes : (N,) int64
        Number of its structure from 1.
    poses : Poses
        True poses.
    references : list of ndarray
        The structures in their order, (n, n, n).
    pixel_size_angstrom : float
        Of references and shifts.
    """

    tomograms: NDArray[np.str_]
    coordinates_angstrom: NDArray[np.float64]
    classes: NDArray[np.int64]
    poses: Poses
    references: list[NDArray[np.float32]]
    pixel_size_angstrom: float


@dataclass(frozen=True)
class Matched:
    """Particles of a file beside true ones.

    Attributes
    ----------
    particles : ParticleSet
        All of the file.
    rows, truths : (M,) int64
        Pairs: row in the file, index in the truth.
    """

    particles: ParticleSet
    rows: NDArray[np.int64]
    truths: NDArray[np.int64]

    def poses(self) -> Poses:
        """Return the poses of the paired particles, shifts in px."""
        rows = self.rows
        pixels = self.particles.shifts_angstrom[rows]
        return Poses(
            self.particles.rotations[rows],
            pixels / self.particles.pixel_size_angstrom[rows, None],
        )


def read_truth(folders: dict[str, Path]) -> Truth:
    """Read the truth of simulated tomograms, by the names that particles know them by."""
    sets = {
        name: read_particles(folder / "truth" / "particles.star", require_images=False)
        for name, folder in folders.items()
    }
    first = next(iter(folders.values()))
    paths = sorted((first / "truth").glob("reference_class*.mrc"))
    volumes = [read_volume(path) for path in paths]
    names = [name for name, one in sets.items() for _ in range(len(one))]
    rotations = np.concatenate([one.rotations for one in sets.values()])
    pixels = volumes[0].pixel_size_angstrom
    shifts = np.concatenate([one.shifts_angstrom for one in sets.values()]) / pixels
    return Truth(
        np.array(names),
        np.concatenate([_places(one) for one in sets.values()]),
        np.concatenate([one.classes for one in sets.values()]),
        Poses(rotations, shifts),
        [volume.data for volume in volumes],
        pixels,
    )


def match(path: Path, truth: Truth) -> Matched:
    """Read particles and pair them with the true ones within half a particle.

    Raises
    ------
    InputError
        None of them is in a tomogram of the truth.
    """
    particles = read_particles(path, require_images=False)
    places, rows, truths = _places(particles), [], []
    for name in dict.fromkeys(truth.tomograms):
        here = np.flatnonzero(np.array(particles.tomograms) == name)
        there = np.flatnonzero(truth.tomograms == name)
        found, true = match_points(
            places[here], truth.coordinates_angstrom[there], _RADIUS_ANGSTROM
        )
        rows.append(here[found])
        truths.append(there[true])
    matched = Matched(particles, np.concatenate(rows), np.concatenate(truths))
    if not len(matched.rows):
        raise InputError(
            f"{path}: found tomograms {sorted(set(particles.tomograms))[:3]} and no simulated "
            f"particle in them, expected {sorted(set(truth.tomograms))[:3]}; give the runs of "
            "one chain"
        )
    return matched


def _places(particles: ParticleSet) -> NDArray[np.float64]:
    scale = particles.coordinate_pixel_size_angstrom[:, None]
    places: NDArray[np.float64] = particles.coordinates_px * scale
    return places
