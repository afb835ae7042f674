"""Fresh sets of particles, from images on the disk or from bare coordinates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.conventions import PIXEL_SIZE_RANGE_ANGSTROM
from cryodl.core.io.particles.dialects import STACKS
from cryodl.core.io.particles.model import (
    Dialect,
    ImageKind,
    ParticleSet,
    ReadingReport,
    TiltSeries,
)
from cryodl.core.io.star import StarBlocks
from cryodl.errors import InputError

_VERSIONS = {"relion31": 30001, "relion4": 30001, "relion5": 50001}
_DIMENSIONS = {"volume": 3, "tilt_stack": 2, "image": 2}


def make_particles(
    *,
    image_paths: Sequence[str | os.PathLike[str]] = (),
    image_kind: ImageKind,
    pixel_size_angstrom: float,
    box_size_px: int = 0,
    image_indices: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    tomograms: Sequence[str] | None = None,
    coordinates_px: ArrayLike | None = None,
    coordinate_pixel_size_angstrom: float | None = None,
    rotations: ArrayLike | None = None,
    shifts_angstrom: ArrayLike | None = None,
    half_sets: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    ctf_paths: Sequence[str | os.PathLike[str]] = (),
    visible_frames: ArrayLike | None = None,
    tilts: Mapping[str, TiltSeries] | None = None,
    tilt_range_degrees: tuple[float, float] | None = None,
    voltage_kv: float = 300.0,
    spherical_aberration_mm: float = 2.7,
    amplitude_contrast: float = 0.07,
    dialect: Dialect = "relion31",
) -> ParticleSet:
    """Make a set that `write_particles` can write.

    Parameters
    ----------
    image_paths : sequence of path
        One file for each particle; empty for bare coordinates.
    image_kind : "volume", "tilt_stack", "image" or "none"
        What the files hold.
    pixel_size_angstrom : float
        Of the images; of the tomogram for bare coordinates.
    box_size_px : int
        Edge of the images.
    image_indices : (N,) integers, optional
        Number from 0 of the image in a stack, for ``image``.
    names, tomograms : sequence of str, optional
        Identity of each particle, by default that of its image or place; name of its tomogram.
    coordinates_px : (N, 3), optional
        (x, y, z) from the first voxel of the tomogram.
    coordinate_pixel_size_angstrom : float, optional
        Of that tomogram, by default `pixel_size_angstrom`.
    rotations, shifts_angstrom : (N, 3, 3) and (N, 3), optional
        As in `ParticleSet`; by default no rotation and no shift.
    half_sets, classes : (N,), optional
        0 where there is none.
    ctf_paths : sequence of path, optional
        CTF volume or CTF STAR file of each.
    visible_frames : (N, K), optional
        Which tilts a particle has; by default all.
    tilts, tilt_range_degrees : optional
        As in `ParticleSet`.
    voltage_kv, spherical_aberration_mm, amplitude_contrast : float
        Of the microscope.
    dialect : str
        In which it is written by default.

    Raises
    ------
    InputError
        Lengths that do not fit, names that are not unique, no sensible pixel size.
    """
    count = _count(image_paths, coordinates_px)
    place_pixel = coordinate_pixel_size_angstrom or pixel_size_angstrom
    _check_pixel_size(pixel_size_angstrom, place_pixel)
    paths = [Path(path).absolute() for path in image_paths]
    indices = _rows("image_indices", image_indices, (count,), 0).astype(np.int64)
    places = _rows("coordinates_px", coordinates_px, (count, 3), np.nan)
    own_tomograms = _texts("tomograms", tomograms, count, [""] * count)
    default = _default_names(paths, indices, image_kind, own_tomograms, places)
    own_names = _unique(_texts("names", names, count, default))
    microscope = (voltage_kv, spherical_aberration_mm, amplitude_contrast)
    optics = _optics(image_kind, pixel_size_angstrom, box_size_px, microscope)
    blocks = _blocks(_table(paths, indices, image_kind), count, optics, dialect, image_kind)
    ctf = [Path(path).absolute() for path in _texts("ctf_paths", ctf_paths, count, [])]
    return ParticleSet(
        names=own_names,
        tomograms=own_tomograms,
        image_kind=image_kind,
        image_paths=paths,
        image_indices=indices,
        pixel_size_angstrom=np.full(count, float(pixel_size_angstrom)),
        box_size_px=int(box_size_px),
        coordinates_px=places,
        coordinate_pixel_size_angstrom=np.full(count, float(place_pixel)),
        rotations=_rotations(rotations, count),
        shifts_angstrom=_rows("shifts_angstrom", shifts_angstrom, (count, 3), 0.0),
        half_sets=_rows("half_sets", half_sets, (count,), 0).astype(np.int64),
        classes=_rows("classes", classes, (count,), 0).astype(np.int64),
        ctf_paths=ctf,
        tilts=dict(tilts or {}),
        tilt_range_degrees=tilt_range_degrees,
        visible_frames=_frames(image_kind, visible_frames, own_tomograms, tilts or {}),
        blocks=blocks,
        particle_block="particles",
        dialect=dialect,
        report=ReadingReport(count),
    )


def particles_from_subtomograms(
    image_paths: Sequence[str | os.PathLike[str]],
    *,
    pixel_size_angstrom: float,
    box_size_px: int,
    **others: Any,
) -> ParticleSet:
    """Make a set of cubic subtomograms; `others` are those of `make_particles`."""
    return make_particles(
        image_paths=image_paths,
        image_kind="volume",
        pixel_size_angstrom=pixel_size_angstrom,
        box_size_px=box_size_px,
        **others,
    )


def particles_from_tilt_stacks(
    image_paths: Sequence[str | os.PathLike[str]],
    *,
    pixel_size_angstrom: float,
    box_size_px: int,
    tomograms: Sequence[str],
    tilts: Mapping[str, TiltSeries],
    **others: Any,
) -> ParticleSet:
    """Make a set of stacks of tilt images, in RELION 5's form; `others` as in `make_particles`."""
    return make_particles(
        image_paths=image_paths,
        image_kind="tilt_stack",
        pixel_size_angstrom=pixel_size_angstrom,
        box_size_px=box_size_px,
        tomograms=tomograms,
        tilts=tilts,
        **{"dialect": "relion5", **others},
    )


def particles_from_coordinates(
    coordinates_px: ArrayLike,
    *,
    pixel_size_angstrom: float,
    tomograms: Sequence[str],
    **others: Any,
) -> ParticleSet:
    """Make a set of bare coordinates; `others` are those of `make_particles`."""
    return make_particles(
        image_kind="none",
        pixel_size_angstrom=pixel_size_angstrom,
        coordinates_px=coordinates_px,
        tomograms=tomograms,
        **others,
    )


def _optics(
    kind: ImageKind, pixel_size: float, box_size_px: int, microscope: tuple[float, float, float]
) -> dict[str, Any]:
    optics: dict[str, Any] = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnVoltage": float(microscope[0]),
        "rlnSphericalAberration": float(microscope[1]),
        "rlnAmplitudeContrast": float(microscope[2]),
        "rlnImagePixelSize": float(pixel_size),
    }
    if kind != "none":
        optics["rlnImageSize"] = int(box_size_px)
        optics["rlnImageDimensionality"] = _DIMENSIONS[kind]
    return optics


def _table(paths: list[Path], indices: NDArray[np.int64], kind: ImageKind) -> dict[str, Any]:
    """Return what names the images; the rest of a set is in its arrays until it is written."""
    if kind == "image":
        return {"rlnImageName": [f"{i + 1:06d}@{p}" for i, p in zip(indices.tolist(), paths)]}
    return {"rlnImageName": [str(path) for path in paths]} if paths else {}


def _blocks(
    table: dict[str, Any],
    count: int,
    optics: dict[str, Any],
    dialect: Dialect,
    kind: ImageKind,
) -> StarBlocks:
    import pandas as pd

    blocks = StarBlocks(version=_VERSIONS.get(dialect))
    if kind == "tilt_stack":
        blocks["general"] = {STACKS: 1}
    blocks["optics"] = pd.DataFrame([optics])
    blocks["particles"] = pd.DataFrame({**table, "rlnOpticsGroup": [1] * count})
    return blocks


def _count(paths: Sequence[Any], coordinates: ArrayLike | None) -> int:
    count = len(paths)
    if not count and coordinates is not None:
        count = len(np.asarray(coordinates))
    if not count:
        raise InputError(
            "particles: found neither images nor coordinates, expected one for each particle; "
            "give at least one"
        )
    return count


def _default_names(
    paths: list[Path],
    indices: NDArray[np.int64],
    kind: ImageKind,
    tomograms: list[str],
    places: NDArray[np.float64],
) -> list[str]:
    if paths:
        # As they are written, unless two lie in different folders under one name.
        short = len({(path.name, path.parent) for path in paths}) == len({p.name for p in paths})
        files = [path.name if short else str(path) for path in paths]
        if kind == "image":
            return [f"{i + 1:06d}@{file}" for i, file in zip(indices.tolist(), files)]
        return files
    return [f"{name}/{x:.3f}_{y:.3f}_{z:.3f}" for name, (x, y, z) in zip(tomograms, places)]


def _rows(
    name: str, values: ArrayLike | None, shape: tuple[int, ...], default: float
) -> NDArray[np.float64]:
    if values is None:
        return np.full(shape, default, dtype=np.float64)
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise InputError(
            f"{name}: found an array of shape {array.shape}, expected {shape}; give one row for "
            "each particle"
        )
    return array


def _rotations(values: ArrayLike | None, count: int) -> NDArray[np.float64]:
    if values is None:
        return np.broadcast_to(np.eye(3), (count, 3, 3)).copy()
    return _rows("rotations", values, (count, 3, 3), 0.0)


def _texts(name: str, values: Sequence[Any] | None, count: int, default: list[str]) -> list[str]:
    if values is None or (len(values) == 0 and not default):
        return default
    if len(values) != count:
        raise InputError(
            f"{name}: found {len(values)} for {count} particles, expected one for each; give as "
            "many"
        )
    return [str(value) for value in values]


def _unique(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise InputError(
            f"names: found {len(set(names))} different names for {len(names)} particles, expected "
            "one of its own for each; give names that are unique"
        )
    return names


def _frames(
    kind: ImageKind,
    values: ArrayLike | None,
    tomograms: list[str],
    tilts: Mapping[str, TiltSeries],
) -> NDArray[np.bool_] | None:
    if kind != "tilt_stack":
        return None
    if values is not None:
        frames = np.asarray(values, dtype=bool)
        if frames.ndim != 2 or len(frames) != len(tomograms):
            raise InputError(
                f"visible_frames: found an array of shape {frames.shape}, expected one row for "
                f"each of {len(tomograms)} particles and a column for each tilt; give such"
            )
        return frames
    unknown = sorted(set(tomograms) - set(tilts))
    if unknown:
        raise InputError(
            f"visible_frames: found no tilts of tomogram {unknown[0]!r}, expected its tilt series "
            "or the visible frames; give one of them"
        )
    lengths = [len(tilts[name].tilt_angles_degrees) for name in tomograms]
    return np.arange(max(lengths))[None, :] < np.array(lengths)[:, None]


def _check_pixel_size(*sizes: float) -> None:
    low, high = PIXEL_SIZE_RANGE_ANGSTROM
    size = next((size for size in sizes if not low <= size <= high), None)
    if size is not None:
        raise InputError(
            f"pixel size: found {size} A, expected {low:g} to {high:g} A; give that of the images"
        )
