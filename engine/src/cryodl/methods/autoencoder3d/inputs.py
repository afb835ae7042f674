"""Subvolumes in, whatever they come in, with everything that can be wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import PIXEL_SIZE_TOLERANCE
from cryodl.core.io.mrc import open_tomogram
from cryodl.core.io.particles.coordinates import Coordinates, read_coordinates
from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.tomogram_names import tomogram_names, tomogram_of
from cryodl.core.volumes.extraction import extract_boxes
from cryodl.errors import ConfigError, InputError
from cryodl.methods.autoencoder3d.config import TrainConfig
from cryodl.methods.autoencoder3d.legacy import LegacySubvolumes, read_legacy_subvolumes
from cryodl.methods.autoencoder3d.proposals import propose
from cryodl.methods.autoencoder3d.recordings import Recordings, recordings_of

_PICKLES = (".pickle", ".pkl", ".p")
_LEGACY_PIXEL_ANGSTROM = 10.0
_DIAMETER_OF_BOX = 0.4
_FEWEST = 4

Log = Callable[[str], None]
Box = NDArray[np.float32]


@dataclass(frozen=True)
class Subvolumes:
    """Particles and their boxes, matter bright.

    Attributes
    ----------
    particles : ParticleSet
        One for each box.
    boxes : callable
        Gives an iterator over the boxes, (n, n, n) float32 each, in order.
    box_size_px : int
        Edge n.
    pixel_size_angstrom : float
        Of the boxes.
    recordings : Recordings
        What was measured of each.
    tomograms : dict of str to Path
        By name, where boxes were cut from tomograms.
    dark : bool
        What matter is in these.
    kind : str
        ``star``, ``tomograms`` or ``pickle``.
    dropped : Counter of str
        Particles that cannot be used, by reason.
    """

    particles: ParticleSet
    boxes: Callable[[], Iterator[Box]]
    box_size_px: int
    pixel_size_angstrom: float
    recordings: Recordings
    tomograms: dict[str, Path]
    dark: bool
    kind: str
    dropped: Counter[str] = field(default_factory=Counter)


def gather(config: TrainConfig, log: Log) -> Subvolumes:
    """Open what is to be learned from.

    Raises
    ------
    InputError, ConfigError
        Files that are missing, of another kind, or do not go together; too few particles.
    """
    for path in [*config.inputs, *(config.coordinates or []), *(config.tomograms or [])]:
        if not path.is_file():
            raise InputError(f"{path}: found no such file, expected data; check the path")
    first = config.inputs[0]
    suffix = first.suffix.lower()
    if suffix == ".star" or suffix in _PICKLES:
        if len(config.inputs) > 1 or config.coordinates:
            raise ConfigError(
                f"INPUTS: found {first.name} and more, expected one STAR file, one pickle, or "
                "tomograms (with --coordinates); give one kind"
            )
        found = _from_star(config, log) if suffix == ".star" else _from_pickle(config)
    else:
        found = _from_tomograms(config, log)
    for reason, count in found.dropped.items():
        log(f"{count} particles left out: {reason}")
    if len(found.particles) < _FEWEST:
        raise InputError(
            f"{first}: found {len(found.particles)} particles that can be used, expected at least "
            f"{_FEWEST} and better hundreds; check the boxes and the borders"
        )
    return found


def _from_star(config: TrainConfig, log: Log) -> Subvolumes:
    path = config.inputs[0]
    particles = read_particles(path, pixel_size_angstrom=config.pixel_size)
    if particles.image_kind != "volume":
        raise InputError(
            f"{path}: found {particles.image_kind} images, expected subtomograms (volumes); "
            "reconstruct them, or give tomograms and --coordinates"
        )
    for remark in particles.report.remarks:
        log(f"note: {remark}")
    sizes = particles.pixel_size_angstrom
    if sizes.max() > 1.01 * sizes.min():
        raise InputError(
            f"{path}: found pixel sizes from {sizes.min():g} to {sizes.max():g} A, expected one; "
            "extract the particles alike, or select one optics group"
        )
    sign = np.float32(-1 if config.contrast == "dark" else 1)

    def boxes() -> Iterator[Box]:
        for index in range(len(particles)):
            yield sign * read_subtomogram(particles, index)

    return Subvolumes(
        particles,
        boxes,
        particles.box_size_px,
        float(particles.pixel_size_angstrom[0]),
        recordings_of(particles, _tilts(config), config.tilt_axis),
        {},
        config.contrast == "dark",
        "star",
        Counter(particles.report.dropped),
    )


def _from_pickle(config: TrainConfig) -> Subvolumes:
    legacy = read_legacy_subvolumes(config.inputs[0])
    dark = config.contrast != "bright"
    if config.tomograms:
        if len(config.tomograms) != 1:
            raise ConfigError(
                f"--tomograms: found {len(config.tomograms)} for one pickle, expected its own; "
                "give one"
            )
        points = {config.tomograms[0]: legacy.centres_px}
        names = {config.tomograms[0]: legacy.names}
        return _cut(config, points, legacy.box_size_px, dark, "pickle", names)
    kept = [i for i, volume in enumerate(legacy.volumes) if volume is not None]
    pixel = config.pixel_size or _LEGACY_PIXEL_ANGSTROM
    particles = make_particles(
        image_kind="none",
        pixel_size_angstrom=pixel,
        names=[legacy.names[i] for i in kept],
        tomograms=[config.inputs[0].stem] * len(kept),
        coordinates_px=legacy.centres_px[kept].reshape(-1, 3),
    )
    dropped = Counter({"the pickle has no voxels of it": len(legacy.names) - len(kept)})
    return Subvolumes(
        particles,
        lambda: _legacy_boxes(legacy, kept, dark),
        legacy.box_size_px,
        pixel,
        recordings_of(particles, _tilts(config), config.tilt_axis),
        {},
        dark,
        "pickle",
        +dropped,
    )


def _legacy_boxes(legacy: LegacySubvolumes, kept: list[int], dark: bool) -> Iterator[Box]:
    sign = np.float32(-1 if dark else 1)
    for index in kept:
        box = sign * np.asarray(legacy.volumes[index], dtype=np.float32)
        if not np.isfinite(box).all():
            raise InputError(
                f"particle {legacy.names[index]}: found values that are not finite, expected "
                "densities; make the pickle again"
            )
        yield box


def _from_tomograms(config: TrainConfig, log: Log) -> Subvolumes:
    dark = config.contrast != "bright"
    tomogram_names(config.inputs, "INPUTS")  # none twice
    if config.coordinates:
        points = _matched(config, log)
    else:
        points = {}
        for path in config.inputs:
            volume = open_tomogram(path, pixel_size_angstrom=config.pixel_size).data
            found = propose(
                volume,
                config.diameter or _DIAMETER_OF_BOX * config.box_size_px,
                dark=dark,
                by=config.proposals_by,
                most=config.proposals,
                border_px=config.box_size_px / 2 if config.border == "drop" else 0.0,
            )
            log(f"{path.name}: {len(found.scores)} places proposed")
            points[path] = found.points_xyz_px
    return _cut(config, points, config.box_size_px, dark, "tomograms")


def _matched(config: TrainConfig, log: Log) -> dict[Path, NDArray[np.float64]]:
    """Return the points of each tomogram, by order of files or by name in one file."""
    files, tomograms = config.coordinates or [], config.inputs
    if len(files) == len(tomograms):
        read = [read_coordinates(file) for file in files]
        if len(files) > 1 or len(set(read[0].tomograms)) <= 1:
            return {
                path: _in_voxels(config, path, found, file, log)
                for path, found, file in zip(tomograms, read, files, strict=True)
            }
    if len(files) != 1:
        raise InputError(
            f"--coordinates: found {len(files)} files for {len(tomograms)} tomograms, expected one "
            "for each in the same order, or one STAR file with names of tomograms"
        )
    found = read_coordinates(files[0])
    names = tomogram_names(tomograms)
    places = {name: tomogram_of(name, names) for name in set(found.tomograms)}
    by_tomogram = {}
    for place, path in enumerate(tomograms):
        rows = np.array([places[name] == place for name in found.tomograms])
        if not rows.any():
            named = ", ".join(sorted(places)[:4])
            raise InputError(
                f"{files[0]}: found no points of {path.name} but of {named}, expected the "
                "tomograms' names; rename them or give one file for each"
            )
        by_tomogram[path] = _in_voxels(config, path, found, files[0], log)[rows]
    return by_tomogram


def _in_voxels(
    config: TrainConfig, tomogram: Path, found: Coordinates, file: Path, log: Log
) -> NDArray[np.float64]:
    """Return points in voxels of a tomogram, where their file says in which pixels they count."""
    own = found.pixel_size_angstrom
    if own is None:
        return found.xyz_px
    pixel = open_tomogram(tomogram, pixel_size_angstrom=config.pixel_size).pixel_size_angstrom
    factor = np.where(np.isfinite(own) & (own > 0), own, pixel) / pixel
    if abs(factor - 1).max() > PIXEL_SIZE_TOLERANCE:
        log(f"{file.name}: coordinates multiplied by {factor[0]:.4g} ({own[0]:g} A per voxel)")
    return found.xyz_px * factor[:, None]


def _cut(
    config: TrainConfig,
    points: dict[Path, NDArray[np.float64]],
    box_size_px: int,
    dark: bool,
    kind: str,
    names: dict[Path, list[str]] | None = None,
) -> Subvolumes:
    """Find the boxes that fit into their tomograms."""
    opened = {p: open_tomogram(p, pixel_size_angstrom=config.pixel_size) for p in points}
    sizes = {volume.pixel_size_angstrom for volume in opened.values()}
    if max(sizes) > 1.01 * min(sizes):
        raise InputError(
            f"INPUTS: found pixel sizes from {min(sizes):g} to {max(sizes):g} A, expected one; bin "
            "the tomograms alike or give --pixel-size"
        )
    pixel = float(next(iter(sizes)))
    cut = {"border": config.border, "normalise": "none", "contrast": "dark" if dark else "bright"}
    kept = {
        path: [
            box.index
            for box in extract_boxes(opened[path].data, points[path], box_size_px, **cut)  # type: ignore[arg-type]
        ]
        for path in points
    }
    total = sum(len(found) for found in points.values())
    left = sum(len(rows) for rows in kept.values())

    def boxes() -> Iterator[Box]:
        for path in points:
            chosen = points[path][kept[path]]
            for box in extract_boxes(opened[path].data, chosen, box_size_px, **cut):  # type: ignore[arg-type]
                yield box.data

    stems = dict(zip(points, tomogram_names(list(points))))
    particles = make_particles(
        image_kind="none",
        pixel_size_angstrom=pixel,
        names=[
            names[path][row] if names else f"{stems[path]}_{row + 1:06d}"
            for path in points
            for row in kept[path]
        ],
        tomograms=[stems[path] for path in points for _ in kept[path]],
        coordinates_px=np.concatenate([points[path][kept[path]] for path in points]),
        coordinate_pixel_size_angstrom=pixel,
    )
    return Subvolumes(
        particles,
        boxes,
        box_size_px,
        pixel,
        recordings_of(particles, _tilts(config), config.tilt_axis),
        {stems[path]: path.absolute() for path in points},
        dark,
        kind,
        +Counter({"the box leaves the tomogram": total - left}),
    )


def _tilts(config: TrainConfig) -> tuple[float, float] | None:
    if config.tilt_min is None or config.tilt_max is None:
        return None
    return config.tilt_min, config.tilt_max
