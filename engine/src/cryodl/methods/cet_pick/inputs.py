"""Every check of tomograms and labels before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc import open_tomogram
from cryodl.core.io.particles.coordinates import Order as Axes
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.tomogram_names import tomogram_of
from cryodl.errors import InputError
from cryodl.methods.cet_pick.axes import points_to_working, resolve_order
from cryodl.methods.cet_pick.evidence import SURE_SIGMAS, Evidence
from cryodl.methods.cet_pick.lists import is_list, read_point_list, read_tomogram_list
from cryodl.methods.cet_pick.tomogram import Preparation, WorkingTomogram, with_contrast

Log = Callable[[str], None]
_UNNAMED = "particle"
_KIND_COLUMNS = ("kind", "cdlKind", "rlnClassNumber")


@dataclass(frozen=True)
class NamedPoints:
    """Points of one tomogram as in the file, x, y, z from the first voxel, with their kinds."""

    points_px: NDArray[np.float64]
    kinds: list[str]
    source: Path
    pixel_size_angstrom: float | None = None


def named_tomograms(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return names and files of tomograms given as files or as one list.

    Raises
    ------
    InputError
        A file is missing, or two tomograms have one name.
    """
    if len(paths) == 1 and is_list(paths[0]):
        found = read_tomogram_list(paths[0])
    else:
        found = [(path.name.removesuffix(".gz").rsplit(".", 1)[0], path) for path in paths]
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"--tomograms: found two of the name {twice}, expected each name once; rename a file "
            "or give a list with names"
        )
    for _, path in found:
        if not path.is_file():
            raise InputError(f"{path}: found no such file, expected a tomogram; check the path")
    return found


def named_points(
    paths: Sequence[Path], tomograms: Sequence[tuple[str, Path]], order: Axes = "xyz"
) -> list[NamedPoints | None]:
    """Return the points of each tomogram, None for one without any.

    Raises
    ------
    InputError
        Files and tomograms do not match, or a file cannot be read.
    """
    if len(paths) == 1 and is_list(paths[0]):
        return _from_list(paths[0], tomograms)
    if len(paths) == 1 and len(tomograms) > 1:
        return _from_one_file(paths[0], tomograms, order)
    if len(paths) != len(tomograms):
        raise InputError(
            f"--coordinates: found {len(paths)} files for {len(tomograms)} tomograms, expected one "
            "for each in the same order; give as many, or one list with an image_name column"
        )
    by_stem = {path.stem: path for path in paths}
    by_name = len(by_stem) == len(paths) and all(name in by_stem for name, _ in tomograms)
    chosen = [by_stem[name] for name, _ in tomograms] if by_name else list(paths)
    return [_from_file(path, order, name) for path, (name, _) in zip(chosen, tomograms)]


def _from_list(path: Path, tomograms: Sequence[tuple[str, Path]]) -> list[NamedPoints | None]:
    table = read_point_list(path)
    names = [name for name, _ in tomograms]
    unknown = next((name for name in table.points_px if name not in names), None)
    if unknown is not None:
        raise InputError(
            f"{path}: found points of {unknown}, expected names of the tomograms given "
            f"({', '.join(names[:4])}); names must agree"
        )
    return [
        NamedPoints(table.points_px[name], table.kinds[name], path)
        if name in table.points_px
        else None
        for name in names
    ]


def _from_file(path: Path, order: Axes, tomogram: str) -> NamedPoints:
    """Return the points of a file for one tomogram: all, unless the file names several."""
    found = _points_of(path, order)
    if len(found) == 1:
        return next(iter(found.values()))
    place = _named(tomogram, list(found))
    if place is None:
        raise InputError(
            f"{path}: found points of {len(found)} tomograms ({', '.join(sorted(found))[:80]}), "
            f"expected {tomogram} among them; names must agree, or give one file for each"
        )
    return found[place]


def _named(tomogram: str, names: Sequence[str]) -> str | None:
    """Return the name that stands for a tomogram."""
    return next((name for name in names if name and tomogram_of(name, [tomogram]) == 0), None)


def _from_one_file(
    path: Path, tomograms: Sequence[tuple[str, Path]], order: Axes
) -> list[NamedPoints | None]:
    found = _points_of(path, order)
    names = [_named(name, list(found)) for name, _ in tomograms]
    if not any(names):
        raise InputError(
            f"{path}: found points of {', '.join(sorted(found))[:80] or 'no named tomogram'}, "
            f"expected the names of the tomograms ({tomograms[0][0]}, ...); give one file for each "
            "tomogram"
        )
    return [found[name] if name else None for name in names]


def _points_of(path: Path, order: Axes) -> dict[str, NamedPoints]:
    """Return the points of a file by tomogram, under an empty name those that name none."""
    sizes: NDArray[np.float64] | None = None
    if path.suffix.lower() == ".star":
        particles = read_particles(path, require_images=False)
        table = particles.blocks[particles.particle_block]
        column = next((c for c in _KIND_COLUMNS if c in table), None)
        kinds = [str(kind) for kind in table[column]] if column else [""] * len(particles)
        points, tomograms = particles.places_px(), particles.tomograms
        sizes = particles.coordinate_pixel_size_angstrom
    else:
        read = read_coordinates(path, order=order)
        points, tomograms = read.xyz_px, read.tomograms
        # Objects of an IMOD model are kinds of things, its contours are not.
        objects = [] if read.groups is None else [str(row[0]) for row in read.groups]
        kinds = objects if len(set(objects)) > 1 else [""] * len(points)
    found = {}
    for name in dict.fromkeys(tomograms):
        rows = [index for index, other in enumerate(tomograms) if other == name]
        size = float(sizes[rows[0]]) if sizes is not None else np.nan
        known = size if np.isfinite(size) and size > 0 else None
        found[name] = NamedPoints(points[rows], [kinds[row] for row in rows], path, known)
    return found


@dataclass(frozen=True)
class CheckedTomogram:
    """A tomogram and its labels, in working voxels with slices not yet merged."""

    name: str
    tomogram: WorkingTomogram
    points_xyz: NDArray[np.float64]
    kinds: list[str]


def open_labelled(
    tomograms: Sequence[tuple[str, Path]],
    points: Sequence[NamedPoints | None],
    *,
    order: str,
    preparation: Preparation,
    contrast: str,
    bbox_px: float,
    pixel_size_angstrom: float | None,
    coordinate_pixel_size_angstrom: float | None,
    log: Log,
) -> list[CheckedTomogram]:
    """Open tomograms and put their labels in place, refusing what cannot be right.

    Raises
    ------
    InputError
        Points outside, wrong axes, another binning, the contrast the other way round.
    """
    found, sigmas = [], []
    for (name, path), given in zip(tomograms, points, strict=True):
        stored = open_tomogram(path, pixel_size_angstrom=pixel_size_angstrom).data
        resolved, doubt = resolve_order(order, stored, path.name)
        if doubt:
            log(f"{name}: {doubt}")
        tomogram = WorkingTomogram(path, resolved, preparation, pixel_size_angstrom)
        if given is None:
            log(f"{name}: no labels, used as unlabelled only")
            found.append(CheckedTomogram(name, tomogram, np.empty((0, 3)), []))
            continue
        places = _scaled(given, tomogram, coordinate_pixel_size_angstrom, log)
        evidence = Evidence(tomogram, bbox_px)
        working = points_to_working(places, resolved)
        _check_places(given, working, evidence, tomogram, resolved)
        sigmas.append(evidence.sigmas(working))
        kinds = [kind or _UNNAMED for kind in given.kinds]
        found.append(CheckedTomogram(name, tomogram, working, kinds))
    dark = _is_dark(contrast, sigmas, found, log)
    return [
        CheckedTomogram(c.name, with_contrast(c.tomogram, dark), c.points_xyz, c.kinds)
        for c in found
    ]


def _scaled(
    given: NamedPoints, tomogram: WorkingTomogram, stated: float | None, log: Log
) -> NDArray[np.float64]:
    """Return the points in voxels of the tomogram; bin edges, not centres, stay in place."""
    own = stated or given.pixel_size_angstrom
    if own is None or abs(own / tomogram.pixel_size_angstrom - 1) < 1e-3:
        return given.points_px
    factor = own / tomogram.pixel_size_angstrom
    log(f"{given.source.name}: coordinates multiplied by {factor:.4g} ({own:g} A per voxel)")
    return (given.points_px + 0.5) * factor - 0.5


def _check_places(
    given: NamedPoints,
    working: NDArray[np.float64],
    evidence: Evidence,
    tomogram: WorkingTomogram,
    order: str,
) -> None:
    inside = evidence.inside(working)
    other = evidence.other_reading(working)
    if not inside.all():
        first = int(np.flatnonzero(~inside)[0])
        point = ", ".join(f"{value:g}" for value in given.points_px[first])
        size = "x".join(map(str, tomogram.volume.data.shape[::-1]))
        advice = f"all would fit {other}" if other else "check axes, binning and file"
        raise InputError(
            f"{given.source}: point {first + 1} ({point}) and {int((~inside).sum()) - 1} more lie "
            f"outside {tomogram.path.name} of {size} voxels, expected all inside; {advice}"
        )
    if other:
        raise InputError(
            f"{given.source}: found nothing at the points with order {order}, expected matter; "
            f"they fit much better {other}: give --order, --coordinate-pixel-size or other files"
        )


def _is_dark(contrast: str, sigmas: list[float], found: list[CheckedTomogram], log: Log) -> bool:
    strength = float(np.mean(sigmas)) if sigmas else 0.0
    seen = "dark" if strength < 0 else "bright"
    if contrast == "auto":
        if abs(strength) < 2:
            skew = float(np.mean([c.tomogram.statistics.skew for c in found]))
            seen = "dark" if skew <= 0 else "bright"
        log(f"matter is {seen} ({abs(strength):.1f} standard errors at the labels)")
        return seen == "dark"
    if seen != contrast and abs(strength) > SURE_SIGMAS:
        raise InputError(
            f"--contrast: found {contrast}, but the labelled particles are {seen} "
            f"({abs(strength):.0f} standard errors), expected what the tomograms show; give "
            f"--contrast {seen} or auto"
        )
    return contrast == "dark"
