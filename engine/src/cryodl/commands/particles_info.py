"""The work of ``cryodl particles info``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.particles import ParticlesInfoConfig
from cryodl.commands.particles_text import is_text_of_points, points_of_text
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles

TEXT = "text"
_KINDS = {
    "volume": "subtomograms",
    "tilt_stack": "stacks of tilt images",
    "image": "single images",
    "none": "coordinates without images",
}


def run_info(config: ParticlesInfoConfig) -> None:
    """Print the account of a particle file.

    Raises
    ------
    InputError
        Not a particle file, or nothing in it can be used.
    """
    particles = _read(config)
    account = describe(particles)
    if config.output_format == "json":
        sys.stdout.write(json.dumps(account, indent=1) + "\n")
        return
    sys.stdout.write("\n".join(lines(particles, account)) + "\n")


def _read(config: ParticlesInfoConfig) -> ParticleSet:
    """Read a STAR file, or points in text, of which nothing but their places is known."""
    if not is_text_of_points(config.star):
        return read_particles(
            config.star,
            pixel_size_angstrom=config.pixel_size,
            require_images=config.check_images,
            folder=config.image_folder,
            tomograms=config.tomograms,
        )
    points = points_of_text(
        config.star, read_coordinates(config.star), config.pixel_size or 1.0, config.star.stem
    )
    size = np.full(len(points), config.pixel_size or np.nan)
    return replace(points, pixel_size_angstrom=size, coordinate_pixel_size_angstrom=size)


def describe(particles: ParticleSet) -> dict[str, Any]:
    """Return what is worth knowing of a set, as JSON can hold it."""
    tilts = [len(series.tilt_angles_degrees) for series in particles.tilts.values()]
    return {
        "file": str(particles.path),
        "dialect": TEXT if _is_text(particles) else particles.dialect,
        "read": particles.report.read,
        "kept": particles.report.kept,
        "dropped": dict(particles.report.dropped),
        "remarks": list(particles.report.remarks),
        "images": particles.image_kind,
        "box_size_px": particles.box_size_px,
        "pixel_size_angstrom": _distinct(particles.pixel_size_angstrom),
        "coordinate_pixel_size_angstrom": _distinct(particles.coordinate_pixel_size_angstrom),
        "tomograms": sorted({name for name in particles.tomograms if name}),
        "tilt_series": len(tilts),
        "tilts": [min(tilts), max(tilts)] if tilts else [],
        "tilt_range_degrees": particles.tilt_range_degrees,
        "coordinate_range_xyz_px": _ranges(particles.coordinates_px),
        "classes": sorted(int(c) for c in np.unique(particles.classes) if c > 0),
        "half_sets": [int((particles.half_sets == half).sum()) for half in (1, 2)],
        "ctf": bool(particles.ctf_paths),
        "rotated_boxes": particles.box_rotations is not None,
    }


def lines(particles: ParticleSet, account: dict[str, Any]) -> list[str]:
    """Return the account for people."""
    pixel = ", ".join(f"{size:g} A" for size in account["pixel_size_angstrom"]) or "unknown"
    found = [
        f"{account['file']}: {account['dialect']}, {_KINDS[particles.image_kind]}",
        *particles.report.lines(),
    ]
    if particles.image_kind == "none":
        found.append(f"pixel size of the tomogram {pixel}")
    else:
        found.append(f"box {account['box_size_px']} px, pixel size {pixel}")
    if account["tomograms"]:
        found.append(_tomogram_line(account))
    if account["coordinate_range_xyz_px"]:
        places = zip("xyz", account["coordinate_range_xyz_px"])
        found.append(", ".join(f"{axis} {low:g} to {high:g}" for axis, (low, high) in places))
        found[-1] += " px"
    if account["ctf"]:
        found.append("with CTF or wedge volumes")
    if any(account["half_sets"]):
        found.append("half sets of {} and {}".format(*account["half_sets"]))
    if account["classes"]:
        count = len(account["classes"])
        found.append(f"{count} class{'es' if count > 1 else ''}")
    return found


def _tomogram_line(account: dict[str, Any]) -> str:
    count, series = len(account["tomograms"]), account["tilt_series"]
    line = f"{count} tomogram{'s' if count > 1 else ''}"
    if series:
        return f"{line}, {series} with their tilts"
    if account["tilt_range_degrees"] is not None:
        return "{}, tilts from {:g} to {:g} degrees".format(line, *account["tilt_range_degrees"])
    return f"{line}, tilts unknown"


def _is_text(particles: ParticleSet) -> bool:
    return particles.path is not None and is_text_of_points(particles.path)


def _ranges(places_px: NDArray[np.float64]) -> list[list[float]]:
    """Return lowest and highest x, y and z; nothing where one of them is not known."""
    if not len(places_px) or not np.isfinite(places_px).all():
        return []
    ends = zip(places_px.min(axis=0).tolist(), places_px.max(axis=0).tolist())
    return [[round(low, 3), round(high, 3)] for low, high in ends]


def _distinct(values: NDArray[np.float64]) -> list[float]:
    finite = values[np.isfinite(values)]
    return sorted({round(float(value), 6) for value in np.unique(finite)})
