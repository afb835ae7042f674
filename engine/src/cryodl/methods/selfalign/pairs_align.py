"""Pairs of particles: each against its own template, both with noise and a wedge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.aligner import Aligner, Alignment
from cryodl.core.alignment.reference import ParticleReference
from cryodl.core.alignment.spectra import FourierPoints, observe, spectral_power, spectral_snr
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.volumes.normalize import standardise_background
from cryodl.core.volumes.particle_average import particle_transfer
from cryodl.errors import ConfigError, InputError
from cryodl.methods.selfalign.config import AlignConfig
from cryodl.methods.selfalign.inputs import (
    band_shell,
    check_particles,
    search_settings,
    with_box_poses,
)

TEMPLATE = "cdlTemplateName"
_MEASURED = 32


def align_pairs(config: AlignConfig, run: RunFolder) -> tuple[ParticleSet, Alignment]:
    """Align each particle of a table to the template in its row.

    Poses lead from the template to the particle in the frames of their tomograms. A template that
    has no row of its own is taken as cut upright.

    Raises
    ------
    InputError
        A row without a template, or one of another box.
    """
    if config.pairs is None:
        raise ConfigError("--pairs: found none, expected a table of pairs; give it")
    checked = check_particles(config, config.pairs, run)
    particles, box, pixel = (
        checked.particles,
        checked.particles.box_size_px,
        checked.pixel_size_angstrom,
    )
    if checked.volumes.premultiplied:
        raise InputError(
            f"{config.pairs}: found particles multiplied by their CTF, expected subtomograms; "
            "align those to a reference"
        )
    templates = _template_paths(config.pairs, particles)
    cuts = _template_cuts(particles, templates)
    of_templates = replace(particles, box_rotations=cuts)
    device = choose_devices(config.devices).torch_device()
    points = FourierPoints(box, band_shell(config.resolution, box, pixel), device)
    settings = replace(search_settings(config, box), is_thorough=True)
    count = len(particles)
    sample = np.unique(np.linspace(0, count - 1, min(count, _MEASURED)).astype(int))
    volumes, transfers = checked.read(sample)
    power = spectral_power(points, volumes, transfers)
    snr = spectral_snr(points, volumes, transfers)
    run.log(f"{config.mode}: {count} pairs of {box} px")
    parts = []
    for index in range(count):
        volumes, transfers = checked.read(np.array([index]))
        wedge = particle_transfer(of_templates, index, checked.settings)
        template = standardise_background(_read_template(templates[index], box, pixel))
        template = template * np.float32(checked.sign)
        reference = ParticleReference(template, wedge, points, snr, power=power)
        seen = observe(points, volumes, transfers, power=power)
        aligner = Aligner(reference, settings, is_likelihood=True)
        parts.append(aligner.align(seen, "exhaustive" if config.mode == "exhaustive" else "auto"))
        run.progress((index + 1) / count, "aligning pairs")
    found = Alignment.joined(parts)
    rotations = found.rotations
    if cuts is not None:
        rotations = rotations @ np.swapaxes(cuts, 1, 2)
    return with_box_poses(particles, rotations, found.shifts_px), found


def _template_cuts(particles: ParticleSet, templates: list[Path]) -> NDArray[np.float64] | None:
    """Return how the boxes of templates were cut, (N, 3, 3): as in their own rows, else upright.

    None where no box of the table was cut rotated.
    """
    if particles.box_rotations is None:
        return None
    rows = {path.resolve(): index for index, path in enumerate(particles.image_paths)}
    known = [rows.get(path.resolve()) for path in templates]
    upright = np.eye(3)
    return np.stack([upright if row is None else particles.box_rotations[row] for row in known])


def _template_paths(star: Path, particles: ParticleSet) -> list[Path]:
    table = particles.blocks[particles.particle_block]
    if TEMPLATE not in table:
        raise InputError(
            f"{star}: found no column {TEMPLATE}, expected the template of each particle; add it"
        )
    paths = []
    for name in table[TEMPLATE]:
        places = [Path(str(name)), star.parent / str(name)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise InputError(
                f"{star}: template {name} does not exist, expected a subtomogram; check the names"
            )
        paths.append(path)
    return paths


def _read_template(path: Path, box: int, pixel: float) -> np.ndarray:
    volume = read_volume(path, require_cubic=True, pixel_size_angstrom=pixel)
    if volume.data.shape[0] != box:
        raise InputError(
            f"{path}: box {volume.data.shape[0]} px, but its particle has {box}; give templates of "
            "the particles' box"
        )
    return np.asarray(volume.data, dtype=np.float32)
