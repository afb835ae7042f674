"""Which points of ``cryodl particles extract`` belong to which tomogram, and where they lie."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.particles_extract_config import ParticlesExtractConfig
from cryodl.commands.particles_extract_job import BoxSettings, TomogramJob
from cryodl.commands.particles_text import is_text_of_points, with_columns_of_text
from cryodl.conventions import PIXEL_SIZE_TOLERANCE
from cryodl.core.io.mrc import Volume, open_tomogram
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.tomogram_names import bare_name, tomogram_names, tomogram_of
from cryodl.core.volumes.extraction import OUTSIDE, border_states
from cryodl.errors import InputError

FOLDER = "subtomograms"
NO_TOMOGRAM = "its tomogram was not given"
_MOST_OUTSIDE = 0.5


@dataclass(frozen=True)
class Chosen:
    """The points of one tomogram: a set and the rows of it, in the order of the boxes."""

    particles: ParticleSet
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """All that is to be done.

    Attributes
    ----------
    jobs : list of TomogramJob
        One for each tomogram that has points.
    points : list of list of Chosen
        For each job where its points come from, in order.
    read : int
        Points in all files.
    dropped : Counter of str
        Points that no job has, by reason.
    tilt_range_degrees : (float, float), optional
        That was given.
    recentre : bool
        The shifts of the poses are already in the points.
    remarks : list of str
        What a person should look at.
    """

    jobs: list[TomogramJob]
    points: list[list[Chosen]]
    read: int
    dropped: Counter[str]
    tilt_range_degrees: tuple[float, float] | None
    recentre: bool
    remarks: list[str]


def make_plan(config: ParticlesExtractConfig, folder: Path) -> Plan:
    """Read all points, look at all tomograms, and match them.

    Raises
    ------
    InputError
        A file that cannot be read, as many files of points as do not fit the tomograms, names that
        match none, points that lie mostly outside, tomograms of different pixel sizes.
    """
    tomograms = [
        open_tomogram(path, pixel_size_angstrom=config.tomogram_pixel_size)
        for path in config.tomograms
    ]
    names = tomogram_names(config.tomograms)
    _check_one_pixel_size(tomograms)
    sets = [_read_points(config, path) for path in config.coordinates]
    matched, dropped = _match(config, names, sets)
    read = sum(len(particles) + sum(particles.report.dropped.values()) for particles in sets)
    for particles in sets:
        dropped.update(particles.report.dropped)
    tilt_range = None
    if config.tilt_min is not None and config.tilt_max is not None:
        tilt_range = (config.tilt_min, config.tilt_max)
    jobs, points = [], []
    for name, tomogram, chosen in zip(names, tomograms, matched):
        if not chosen:
            continue
        places = np.concatenate([_places(config, tomogram, part) for part in chosen])
        _check_inside(config, tomogram, places)
        tilts, axis = _tilts(config, tilt_range, name, chosen)
        jobs.append(
            TomogramJob(
                name=name,
                path=Path(tomogram.name),
                points_px=places,
                folder=folder / FOLDER / name,
                settings=BoxSettings(
                    size_px=config.box_size_px,
                    binning=config.binning,
                    border=config.border,
                    normalise=config.normalise,
                    contrast=config.contrast,
                    seed=config.seed,
                ),
                pixel_size_angstrom=config.tomogram_pixel_size,
                tilts_degrees=tilts,
                is_range=tilt_range is not None,
                tilt_axis_degrees=axis,
            )
        )
        points.append(chosen)
    remarks = _other_names(names, matched)
    return Plan(jobs, points, read, dropped, tilt_range, config.recentre, remarks)


def _read_points(config: ParticlesExtractConfig, path: Path) -> ParticleSet:
    """Read a STAR file with all it knows, or points, whose pixel size is not known."""
    if not is_text_of_points(path):
        return read_particles(path, require_images=False)
    first_voxel: Literal[0, 1] = 1 if config.first_voxel else 0
    found = read_coordinates(path, order=config.order, first_voxel=first_voxel)
    points = particles_from_coordinates(
        found.xyz_px,
        pixel_size_angstrom=1.0,
        tomograms=found.tomograms,
        names=[str(i) for i in range(len(found))],
    )
    points = with_columns_of_text(points, found)
    unknown = np.full(len(found), np.nan)
    return replace(points, coordinate_pixel_size_angstrom=unknown, path=path)


def _match(
    config: ParticlesExtractConfig, names: list[str], sets: list[ParticleSet]
) -> tuple[list[list[Chosen]], Counter[str]]:
    """Return the points of each tomogram, and why others have none."""
    matched: list[list[Chosen]] = [[] for _ in names]
    dropped: Counter[str] = Counter()
    by_order = not all(any(particles.tomograms) for particles in sets)
    if not by_order:
        wanted = {bare_name(t) for particles in sets for t in particles.tomograms}
        found = {name: tomogram_of(name, names) for name in wanted}
        one_each = all(len(set(particles.tomograms)) == 1 for particles in sets)
        if all(place is None for place in found.values()):
            if not (one_each and len(sets) == len(names)):
                raise InputError(
                    f"{config.coordinates[0]}: its points are of {', '.join(sorted(wanted)[:3])}, "
                    f"expected names of the tomograms ({', '.join(names[:3])}); rename the files "
                    "or give one file of points for each tomogram, in the same order"
                )
            by_order = True
    if by_order:
        if len(sets) != len(names):
            raise InputError(
                f"--coordinates: found {len(sets)} files for {len(names)} tomograms, expected one "
                "for each in the same order, or STAR files with the names of the tomograms; give "
                "as many"
            )
        for place, particles in enumerate(sets):
            matched[place] = [Chosen(particles, np.arange(len(particles)))]
        return matched, dropped
    for particles in sets:
        places = np.array([_index(found[bare_name(name)]) for name in particles.tomograms])
        dropped[NO_TOMOGRAM] += int((places < 0).sum())
        for place in range(len(names)):
            rows = np.flatnonzero(places == place)
            if len(rows):
                matched[place].append(Chosen(particles, rows))
    return matched, +dropped


def _other_names(names: list[str], matched: list[list[Chosen]]) -> list[str]:
    """Tell of points that name another tomogram and were taken by the order of files."""
    remarks = []
    for name, chosen in zip(names, matched):
        said = {bare_name(part.particles.tomograms[row]) for part in chosen for row in part.rows}
        other = sorted(own for own in said - {""} if tomogram_of(own, [name]) is None)
        if other:
            remarks.append(
                f"points that say they are of {', '.join(other[:3])} were taken for tomogram "
                f"{name}, by the order of the files; rename one of them if that is wrong"
            )
    return remarks


def _index(place: int | None) -> int:
    return -1 if place is None else place


def _places(
    config: ParticlesExtractConfig, tomogram: Volume, chosen: Chosen
) -> NDArray[np.float64]:
    """Return points in voxels of the tomogram."""
    particles, rows = chosen.particles, chosen.rows
    pixel = tomogram.pixel_size_angstrom
    own = particles.coordinate_pixel_size_angstrom[rows]
    own = np.where(np.isfinite(own) & (own > 0), own, pixel)
    if config.coordinate_pixel_size is not None:
        own = np.full(len(rows), config.coordinate_pixel_size)
    places = particles.coordinates_px[rows] * (own / pixel)[:, None]
    bad = np.flatnonzero(~np.isfinite(places).all(axis=1))
    if len(bad):
        raise InputError(
            f"{particles.path}: {len(bad)} of {len(rows)} points are NaN or infinite, the first "
            f"is number {rows[bad[0]] + 1}, expected numbers; remove those rows"
        )
    if config.recentre:
        # The reference's origin lies at -s from the point.
        places = places - particles.shifts_angstrom[rows] / pixel
    return np.asarray(places, dtype=np.float64)


def _check_inside(
    config: ParticlesExtractConfig, tomogram: Volume, places: NDArray[np.float64]
) -> None:
    states = border_states(tomogram.shape_zyx, places, config.box_size_px)
    count = int((states == OUTSIDE).sum())
    if count > _MOST_OUTSIDE * len(places):
        z, y, x = tomogram.shape_zyx
        example = ", ".join(
            f"{value:.1f}" for value in places[np.flatnonzero(states == OUTSIDE)[0]]
        )
        raise InputError(
            f"{tomogram.name}: {count} of its {len(places)} points lie outside of its {x}x{y}x{z} "
            f"voxels, such as {example}, expected them inside; check --coordinate-pixel-size, "
            "--order, and which points belong to which tomogram"
        )


def _check_one_pixel_size(tomograms: list[Volume]) -> None:
    first = tomograms[0]
    for other in tomograms[1:]:
        ratio = other.pixel_size_angstrom / first.pixel_size_angstrom
        if abs(ratio - 1) > PIXEL_SIZE_TOLERANCE:
            raise InputError(
                f"{other.name}: pixel size {other.pixel_size_angstrom:.5g} A but {first.name} has "
                f"{first.pixel_size_angstrom:.5g} A, expected one for all; extract them apart, "
                "with binnings that lead to one pixel size, or give --tomogram-pixel-size"
            )


def _tilts(
    config: ParticlesExtractConfig,
    tilt_range: tuple[float, float] | None,
    name: str,
    chosen: list[Chosen],
) -> tuple[tuple[float, ...], float]:
    """Return the range or the list of tilts of a tomogram, and their axis."""
    if not config.wedge_volumes:
        return (), config.tilt_axis
    if tilt_range is not None:
        return tilt_range, config.tilt_axis
    for part in chosen:
        own = {part.particles.tomograms[row] for row in part.rows}
        for tomogram in sorted(own & set(part.particles.tilts)):
            series = part.particles.tilts[tomogram]
            angles = tuple(float(angle) for angle in series.tilt_angles_degrees)
            return angles, series.tilt_axis_degrees
    return (), config.tilt_axis
