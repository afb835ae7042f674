"""Write stacks of 2D images, one after the other, so that a stack may exceed the memory."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import atomic_path
from cryodl.core.io.mrc_header import build_header
from cryodl.errors import InputError

# Where the header of an MRC file has the words in which a stack differs from a volume.
_OFFSET_MZ, _OFFSET_CELL_Z, _OFFSET_SPACE_GROUP = 36, 48, 88


def write_stack(
    path: str | os.PathLike[str],
    images: Iterable[NDArray[np.float32]],
    *,
    number: int,
    image_shape: tuple[int, int],
    pixel_size_angstrom: float,
    label: str = "Written by cryodl",
) -> None:
    """Write a stack of images as little-endian float32, whole or not at all.

    Parameters
    ----------
    path : path-like
        With the suffix ``.mrcs``.
    images : iterable of ndarray
        `number` images (y, x) of `image_shape`, taken one at a time.
    number, image_shape
        Announced beforehand, for the header.
    pixel_size_angstrom : float
        Of the images.
    label : str
        A line for the header.

    Raises
    ------
    InputError
        Another suffix, or other images than announced.
    ResourceError
        Disk full, no permission.
    """
    name = os.fspath(path)
    if not name.endswith(".mrcs"):
        raise InputError(f"{name}: cannot be written as a stack, expected a name ending in .mrcs")
    count, total, squares = 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    with atomic_path(path) as temporary, temporary.open("xb") as stream:
        stream.write(bytes(1024))
        for image in images:
            values = np.ascontiguousarray(image, dtype="<f4")
            if values.shape != image_shape or not np.isfinite(values).all():
                raise InputError(
                    f"{name}: found image {count + 1} of shape {values.shape} or with values that "
                    f"are not finite, expected finite {image_shape}"
                )
            stream.write(values.tobytes())
            count += 1
            total += float(values.sum(dtype=np.float64))
            squares += float(np.square(values, dtype=np.float64).sum())
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        if count != number or number < 1:
            raise InputError(f"{name}: found {count} images, expected {number}, 1 or more")
        voxels = count * image_shape[0] * image_shape[1]
        mean = total / voxels
        deviation = math.sqrt(max(squares / voxels - mean**2, 0.0))
        header = bytearray(
            build_header(
                (count, *image_shape),
                pixel_size_angstrom,
                (low, high, mean, deviation),
                (0.0, 0.0, 0.0),
                (0, 0, 0),
                (label,),
            )
        )
        struct.pack_into("<i", header, _OFFSET_MZ, 1)
        struct.pack_into("<f", header, _OFFSET_CELL_Z, pixel_size_angstrom)
        struct.pack_into("<i", header, _OFFSET_SPACE_GROUP, 0)
        stream.seek(0)
        stream.write(header)
