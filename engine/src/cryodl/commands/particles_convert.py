"""The work of ``cryodl particles convert``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cryodl.commands.particles import ParticlesConvertConfig
from cryodl.commands.particles_text import SCORE, is_text_of_points, points_of_text
from cryodl.core.io.particles.coordinates import read_coordinates, write_coordinates
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import TOMOGRAMS_FILE, read_particles
from cryodl.core.io.particles.write import write_optimisation_set, write_particles
from cryodl.core.io.particles.write_tomograms import write_tomograms
from cryodl.core.run.folder import RunFolder
from cryodl.errors import ConfigError, InputError

STAR = "particles.star"
SET = "optimisation_set.star"
TOMOGRAMS = "tomograms.star"
_UNSAFE = re.compile(r"[^\w.+-]")


def run_convert(config: ParticlesConvertConfig, run: RunFolder) -> None:
    """Read particles and write them for another program.

    Raises
    ------
    ConfigError
        Coordinates without a pixel size.
    InputError
        Not a particle file, or nothing in it can be used.
    """
    particles = read_any(config)
    for line in particles.report.lines():
        run.log(line)
    run.add_value("read", particles.report.read)
    run.add_value("kept", particles.report.kept)
    run.add_value("dropped", dict(particles.report.dropped))
    run.report.table(["reason", "dropped"], [list(r) for r in particles.report.dropped.items()])
    run.report.fact("particles", f"{particles.report.kept} of {particles.report.read}")
    run.report.fact("from", particles.dialect)
    run.report.fact("to", config.to)
    if config.to == "coordinates":
        run.add_value("coordinates", _write_coordinates(particles, run))
        return
    write_particles(run.path(STAR), particles, dialect=config.to)
    run.add_file("star", STAR)
    if particles.tilts:
        _write_set(particles, run)


def read_any(config: ParticlesConvertConfig) -> ParticleSet:
    """Read a STAR file or coordinates in text.

    Raises
    ------
    ConfigError
        Coordinates without a pixel size.
    InputError
        Not such a file.
    """
    if not is_text_of_points(config.star):
        return read_particles(
            config.star,
            pixel_size_angstrom=config.pixel_size,
            require_images=config.check_images,
            folder=config.image_folder,
            tomograms=config.tomograms,
        )
    if config.pixel_size is None and config.to != "coordinates":
        raise ConfigError(
            f"--pixel-size: found nothing for the coordinates {config.star}, expected that of "
            "their tomogram; give it in Angstrom"
        )
    found = read_coordinates(
        config.star, order=config.order, first_voxel=1 if config.first_voxel == "1" else 0
    )
    return points_of_text(
        config.star, found, config.pixel_size or 1.0, config.tomogram or config.star.stem
    )


def _write_set(particles: ParticleSet, run: RunFolder) -> None:
    others: dict[str, Path] = dict(particles.companions)
    if TOMOGRAMS_FILE not in others:
        write_tomograms(run.path(TOMOGRAMS), particles.tilts)
        run.add_file("tomograms", TOMOGRAMS)
        others[TOMOGRAMS_FILE] = run.path(TOMOGRAMS)
    write_optimisation_set(run.path(SET), run.path(STAR), others)
    run.add_file("optimisation_set", SET)


def _write_coordinates(particles: ParticleSet, run: RunFolder) -> list[str]:
    """Write one text for each tomogram; a particle's place is where its reference's centre lies."""
    if not np.isfinite(particles.coordinates_px).all():
        raise InputError(
            f"{particles.path}: found particles without x, y and z, expected their place in a "
            "tomogram; give the optimisation set when they are centred"
        )
    places = particles.places_px()
    table = particles.blocks[particles.particle_block]
    scores = np.asarray(table[SCORE]) if SCORE in table else None
    names = np.asarray(particles.tomograms, dtype=object)
    written: list[str] = []
    for name in dict.fromkeys(particles.tomograms):
        rows = names == name
        file = f"{_UNSAFE.sub('_', Path(name).name) or 'coordinates'}.txt"
        while file in written:
            file = f"{Path(file).stem}_{len(written)}.txt"
        write_coordinates(
            run.path(file), places[rows], scores=scores[rows] if scores is not None else None
        )
        written.append(file)
    return written
