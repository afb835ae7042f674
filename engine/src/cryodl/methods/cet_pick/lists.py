"""The text lists of the published program: tomograms, and labelled points of all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_text
from cryodl.errors import InputError

TEXT_SUFFIXES = (".txt", ".tsv", ".csv")
_PATH_COLUMNS = ("rec_path", "path")
_POINT_COLUMNS = ("x_coord", "y_coord", "z_coord")
_SEPARATOR = re.compile(r"[\t, ]+")


@dataclass(frozen=True)
class PointTable:
    """Points of several tomograms by name, as read from one list.

    Attributes
    ----------
    points_px : dict of str to ndarray
        (n, 3) as x, y, z from the first voxel.
    kinds : dict of str to list of str
        Kind of each point; empty texts when the list has none.
    """

    points_px: dict[str, NDArray[np.float64]]
    kinds: dict[str, list[str]]


def is_list(path: Path) -> bool:
    """Tell whether a file is a list with an ``image_name`` column."""
    if path.suffix.lower() not in TEXT_SUFFIXES or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as text:
        return "image_name" in _SEPARATOR.split(text.readline().strip())


def read_tomogram_list(path: Path) -> list[tuple[str, Path]]:
    """Return names and files of a list of tomograms.

    Relative files are looked for beside the list, then where the command runs.
    """
    header, rows = _read(path)
    column = next((name for name in _PATH_COLUMNS if name in header), None)
    if column is None:
        raise InputError(
            f"{path}: found the columns {', '.join(header)}, expected image_name and rec_path; "
            "name them so in the first line"
        )
    found = []
    for _, row in rows:
        given = Path(row[header.index(column)])
        beside = path.parent / given
        found.append((row[header.index("image_name")], beside if beside.exists() else given))
    return found


def read_point_list(path: Path) -> PointTable:
    """Return the points of a list by tomogram."""
    header, rows = _read(path)
    missing = [name for name in _POINT_COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"{path}: found no column {missing[0]}, expected image_name, x_coord, y_coord and "
            "z_coord; name them so in the first line"
        )
    places = [header.index(name) for name in _POINT_COLUMNS]
    points: dict[str, list[list[float]]] = {}
    kinds: dict[str, list[str]] = {}
    for line, row in rows:
        name = row[header.index("image_name")]
        try:
            point = [float(row[place]) for place in places]
        except ValueError:
            point = [np.nan]
        if not np.isfinite(point).all():
            raise InputError(
                f"{path}: line {line} has a coordinate that is no number, expected numbers in "
                "x_coord, y_coord and z_coord; mend the line"
            )
        points.setdefault(name, []).append(point)
        kinds.setdefault(name, []).append(row[header.index("kind")] if "kind" in header else "")
    return PointTable({name: np.array(rows) for name, rows in points.items()}, kinds)


def write_tomogram_list(path: Path, entries: Sequence[tuple[str, str]]) -> None:
    """Write names and files of tomograms."""
    lines = ["image_name\trec_path", *(f"{name}\t{file}" for name, file in entries)]
    write_text(path, "\n".join(lines) + "\n")


def write_point_list(path: Path, table: PointTable) -> None:
    """Write the points of several tomograms, with their kinds if there are any."""
    named = any(kind for kinds in table.kinds.values() for kind in kinds)
    lines = ["image_name\tx_coord\ty_coord\tz_coord" + ("\tkind" if named else "")]
    for name, points in table.points_px.items():
        for (x, y, z), kind in zip(points, table.kinds[name], strict=True):
            lines.append(f"{name}\t{x:.3f}\t{y:.3f}\t{z:.3f}" + (f"\t{kind}" if named else ""))
    write_text(path, "\n".join(lines) + "\n")


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected a text list; give another file"
        ) from None
    header = _SEPARATOR.split(lines[0].strip()) if lines else []
    if "image_name" not in header:
        raise InputError(
            f"{path}: found no image_name in the first line, expected a list with named columns; "
            "write them in the first line"
        )
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        row = _SEPARATOR.split(line.strip())
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} values, expected {len(header)} as in the "
                "first line; mend the line (names must not hold blanks)"
            )
        rows.append((number, row))
    if not rows:
        raise InputError(f"{path}: found no lines under the header, expected at least one; fill it")
    return header, rows
