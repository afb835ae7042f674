"""The particles that ``cryodl particles extract`` made, with all that was known of their points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cryodl.commands.particles_extract_job import TomogramAccount
from cryodl.commands.particles_extract_plan import Chosen, Plan
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.model import ParticleSet

# What is written anew, or is no longer true of a box that was cut afresh.
_OWN = (
    "rlnImageName",
    "rlnCoordinate",
    "rlnCenteredCoordinate",
    "rlnOrigin",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnTomoName",
    "rlnTomoSubtomogram",
    "rlnTomoVisibleFrames",
    "rlnTomoParticleName",
    "rlnTomoParticleId",
    "rlnMicrographName",
    "rlnOpticsGroup",
    "rlnCtfImage",
    "rlnPixelSize",
    "rlnDetectorPixelSize",
    "rlnMagnification",
    "rlnImageSize",
    "rlnImagePixelSize",
    "rlnClassNumber",
    "rlnRandomSubset",
    "cdlParticleName",
)


def make_set(plan: Plan, accounts: list[TomogramAccount], folder: Path) -> ParticleSet:
    """Return the particles that were kept, tomogram by tomogram.

    Coordinates count in voxels of the tomograms that were given. Poses, classes, half sets and
    columns that all files of points have are those of the points. Image names count from `folder`.
    """
    paths, ctf, names, tomograms, places = [], [], [], [], []
    rotations, shifts, halves, classes = [], [], [], []
    rows: list[tuple[ParticleSet, int]] = []
    for job, account, chosen in zip(plan.jobs, accounts, plan.points):
        origins = _origins(chosen)
        for index in account.kept:
            source, row = origins[index]
            rows.append((source, row))
            paths.append(job.box_path(index))
            names.append(f"{job.name}/{index + 1:06d}")
            tomograms.append(job.name)
            places.append(job.points_px[index])
            rotations.append(source.rotations[row])
            shifts.append(source.shifts_angstrom[row] * (not plan.recentre))
            halves.append(source.half_sets[row])
            classes.append(source.classes[row])
            if job.tilts_degrees:
                ctf.append(job.wedge_path)
    pixel = accounts[0].pixel_size_angstrom
    made = particles_from_subtomograms(
        paths,
        pixel_size_angstrom=pixel,
        box_size_px=plan.jobs[0].settings.size_px,
        names=names,
        tomograms=tomograms,
        coordinates_px=np.array(places),
        coordinate_pixel_size_angstrom=pixel / plan.jobs[0].settings.binning,
        rotations=np.array(rotations),
        shifts_angstrom=np.array(shifts),
        half_sets=halves,
        classes=classes,
        ctf_paths=ctf if len(ctf) == len(paths) else (),
        tilt_range_degrees=plan.tilt_range_degrees,
    )
    # Relative to the STAR file, so that the folder can be moved.
    relative = [path.relative_to(folder).as_posix() for path in paths]
    made = made.with_column("rlnImageName", relative)
    return _with_columns(made, rows, plan.tilt_range_degrees)


def _origins(chosen: list[Chosen]) -> list[tuple[ParticleSet, int]]:
    return [(part.particles, int(row)) for part in chosen for row in part.rows]


def _with_columns(
    made: ParticleSet,
    rows: list[tuple[ParticleSet, int]],
    tilt_range_degrees: tuple[float, float] | None,
) -> ParticleSet:
    tables = {
        id(source): source.blocks[source.particle_block]
        for source, _ in rows
        if source.particle_block in source.blocks
    }
    sources = {id(source) for source, _ in rows}
    if tables and len(tables) == len(sources):
        first = next(iter(tables.values()))
        for label in first.columns:
            known = all(label in table for table in tables.values())
            if known and not str(label).startswith(_OWN):
                values: list[Any] = [tables[id(s)][label].iloc[row] for s, row in rows]
                made = made.with_column(str(label), values)
    if tilt_range_degrees is not None:
        for label, angle in zip(("cdlTiltMin", "cdlTiltMax"), tilt_range_degrees):
            made = made.with_column(label, [angle] * len(rows))
    return made
