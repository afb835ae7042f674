"""Points of a binary IMOD model, after the published description of the format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

_MAGIC = b"IMODV1.2"
_HEADER_BYTES = 232
_OBJECT_BYTES = 176
_CONTOUR = struct.Struct(">iIii")
_MESH = struct.Struct(">iiIhh")
_FLAGS_AT = 8 + 128 + 4 * 4
_Z_FROM_BELOW = 1 << 10
"""Flag of a model whose z counts from -0.5, so that whole numbers are borders of slices."""


def is_imod_model(path: Path) -> bool:
    """Tell whether a file is a binary IMOD model, by its first bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == _MAGIC[:4]
    except OSError:
        return False


def read_imod_model(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read all points of a model.

    A model counts x and y from the border of the first pixel and z from the middle of the first
    slice; here the middle of the first voxel is 0 along each axis.

    Returns
    -------
    xyz_px : (N, 3) float64
        From the middle of the first voxel.
    groups : (N, 2) int64
        Object and contour of each, from 1.

    Raises
    ------
    InputError
        Not a model, damaged, or without points.
    """
    data = path.read_bytes()
    if data[:8] != _MAGIC or len(data) < 8 + _HEADER_BYTES:
        raise InputError(
            f"{path}: found {data[:8]!r} at its beginning, expected a model of IMOD version 1.2; "
            "turn it into text with model2point"
        )
    (flags,) = struct.unpack_from(">I", data, _FLAGS_AT)
    points, groups = [], []
    try:
        for number, contour, found in _contours(data):
            points.append(found)
            groups.append(np.tile([number, contour], (len(found), 1)))
    except struct.error:
        raise InputError(
            f"{path}: ends in the middle of its data, expected a whole model; save it again"
        ) from None
    xyz = np.concatenate([np.zeros((0, 3)), *points])
    if not len(xyz) or not np.isfinite(xyz).all():
        raise InputError(
            f"{path}: holds no points or points that are not finite, expected places of particles; "
            "give another model"
        )
    xyz -= [0.5, 0.5, 0.5 if flags & _Z_FROM_BELOW else 0.0]
    return xyz, np.concatenate(groups).astype(np.int64)


def _contours(data: bytes) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Yield object, contour and points; chunks that say how long they are, are passed over."""
    at, number, contour = 8 + _HEADER_BYTES, 0, 0
    while (kind := data[at : at + 4]) != b"IEOF":
        if len(kind) < 4:
            raise struct.error("no end of data marker")
        at += 4
        if kind == b"OBJT":
            number, contour, at = number + 1, 0, at + _OBJECT_BYTES
        elif kind == b"CONT":
            count = _CONTOUR.unpack_from(data, at)[0]
            at, contour = at + _CONTOUR.size, contour + 1
            values = struct.unpack_from(f">{3 * max(count, 0)}f", data, at)
            at += 12 * max(count, 0)
            yield number, contour, np.array(values, dtype=np.float64).reshape(-1, 3)
        elif kind == b"MESH":
            vertices, indices = _MESH.unpack_from(data, at)[:2]
            at += _MESH.size + 12 * max(vertices, 0) + 4 * max(indices, 0)
        else:
            at += 4 + max(struct.unpack_from(">i", data, at)[0], 0)
