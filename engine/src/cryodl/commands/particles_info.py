"""The work of ``cryodl particles info``."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.particles import ParticlesInfoConfig
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles

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
    particles = read_particles(
        config.star,
        pixel_size_angstrom=config.pixel_size,
        require_images=config.check_images,
        folder=config.image_folder,
        tomograms=config.tomograms,
    )
    account = describe(particles)
    if config.output_format == "json":
        sys.stdout.write(json.dumps(account, indent=1) + "\n")
        return
    sys.stdout.write("\n".join(lines(particles, account)) + "\n")


def describe(particles: ParticleSet) -> dict[str, Any]:
    """Return what is worth knowing of a set, as JSON can hold it."""
    tilts = [len(series.tilt_angles_degrees) for series in particles.tilts.values()]
    return {
        "file": str(particles.path),
        "dialect": particles.dialect,
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
        "classes": sorted(int(c) for c in np.unique(particles.classes) if c > 0),
        "half_sets": [int((particles.half_sets == half).sum()) for half in (1, 2)],
        "ctf": bool(particles.ctf_paths),
        "rotated_boxes": particles.box_rotations is not None,
    }


def lines(particles: ParticleSet, account: dict[str, Any]) -> list[str]:
    """Return the account for people."""
    pixel = ", ".join(f"{size:g}" for size in account["pixel_size_angstrom"]) or "unknown"
    found = [
        f"{account['file']}: {account['dialect']}, {_KINDS[particles.image_kind]}",
        *particles.report.lines(),
        f"box {account['box_size_px']} px, pixel size {pixel} A",
        f"{len(account['tomograms'])} tomograms, {account['tilt_series']} with their tilts",
    ]
    if any(account["half_sets"]):
        found.append("half sets of {} and {}".format(*account["half_sets"]))
    if account["classes"]:
        found.append(f"{len(account['classes'])} classes")
    return found


def _distinct(values: NDArray[np.float64]) -> list[float]:
    finite = values[np.isfinite(values)]
    return sorted({round(float(value), 6) for value in np.unique(finite)})
