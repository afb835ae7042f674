"""Files of a simulation: the STAR file of RELION 3.1, the structures, and what is true."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryodl.core.io.atomic import write_json
from cryodl.core.io.particles.dialects import ANGLES, ORIGINS_ANGSTROM
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.model import ImageKind, ParticleSet
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.core.simulation.structures import Structure
from cryodl.core.simulation.tilt_series import Optics


def write_particle_table(
    path: Path,
    image_kind: ImageKind,
    rotations: np.ndarray,
    shifts_angstrom: np.ndarray,
    *,
    optics: Optics,
    columns: Mapping[str, Any],
    **others: Any,
) -> None:
    """Write particles with their poses.

    Parameters
    ----------
    path
        The STAR file; the files of the particles are named relative to its folder.
    image_kind
        As in `make_particles`.
    rotations, shifts_angstrom
        A and s, ``x_particle = A x_reference - s``: (N, 3, 3) and (N, 3).
    optics
        Goes into the table of optics groups.
    columns
        More columns, a value or one for each particle.
    others
        What else `make_particles` takes.
    """
    particles = make_particles(
        image_kind=image_kind,
        rotations=rotations,
        shifts_angstrom=shifts_angstrom,
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
        **others,
    )
    named = _named(particles, path)
    # The columns of a pose are there even where it is not told.
    poses = [*ANGLES, *ORIGINS_ANGSTROM[: 2 if image_kind == "image" else 3]]
    for label, values in {**named, **dict.fromkeys(poses, 0.0), **columns}.items():
        many = isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, str)
        particles = particles.with_column(label, values if many else [values] * len(particles))
    write_particles(path, particles)


def write_references(
    run: RunFolder,
    references: Sequence[Sequence[np.ndarray]] | np.ndarray,
    pixel_size_angstrom: float,
) -> None:
    """Write the clean structures by class and state, (n, n, n) each."""
    for number, states in enumerate(references, start=1):
        for state, reference in enumerate(states):
            key = f"reference_class{number}" + (f"_state{state}" if len(states) > 1 else "")
            run.write_map(
                key, f"truth/{key}.mrc", reference, pixel_size_angstrom=pixel_size_angstrom
            )


def names_of(structures: Sequence[Sequence[Structure]]) -> dict[str, list[str]]:
    """Return the names of the states of each class, by its number."""
    return {
        str(number): [state.name for state in states]
        for number, states in enumerate(structures, start=1)
    }


def write_facts(
    run: RunFolder, facts: Mapping[str, Any], *, number: int, pixel_size: float
) -> None:
    """Write ``truth/truth.json``, and what of it belongs into the result."""
    write_json(run.path("truth/truth.json"), dict(facts))
    run.add_file("truth", "truth/truth.json")
    run.add_value("number", number)
    run.add_value("snr", facts["snr_measured"])
    run.add_value("pixel_size_angstrom", pixel_size)


def finite(value: float) -> float | None:
    """Return a number for JSON, None for infinity and NaN."""
    return value if math.isfinite(value) else None


def _named(particles: ParticleSet, path: Path) -> dict[str, list[str]]:
    """Return the names of the files as seen from the STAR file, so that the run can be moved."""
    folder = path.absolute().parent
    images = [os.path.relpath(file, folder) for file in particles.image_paths]
    if particles.image_kind == "image":
        numbers = particles.image_indices.tolist()
        images = [f"{number + 1:06d}@{name}" for number, name in zip(numbers, images)]
    found = {
        "rlnImageName": images,
        "rlnCtfImage": [os.path.relpath(file, folder) for file in particles.ctf_paths],
    }
    return {label: names for label, names in found.items() if names}
