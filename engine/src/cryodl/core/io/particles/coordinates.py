"""Coordinates in text, CSV and STAR files: points in a tomogram, with a score if there is one."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.io.atomic import write_text
from cryodl.core.io.particles.imod_model import is_imod_model, read_imod_model
from cryodl.core.io.particles.read import read_particles
from cryodl.errors import InputError

Order = Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"]
ORDERS: tuple[Order, ...] = get_args(Order)
Floats = NDArray[np.float64]

_AXES = {
    **{name: axis for axis, name in enumerate("xyz")},
    **{f"{name}_px": axis for axis, name in enumerate("xyz")},
    **{f"coordinate{name}": axis for axis, name in enumerate("xyz")},
    **{f"rlncoordinate{name}": axis for axis, name in enumerate("xyz")},
    **{f"{name}_coord": axis for axis, name in enumerate("xyz")},
    **{f"{name}coord": axis for axis, name in enumerate("xyz")},
}
_SCORES = {"score", "s", "cdlscore", "rlnautopickfigureofmerit", "confidence", "probability"}
_TOMOGRAMS = {"tomogram", "tomo", "tomo_name", "image_name", "rlntomoname", "rlnmicrographname"}
_LARGEST = 1e9


@dataclass(frozen=True)
class Coordinates:
    """N points in one tomogram or several.

    Attributes
    ----------
    xyz_px : (N, 3) float64
        Counted from the first voxel, which is 0.
    scores : (N,) float64, optional
        The larger, the surer.
    tomograms : list of str
        Name of the tomogram of each; empty texts where the file does not say.
    groups : (N, 2) int64, optional
        IMOD's object and contour, from 1.
    extra : dict of str to list of str
        Further columns of a file that names them.
    pixel_size_angstrom : (N,) float64, optional
        In which the points count, NaN where it is not known; STAR files say it.
    """

    xyz_px: Floats
    scores: Floats | None
    tomograms: list[str]
    groups: NDArray[np.int64] | None = None
    extra: dict[str, list[str]] = field(default_factory=dict)
    pixel_size_angstrom: Floats | None = None

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.xyz_px)


def read_coordinates(
    path: str | os.PathLike[str],
    *,
    order: Order = "xyz",
    first_voxel: Literal[0, 1] = 0,
    may_be_empty: bool = False,
) -> Coordinates:
    """Read points.

    Parameters
    ----------
    path : path-like
        A STAR file, a text with three columns (and a fourth, the score), IMOD points (four columns
        with whole numbers: contour first; five: object and contour), or columns with names (x, y,
        z, score, tomogram, in any order) in the first line or in a comment above it. Blanks, tabs,
        commas or semicolons separate the columns; ``#`` begins a comment. Or a binary model of
        IMOD.
    order : str
        Which axes the three columns are. Columns with names and STAR files have their own; the
        points of an IMOD model are taken in this order too.
    first_voxel : 0 or 1
        What the file calls the first voxel of a tomogram; IMOD models always know.
    may_be_empty : bool
        A text without any point is none, as of picks where nothing was found.

    Returns
    -------
    Coordinates
        Of a STAR file, where the centres of the references lie: its origins are in them.

    Raises
    ------
    InputError
        Not such a file; a cell that is not a finite number.
    """
    if order not in ORDERS:
        raise InputError(
            f"order: found {order!r}, expected one of {', '.join(ORDERS)}; give one of them"
        )
    if first_voxel not in (0, 1):
        raise InputError(f"first voxel: found {first_voxel!r}, expected 0 or 1; give one of them")
    source = Path(path)
    if is_imod_model(source):
        return _from_imod(source, order)
    if source.suffix.lower() == ".star":
        found = _from_star(source)
    else:
        found = _from_text(source, order, may_be_empty)
    if first_voxel:
        found = replace(found, xyz_px=found.xyz_px - 1.0)
    return found


def write_coordinates(
    path: str | os.PathLike[str],
    xyz_px: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    order: Order = "xyz",
    first_voxel: Literal[0, 1] = 0,
) -> None:
    """Write points as text, ``x y z`` and the score in a row.

    Parameters
    ----------
    path : path-like
        A ``.csv`` gets commas and a line of names.
    xyz_px : (N, 3)
        From the first voxel, which is 0.
    scores : (N,), optional
        The fourth column.
    groups : (N, 2), optional
        IMOD's object and contour, written in front of the points; not together with scores.
    order, first_voxel : optional
        As in `read_coordinates`.

    Raises
    ------
    InputError
        Shapes that do not fit, values that are not finite.
    """
    points = np.asarray(xyz_px, dtype=np.float64).reshape(-1, 3) + first_voxel
    columns = [[f"{v:.3f}" for v in points[:, "xyz".index(axis)]] for axis in order]
    labels = list(order)
    if scores is not None:
        values = np.asarray(scores, dtype=np.float64)
        columns.append([f"{v:.6g}" for v in values.tolist()])
        labels.append("score")
    if groups is not None and scores is None:
        numbers = np.asarray(groups, dtype=np.int64).reshape(-1, 2)
        columns = [[str(v) for v in numbers[:, i].tolist()] for i in range(2)] + columns
        labels = ["object", "contour", *labels]
    if not np.isfinite(points).all() or any(len(column) != len(points) for column in columns):
        raise InputError(
            f"{path}: found coordinates that are not finite or columns of different lengths, "
            "expected a row for each point; correct them"
        )
    separator = "," if Path(path).suffix.lower() == ".csv" else " "
    rows = [separator.join(row) for row in zip(*columns)]
    if separator == ",":
        rows.insert(0, ",".join(labels))
    write_text(path, "\n".join(rows) + "\n" if rows else "")


def _from_star(source: Path) -> Coordinates:
    particles = read_particles(source, require_images=False)
    places = particles.places_px()
    if not np.isfinite(places).all():
        raise InputError(
            f"{source}: found particles without x, y and z, expected coordinates in a tomogram; "
            "give the optimisation set when they are centred, or another file"
        )
    table = particles.blocks[particles.particle_block]
    label = next((c for c in table if str(c).lower() in _SCORES), None)
    scores = np.asarray(table[label], dtype=np.float64) if label is not None else None
    pixel = particles.coordinate_pixel_size_angstrom
    return Coordinates(places, scores, particles.tomograms, pixel_size_angstrom=pixel)


def _from_imod(source: Path, order: Order) -> Coordinates:
    values, groups = read_imod_model(source)
    xyz = np.stack([values[:, order.index(axis)] for axis in "xyz"], axis=1)
    return Coordinates(xyz, None, [""] * len(xyz), groups)


def _from_text(source: Path, order: Order, may_be_empty: bool) -> Coordinates:
    rows, lines, comment = _rows(source)
    if not rows:
        if may_be_empty:
            return Coordinates(np.empty((0, 3)), None, [])
        raise InputError(
            f"{source}: holds no points, expected a row for each; give a file with coordinates"
        )
    if _is_names(rows[0]):
        return _named(source, rows, lines)
    if _names_all(comment, len(rows[0])):
        return _named(source, [comment, *rows], [lines[0] - 1, *lines])
    width = len(rows[0])
    if not 3 <= width <= 5:
        raise InputError(
            f"{source}: line {lines[0]} has {width} columns, expected 3 (coordinates), 4 (and a "
            "score, or a contour before them) or 5 (object and contour before them); name the "
            "columns in the first line to have others"
        )
    values = _numbers(source, rows, lines, width)
    groups, scores = None, None
    if width == 5:
        groups, values = _whole(source, values[:, :2], lines), values[:, 2:]
    elif width == 4 and _are_contours(rows, values):
        contour = _whole(source, values[:, :1], lines)
        groups = np.concatenate([np.ones_like(contour), contour], axis=1)
        values = values[:, 1:]
    elif width == 4:
        scores, values = values[:, 3], values[:, :3]
    xyz = np.stack([values[:, order.index(axis)] for axis in "xyz"], axis=1)
    return Coordinates(xyz, scores, [""] * len(xyz), groups)


def _rows(source: Path) -> tuple[list[list[str]], list[int], list[str]]:
    """Return cells and numbers of lines, and the words of the last comment above them."""
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{source}: does not exist, expected coordinates; check the name and the folder"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(
            f"{str(source)!r}: cannot be read ({reason}), expected coordinates as text; IMOD "
            "models are turned into text by model2point"
        ) from error
    rows: list[list[str]] = []
    lines: list[int] = []
    words: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line, _, comment = raw.partition("#")
        line = line.strip()
        if not line:
            words = comment.replace(",", " ").split() if comment and not rows else words
            continue
        separator = next((mark for mark in ",;" if mark in line), None)
        cells = line.split(separator)
        rows.append([cell.strip().strip("\"'") for cell in cells])
        lines.append(number)
    return rows, lines, words


def _is_names(row: list[str]) -> bool:
    """Return whether a line names columns: it has letters that are no number."""
    return any(cell and not _is_number(cell) for cell in row) and any(
        cell.lower() in _AXES for cell in row
    )


def _names_all(words: list[str], width: int) -> bool:
    """Return whether a comment names each column, as in ``# x y z score class``."""
    axes = [_AXES[word.lower()] for word in words if word.lower() in _AXES]
    return len(words) == width and sorted(axes) == [0, 1, 2]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _numbers(source: Path, rows: list[list[str]], lines: list[int], width: int) -> Floats:
    values = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InputError(
                f"{source}: line {lines[i]} has {len(row)} columns, expected {width} as in line "
                f"{lines[0]}; correct that line"
            )
        for j, cell in enumerate(row):
            value = float(cell) if _is_number(cell) else math.nan
            if not abs(value) < _LARGEST:
                raise InputError(
                    f"{source}: line {lines[i]} has {cell[:40]!r}, expected a finite number; "
                    "correct that line"
                )
            values[i, j] = value
    return values


def _are_contours(rows: list[list[str]], values: Floats) -> bool:
    """Tell contours in front of points from scores behind them.

    model2point writes contours as whole numbers without a point, which count up, and the points
    with decimals.
    """
    bare = all(cell.lstrip("+").isdigit() for cell in (row[0] for row in rows))
    decimals = all("." in cell for row in rows for cell in row[1:])
    first, last = values[:, 0], values[:, 3]
    counts = first[0] >= 1 and (np.diff(first) >= 0).all()
    # Scores lie between -1 and 1 nearly always, heights in a tomogram hardly ever.
    return bare and decimals and bool(counts and np.abs(last).max() > 1)


def _whole(source: Path, values: Floats, lines: list[int]) -> NDArray[np.int64]:
    bad = (values != np.round(values)).any(axis=1) | (values < 0).any(axis=1)
    if bad.any():
        raise InputError(
            f"{source}: line {lines[int(np.flatnonzero(bad)[0])]} has an object or contour that is "
            "not a whole number, expected object contour x y z; correct that line"
        )
    return values.astype(np.int64)


def _named(source: Path, rows: list[list[str]], lines: list[int]) -> Coordinates:
    names = [cell.lower() for cell in rows[0]]
    body, numbers = rows[1:], lines[1:]
    places = [[i for i, name in enumerate(names) if _AXES.get(name) == axis] for axis in range(3)]
    if any(len(place) != 1 for place in places) or len(set(names)) != len(names):
        raise InputError(
            f"{source}: names the columns {', '.join(rows[0])}, expected x, y and z once each; "
            "correct the first line"
        )
    if not body:
        raise InputError(
            f"{source}: holds no points below its names, expected a row for each; give a file with "
            "coordinates"
        )
    for row, number in zip(body, numbers):
        if len(row) != len(names):
            raise InputError(
                f"{source}: line {number} has {len(row)} columns, expected {len(names)}; correct "
                "that line"
            )
    columns = {name: [row[i] for row in body] for i, name in enumerate(names)}
    cells = [[row[place[0]] for place in places] for row in body]
    xyz = _numbers(source, cells, numbers, 3)
    score = next((name for name in names if name in _SCORES), None)
    scores = None
    if score is not None:
        scores = _numbers(source, [[cell] for cell in columns[score]], numbers, 1)[:, 0]
    tomogram = next((name for name in names if name in _TOMOGRAMS), None)
    tomograms = columns[tomogram] if tomogram is not None else [""] * len(body)
    used = {score, tomogram, *(names[place[0]] for place in places)}
    extra = {name: cells for name, cells in columns.items() if name not in used}
    return Coordinates(xyz, scores, tomograms, None, extra)
