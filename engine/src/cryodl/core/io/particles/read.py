"""Particles out of the files of RELION 3.0 to 5, Warp and M, and optimisation sets."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import PIXEL_SIZE_RANGE_ANGSTROM
from cryodl.core.io.mrc_header import Header
from cryodl.core.io.particles import columns
from cryodl.core.io.particles.dialects import (
    CENTRED,
    COORDINATES,
    PARTICLE_NAME,
    Layout,
    recognise,
    single_values,
)
from cryodl.core.io.particles.image_files import (
    MISSING,
    UNREADABLE_NAME,
    FileFinder,
    ImageCheck,
    check_images,
    other_pixel_size,
    split_image_names,
)
from cryodl.core.io.particles.model import (
    ImageKind,
    ParticleSet,
    ReadingReport,
    TiltSeries,
)
from cryodl.core.io.particles.tilt_series import read_tomograms
from cryodl.core.io.star import StarBlocks, many_objects, read_star
from cryodl.errors import InputError

PARTICLES_FILE = "rlnTomoParticlesFile"
TOMOGRAMS_FILE = "rlnTomoTomogramsFile"
NO_POSE = "the pose is not a finite number"
NO_COORDINATES = "the coordinates are not finite numbers"
NO_GROUP = "its optics group is not in data_optics"
NO_PIXEL_SIZE = "the pixel size is not known"
OTHER_BOX = "the box differs from that of the first particle"
BAD_FRAMES = "the visible frames cannot be read"
OTHER_FRAMES = "the stack does not fit the visible frames"


def read_particles(
    path: str | os.PathLike[str],
    *,
    pixel_size_angstrom: float | None = None,
    tilt_range_degrees: tuple[float, float] | None = None,
    require_images: bool = True,
    folder: str | os.PathLike[str] | None = None,
    tomograms: str | os.PathLike[str] | None = None,
) -> ParticleSet:
    """Read particles, whichever program wrote them.

    Parameters
    ----------
    path : path-like
        A particle STAR file, or the optimisation set that names one.
    pixel_size_angstrom : float, optional
        Of the images, in place of what the file says.
    tilt_range_degrees : (float, float), optional
        Lowest and highest tilt, for data without a list of tilts, in place of what the file says
        (``cdlTiltMin``, ``cdlTiltMax``).
    require_images : bool
        Drop particles whose image is missing, damaged or of another size. Without, the image
        files are not looked at.
    folder : path-like, optional
        Where to look for the images first, with and without the leading folders of their names;
        then next to the file, then in the folders above it.
    tomograms : path-like, optional
        A ``tomograms.star``, in place of that of the optimisation set.

    Returns
    -------
    ParticleSet
        With its `report` of what was read, kept and dropped.

    Raises
    ------
    InputError
        Not a particle file, or no particle of it can be used.
    """
    with many_objects():
        source, blocks, companions = _particle_file(Path(path))
        if tomograms is not None:
            companions[TOMOGRAMS_FILE] = Path(tomograms)
        layout = recognise(blocks, source)
        tilts = read_tomograms(companions[TOMOGRAMS_FILE]) if TOMOGRAMS_FILE in companions else {}
        return _Reading(source, blocks, layout, tilts, pixel_size_angstrom).particles(
            require_images, folder, tilt_range_degrees, companions
        )


class _Reading:
    """One file on its way to a ParticleSet."""

    def __init__(
        self,
        source: Path,
        blocks: StarBlocks,
        layout: Layout,
        tilts: dict[str, TiltSeries],
        pixel_size_angstrom: float | None,
    ):
        self.source, self.blocks, self.layout, self.tilts = source, blocks, layout, tilts
        self.table = columns.make_table(blocks, layout)
        self.count = len(self.table.particles)
        if self.count == 0:
            raise InputError(
                f"{source}: the table data_{layout.particle_block} has no rows, expected one for "
                "each particle; give the file of a job that kept some"
            )
        self.given_pixel_size = pixel_size_angstrom
        self.faults: dict[int, str] = {}
        self.check = ImageCheck({}, [], [])
        self.remarks: list[str] = []

    def particles(
        self,
        require_images: bool,
        folder: str | os.PathLike[str] | None,
        tilt_range: tuple[float, float] | None,
        companions: dict[str, Path],
    ) -> ParticleSet:
        """Read everything, then keep what can be used."""
        finder = FileFinder(self.source, folder)
        paths, numbers = self._images(finder)
        headers = self._headers(paths, numbers) if require_images and paths else []
        kind = self._kind(paths, numbers, headers)
        visible, frames = columns.visible_frames(self.table)
        if kind != "tilt_stack":
            visible = None
        box = self._box(kind, headers, visible, frames)
        if self.table.optics is not None:
            self._drop(self.table.rows < 0, NO_GROUP)
        pixel = self._pixel_size(headers)
        if kind != "none":
            low, high = PIXEL_SIZE_RANGE_ANGSTROM
            self._drop(~((pixel >= low) & (pixel <= high)), NO_PIXEL_SIZE)
        rotations, shifts, box_rotations, sound = columns.poses(self.table, pixel)
        self._drop(~sound, NO_POSE)
        tomogram_names = self._tomograms(kind)
        places, place_pixel = self._places(kind, pixel, tomogram_names)
        particles = ParticleSet(
            names=particle_names(self.table, tomogram_names),
            tomograms=tomogram_names,
            image_kind=kind,
            image_paths=paths,
            image_indices=np.maximum(numbers, 0),
            pixel_size_angstrom=pixel if kind != "none" else place_pixel,
            box_size_px=box,
            coordinates_px=places,
            coordinate_pixel_size_angstrom=place_pixel,
            rotations=rotations,
            shifts_angstrom=shifts,
            half_sets=columns.whole_numbers(self.table, "rlnRandomSubset"),
            classes=columns.whole_numbers(self.table, "rlnClassNumber"),
            ctf_paths=self._ctf_paths(finder),
            tilts=self.tilts,
            tilt_range_degrees=tilt_range or self._tilt_range(),
            visible_frames=visible,
            blocks=self.blocks,
            particle_block=self.layout.particle_block,
            dialect=self.layout.dialect,
            report=ReadingReport(self.count),
            path=self.source,
            box_rotations=box_rotations,
            companions=companions,
        )
        return self._kept(particles)

    def _drop(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Note why rows cannot be used; the first reason found counts."""
        for row in np.flatnonzero(rows).tolist():
            self.faults.setdefault(row, reason)

    def _kept(self, particles: ParticleSet) -> ParticleSet:
        kept = np.ones(self.count, dtype=bool)
        kept[list(self.faults)] = False
        counted = Counter(self.faults[row] for row in sorted(self.faults))
        if not kept.any():
            first = min(self.faults)
            image = particles.image_paths[first] if particles.image_paths else None
            example = f" (first: {image})" if image else ""
            reasons = ", ".join(f"{count} because {why}" for why, count in counted.items())
            raise InputError(
                f"{self.source}: none of {self.count} particles can be used: {reasons}{example}, "
                f"expected some; {_remedy(counted)}"
            )
        report = ReadingReport(self.count, counted, tuple(self.remarks))
        chosen = particles.subset(kept) if not kept.all() else particles
        return replace(chosen, report=report)

    def _images(self, finder: FileFinder) -> tuple[list[Path], NDArray[np.int64]]:
        none = np.full(self.count, -1, dtype=np.int64)
        if "rlnImageName" not in self.table.particles:
            return [], none
        names = self.table.texts("rlnImageName")
        if not any(names):
            return [], none
        files, numbers = split_image_names(names)
        unreadable = np.array([not file for file in files])
        self._drop(unreadable, UNREADABLE_NAME)
        found = {file: finder.find(file) for file in dict.fromkeys(files)}
        return [found[file] for file in files], numbers

    def _headers(self, paths: list[Path], numbers: NDArray[np.int64]) -> list[Header | None]:
        unknown = np.isnan(columns.image_pixel_size(self.table)).any()
        every_header = self.given_pixel_size is None and bool(unknown)
        self.check = check_images(paths, numbers, every_header=every_header)
        for row, reason in self.check.faults.items():
            self.faults.setdefault(row, reason)
        return self.check.by_row

    def _kind(
        self, paths: list[Path], numbers: NDArray[np.int64], headers: list[Header | None]
    ) -> ImageKind:
        if not paths:
            return "none"
        if self.layout.stacks_2d and not (numbers >= 0).all():
            return "tilt_stack"
        if (numbers >= 0).any():
            return "image"
        dimension = self.table.first("rlnImageDimensionality")
        if (dimension == 3).any():
            return "volume"
        header = next((header for header in headers if header is not None), None)
        if header is None:
            stack = paths[0].suffix.lower() in (".mrcs", ".st")
            return "tilt_stack" if stack and not (dimension == 2).any() else "volume"
        depth, height, width = header.shape_zyx
        if depth == 1:
            return "image"
        return "volume" if depth == height == width else "tilt_stack"

    def _box(
        self,
        kind: ImageKind,
        headers: list[Header | None],
        visible: NDArray[np.bool_] | None,
        frames: NDArray[np.int64],
    ) -> int:
        if kind == "none":
            return 0
        if visible is not None:
            self._drop(frames == 0, BAD_FRAMES)
        stated = self.table.first("rlnImageSize")
        usable = [h for i, h in enumerate(headers) if h is not None and i not in self.faults]
        if not usable:
            known = stated[np.isfinite(stated)]
            return int(known[0]) if len(known) and known[0] < 1e6 else 0
        box = usable[0].shape_zyx[2]
        verdicts: dict[int, str] = {}
        for row, header in enumerate(headers):
            if header is None:
                continue
            if id(header) not in verdicts:
                depth, height, width = header.shape_zyx
                square = height == width == box and (kind != "volume" or depth == box)
                verdicts[id(header)] = "" if square else OTHER_BOX
            if verdicts[id(header)]:
                self.faults.setdefault(row, verdicts[id(header)])
            elif visible is not None and header.shape_zyx[0] not in (
                int(frames[row]),
                int(visible[row].sum()),
            ):
                self.faults.setdefault(row, OTHER_FRAMES)
        return box

    def _pixel_size(self, headers: list[Header | None]) -> NDArray[np.float64]:
        if self.given_pixel_size is not None:
            low, high = PIXEL_SIZE_RANGE_ANGSTROM
            if not low <= self.given_pixel_size <= high:
                raise InputError(
                    f"{self.source}: pixel size {self.given_pixel_size} A was given, expected "
                    f"{low:g} to {high:g} A; correct the given pixel size"
                )
            return np.full(self.count, float(self.given_pixel_size))
        size = columns.image_pixel_size(self.table)
        if np.isnan(size).any() and headers:
            sizes = [h.pixel_size_xyz_angstrom[0] if h is not None else np.nan for h in headers]
            size = np.where(np.isnan(size), sizes, size)
            self.remarks.append("the file names no pixel size, that of the image headers was taken")
        elif headers:
            remark = other_pixel_size(size, self.check)
            self.remarks += [remark] if remark else []
        return size

    def _tomograms(self, kind: ImageKind) -> list[str]:
        for label in ("rlnTomoName", "rlnMicrographName"):
            if label in self.table.particles and (kind != "image" or label == "rlnTomoName"):
                return self.table.texts(label)
        return [""] * self.count

    def _places(
        self, kind: ImageKind, pixel: NDArray[np.float64], tomograms: list[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        places, own_pixel, incomplete = columns.coordinates(self.table, tomograms, self.tilts)
        size = columns.coordinate_pixel_size(self.table, self.layout, pixel)
        if kind == "none" and self.given_pixel_size is not None:
            size = pixel
        size = np.where(np.isnan(own_pixel), size, own_pixel)
        if incomplete:
            self.remarks.append(
                "coordinates count from the middle of tomograms of unknown size; give the "
                "optimisation set or tomograms.star"
            )
        bad = np.isinf(places).any(axis=1) | (np.abs(places) > 1e9).any(axis=1)
        if kind == "none":
            bad |= ~np.isfinite(places).all(axis=1)
        self._drop(bad, NO_COORDINATES)
        return places, size

    def _tilt_range(self) -> tuple[float, float] | None:
        kept = np.ones(self.count, dtype=bool)
        kept[list(self.faults)] = False
        found, remark = columns.tilt_range(self.table, kept)
        self.remarks += [remark] if remark else []
        return found

    def _ctf_paths(self, finder: FileFinder) -> list[Path]:
        if "rlnCtfImage" not in self.table.particles:
            return []
        names = self.table.texts("rlnCtfImage")
        found = {name: finder.find(name.partition("@")[2] or name) for name in dict.fromkeys(names)}
        return [found[name] for name in names] if any(names) else []


def particle_names(table: columns.Table, tomograms: list[str]) -> list[str]:
    """Return the identity of each row: a name the file gives, else its image, else its place.

    Rows that share it, as copies made for a symmetry do, are told apart by a number at the end.
    """
    count = len(table.particles)
    candidates: list[list[str]] = []
    for label in (PARTICLE_NAME, "rlnTomoParticleName", "rlnImageName"):
        if label in table.particles:
            texts = table.texts(label)
            if all(texts):
                if len(set(texts)) == count:
                    return texts
                candidates.append(texts)
    if not candidates:
        candidates.append(_place_names(table, tomograms))
    names, seen, taken = [], Counter[str](), set(candidates[0])
    for text in candidates[0]:
        seen[text] += 1
        name = text
        while seen[text] > 1 and (name := f"{text}#{seen[text]}") in taken:
            seen[text] += 1
        taken.add(name)
        names.append(name)
    return names


def _place_names(table: columns.Table, tomograms: list[str]) -> list[str]:
    labels = CENTRED if table.has(CENTRED) else COORDINATES
    places = columns.vectors(table, labels)
    return [f"{tomogram}/{x:.3f}_{y:.3f}_{z:.3f}" for tomogram, (x, y, z) in zip(tomograms, places)]


def _remedy(counted: Counter[str]) -> str:
    reason = counted.most_common(1)[0][0]
    if reason == MISSING:
        return "give the folder that holds the images"
    if reason == NO_PIXEL_SIZE:
        return "give the pixel size"
    return "make or export the file again"


def _particle_file(path: Path) -> tuple[Path, StarBlocks, dict[str, Path]]:
    """Follow an optimisation set to its particles; return its other files as well."""
    blocks = read_star(path)
    for block in blocks.values():
        values: dict[str, Any] = single_values(block)
        files = {
            label: FileFinder(path).find(str(value))
            for label, value in values.items()
            if label.startswith("rlnTomo") and label.endswith("File") and str(value).strip()
        }
        if PARTICLES_FILE in files:
            particles = files.pop(PARTICLES_FILE)
            return particles, read_star(particles), files
        if TOMOGRAMS_FILE in files:
            raise InputError(
                f"{path}: is an optimisation set without {PARTICLES_FILE}, expected one that names "
                "its particles; give the set of a job that has particles"
            )
    return path, blocks, {}
