"""Points in plain text as a set of particles, for the commands that take both."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cryodl.core.io.particles.coordinates import Coordinates
from cryodl.core.io.particles.imod_model import is_imod_model
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.model import ParticleSet

SCORE = "cdlScore"
_HEAD_BYTES = 1 << 16
_WORDS = re.compile("[0-9a-z]+", re.IGNORECASE)
# Columns by which we tell a particle or its tilts; a column of the same name means something else.
_OURS = ("cdlParticleName", "cdlMicrographName", "cdlTiltMin", "cdlTiltMax")


def is_text_of_points(path: Path) -> bool:
    """Tell points in text, or an IMOD model, from a STAR file: by its name or a line data_..."""
    if path.suffix.lower() == ".star" or not path.is_file():
        return False
    if is_imod_model(path):
        return True
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if b"\0" in head:
        return False
    return not any(line.lstrip().startswith(b"data_") for line in head.splitlines())


def points_of_text(
    path: Path, found: Coordinates, pixel_size_angstrom: float, tomogram: str
) -> ParticleSet:
    """Return the points of a file, named by tomogram and place.

    Parameters
    ----------
    path : Path
        The file.
    found : Coordinates
        What was read of it.
    pixel_size_angstrom : float
        Of the tomogram.
    tomogram : str
        Name of the tomogram of points whose file names none.
    """
    tomograms = [own or tomogram for own in found.tomograms]
    particles = particles_from_coordinates(
        found.xyz_px,
        pixel_size_angstrom=pixel_size_angstrom,
        tomograms=tomograms,
        names=_names(tomograms, found.xyz_px),
    )
    return replace(with_columns_of_text(particles, found), path=path)


def with_columns_of_text(particles: ParticleSet, found: Coordinates) -> ParticleSet:
    """Return particles with all that a file of points says beside their places.

    Scores are `SCORE`, IMOD's objects and contours ``cdlObject`` and ``cdlContour``; a further
    column ``mean density`` becomes ``cdlMeanDensity``.
    """
    added: dict[str, Any] = {}
    if found.scores is not None:
        added[SCORE] = found.scores
    if found.groups is not None:
        added["cdlObject"], added["cdlContour"] = found.groups.T
    for name, cells in found.extra.items():
        label = "cdl" + "".join(word.capitalize() for word in _WORDS.findall(name))
        if label not in ("cdl", *added) and label not in _OURS:
            added[label] = cells
    for label, values in added.items():
        particles = particles.with_column(label, values)
    return particles


def _names(tomograms: list[str], places: NDArray) -> list[str]:
    """Name points by their place; points in one place are told apart by a number."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for tomogram, (x, y, z) in zip(tomograms, places.tolist()):
        name = f"{tomogram}/{x:.3f}_{y:.3f}_{z:.3f}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names
