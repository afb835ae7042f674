"""Numbers out of the tables of a particle file, with their units made ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.particles.dialects import (
    ANGLES,
    AXES,
    BOX_ANGLES,
    CENTRED,
    COORDINATES,
    ORIGINS_ANGSTROM,
    ORIGINS_PX,
    VISIBLE,
    Layout,
)
from cryodl.core.io.particles.model import TiltSeries

if TYPE_CHECKING:
    import pandas as pd

    from cryodl.core.io.star import StarBlocks

Floats = NDArray[np.float64]

TILTS = ("cdlTiltMin", "cdlTiltMax")
"""Columns of ours with the lowest and the highest tilt of each particle's tomogram, degrees."""
_LARGEST = 1e9  # of a coordinate, shift or angle; beyond it squares lose their meaning
_TILTS_AT_MOST = 100_000


@dataclass
class Table:
    """A particle table together with the optics group of each row.

    Attributes
    ----------
    particles : DataFrame
        One row per particle.
    optics : DataFrame or None
        One row per optics group.
    rows : (N,) int64
        Row of `optics` for each particle, -1 where its group is not there.
    """

    particles: pd.DataFrame
    optics: pd.DataFrame | None
    rows: NDArray[np.int64]

    def __contains__(self, label: str) -> bool:
        """Return whether particles or optics groups have such a column."""
        return label in self.particles or (self.optics is not None and label in self.optics)

    def has(self, labels: Sequence[str]) -> bool:
        """Return whether the particles themselves have all these columns."""
        return all(label in self.particles for label in labels)

    def numbers(self, label: str) -> Floats | None:
        """Return a column as numbers, NaN where a cell is none; None without the column."""
        if label in self.particles:
            return as_floats(self.particles[label])
        if self.optics is not None and label in self.optics:
            values = np.append(as_floats(self.optics[label]), np.nan)
            return np.asarray(values[self.rows])
        return None

    def first(self, *labels: str) -> Floats:
        """Return, for each row, the first finite positive number that these columns hold."""
        found = np.full(len(self.particles), np.nan)
        for label in labels:
            values = self.numbers(label)
            if values is not None:
                usable = np.isnan(found) & np.isfinite(values) & (values > 0)
                found = np.where(usable, values, found)
        return found

    def texts(self, label: str) -> list[str]:
        """Return a column as text, empty where a cell is."""
        return as_texts(self.particles[label])


def make_table(blocks: StarBlocks, layout: Layout) -> Table:
    """Join the particles with their optics groups."""
    particles = blocks[layout.particle_block]
    none = np.full(len(particles), -1, dtype=np.int64)
    if layout.optics_block is None:
        return Table(particles, None, none)
    optics = blocks[layout.optics_block]
    if "rlnOpticsGroup" not in particles or "rlnOpticsGroup" not in optics:
        rows = np.zeros_like(none) if len(optics) == 1 else none
        return Table(particles, optics, rows)
    groups = as_floats(optics["rlnOpticsGroup"])
    place = {group: row for row, group in enumerate(groups.tolist())}
    wanted, inverse = np.unique(as_floats(particles["rlnOpticsGroup"]), return_inverse=True)
    found = np.array([place.get(group, -1) for group in wanted.tolist()], dtype=np.int64)
    return Table(particles, optics, found[inverse] if len(particles) else none)


def as_floats(column: pd.Series) -> Floats:
    """Return a column as float64, NaN where a cell is not a number."""
    import pandas as pd

    return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)


def as_texts(column: pd.Series) -> list[str]:
    """Return a column as text; a whole number that was read as a float loses its point."""
    return ["" if value is None or value != value else str(value) for value in column.tolist()]


def vectors(table: Table, labels: Sequence[str]) -> Floats:
    """Return columns side by side, zeros for one that is absent."""
    columns = [table.numbers(label) for label in labels]
    count = len(table.particles)
    parts = [column if column is not None else np.zeros(count) for column in columns]
    return np.stack(parts, axis=1)


def image_pixel_size(table: Table) -> Floats:
    """Return the pixel size of the images in Å, NaN where the file does not say."""
    size = table.first("rlnImagePixelSize", "rlnPixelSize")
    if not np.isnan(size).any():
        return size
    detector = table.first("rlnDetectorPixelSize")
    magnification = table.first("rlnMagnification")
    # Micrometres on the detector; Warp writes Å with a magnification of 10000, or with none.
    from_detector = np.where(np.isnan(magnification), detector, detector * 1e4 / magnification)
    return np.where(np.isnan(size), from_detector, size)


def coordinate_pixel_size(table: Table, layout: Layout, image_size: Floats) -> Floats:
    """Return the pixel size of the tomogram in which the coordinates count."""
    if layout.from_warp:
        labels: tuple[str, ...] = ("rlnMicrographPixelSize",)
    elif layout.dialect in ("relion4", "relion5"):
        labels = ("rlnTomoTiltSeriesPixelSize", "rlnMicrographOriginalPixelSize")
    else:
        labels = (
            "rlnMicrographPixelSize",
            "rlnMicrographOriginalPixelSize",
            "rlnTomoTiltSeriesPixelSize",
        )
    size = table.first(*labels)
    return np.where(np.isnan(size), image_size, size)


def coordinates(
    table: Table, tomograms: Sequence[str], tilts: Mapping[str, TiltSeries]
) -> tuple[Floats, Floats, bool]:
    """Return (x, y, z) in px from the first voxel.

    Returns
    -------
    coordinates_px : (N, 3) float64
        NaN where there is none.
    pixel_size_angstrom : (N,) float64
        Of the tomograms that gave centred coordinates their corner, NaN elsewhere.
    incomplete : bool
        Some coordinates count from the middle of a tomogram of unknown size.
    """
    count = len(table.particles)
    plain = np.full((count, 3), np.nan)
    if table.has(COORDINATES):
        plain = vectors(table, COORDINATES)
    elif table.has(COORDINATES[:2]):
        plain[:, :2] = vectors(table, COORDINATES[:2])
    if not table.has(CENTRED):
        return plain, np.full(count, np.nan), False
    centred = vectors(table, CENTRED)
    size = np.full((count, 3), np.nan)
    pixel = np.full(count, np.nan)
    names = np.asarray(tomograms, dtype=object)
    for name, series in tilts.items():
        if series.size_xyz_px is not None:
            size[names == name] = series.size_xyz_px
            pixel[names == name] = series.pixel_size_angstrom
    from_corner = centred / pixel[:, None] + size / 2
    known = np.isfinite(pixel)
    result = np.where(known[:, None], from_corner, plain)
    return result, pixel, bool((~np.isfinite(result).all(axis=1)).any())


def poses(
    table: Table, pixel_size: Floats
) -> tuple[Floats, Floats, Floats | None, NDArray[np.bool_]]:
    """Return the poses in the frame of the tomogram.

    Returns
    -------
    rotations : (N, 3, 3) float64
        ``A = A_sub A_part``.
    shifts_angstrom : (N, 3) float64
        ``s = A_sub o``.
    box_rotations : (N, 3, 3) float64 or None
        A_sub, None where all boxes lie as the tomogram does.
    sound : (N,) bool
        The pose is finite; the others are the identity.
    """
    part = vectors(table, ANGLES)
    box = vectors(table, BOX_ANGLES)
    origin = vectors(table, ORIGINS_ANGSTROM)
    for axis in range(len(AXES)):
        if ORIGINS_ANGSTROM[axis] not in table and ORIGINS_PX[axis] in table:
            origin[:, axis] = vectors(table, ORIGINS_PX[axis : axis + 1])[:, 0] * pixel_size
    everything = np.concatenate([part, box, origin], axis=1)
    sound = (np.abs(np.nan_to_num(everything, nan=np.inf)) < _LARGEST).all(axis=1)
    everything[~sound] = 0.0
    part, box, origin = everything[:, :3], everything[:, 3:6], everything[:, 6:]
    rotations = euler_to_matrix(*part.T)
    if not box.any():
        return rotations, origin, None, sound
    box_rotations = euler_to_matrix(*box.T)
    shifts = np.einsum("nij,nj->ni", box_rotations, origin)
    return box_rotations @ rotations, shifts, box_rotations, sound


def tilt_range(table: Table, rows: NDArray[np.bool_]) -> tuple[tuple[float, float] | None, str]:
    """Return lowest and highest tilt (degrees) of the rows chosen, and a remark or "".

    Tomograms that were recorded differently have no range in common: then there is none.
    """
    low, high = (table.numbers(label) for label in TILTS)
    if low is None or high is None:
        return None, ""
    pairs = np.nan_to_num(np.stack([low, high], axis=1)[rows], nan=np.inf)  # NaN equals nothing
    found = np.unique(pairs, axis=0)
    if len(found) > 1:
        return None, "tilt ranges differ between particles: see cdlTiltMin, cdlTiltMax"
    if not len(found) or not -90 <= found[0, 0] < found[0, 1] <= 90:
        return None, "no tilt range can be read from cdlTiltMin and cdlTiltMax"
    return (float(found[0, 0]), float(found[0, 1])), ""


def whole_numbers(table: Table, label: str) -> NDArray[np.int64]:
    """Return a column of counts, 0 where it is absent or empty."""
    values = table.numbers(label)
    if values is None:
        return np.zeros(len(table.particles), dtype=np.int64)
    usable = np.abs(np.nan_to_num(values, nan=np.inf)) < _LARGEST
    return np.where(usable, values, 0).astype(np.int64)


def visible_frames(table: Table) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64]]:
    """Read ``[1,0,1]`` of each particle.

    Returns
    -------
    visible : (N, K) bool or None
        K the largest number of tilts; None without the column.
    counts : (N,) int64
        Number of tilts of each, 0 where the text cannot be read.
    """
    counts = np.zeros(len(table.particles), dtype=np.int64)
    if VISIBLE not in table.particles:
        return None, counts
    known: dict[str, list[bool]] = {}
    rows = []
    for text in table.texts(VISIBLE):
        if text not in known:
            known[text] = _frames(text)
        rows.append(known[text])
    counts[:] = [len(row) for row in rows]
    largest = int(counts.max()) if len(rows) else 0
    visible = np.zeros((len(rows), largest), dtype=bool)
    for i, row in enumerate(rows):
        visible[i, : len(row)] = row
    return visible, counts


def _frames(text: str) -> list[bool]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(values, list) or not 0 < len(values) <= _TILTS_AT_MOST:
        return []
    if any(type(value) is not int or value not in (0, 1) for value in values):
        return []
    return [bool(value) for value in values]
