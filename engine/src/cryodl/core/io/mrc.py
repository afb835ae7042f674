"""Volumes in MRC files: read with every check at the door, written with a complete header.

Suffixes `.mrc`, `.map`, `.ccp4`, `.rec`, each also with `.gz`. What is in a file decides how it is
read, not its suffix. Extended headers are skipped and not written back.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import PIXEL_SIZE_RANGE_ANGSTROM, PIXEL_SIZE_TOLERANCE
from cryodl.core.io.atomic import atomic_path
from cryodl.core.io.mrc_bytes import load, shape_text
from cryodl.core.io.mrc_header import MAX_LABELS, Header, build_header
from cryodl.errors import InputError, TrainingError

WRITABLE_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec")
_STACK_SUFFIXES = (".mrcs", ".st", ".ali")
_SLAB_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional map and where it lies in space.

    Parameters
    ----------
    data : ndarray
        `(z, y, x)`, float32, or a memory map of it (private: writing to it changes no file).
    pixel_size_angstrom : float
        The same along all axes.
    origin_xyz_angstrom : tuple of float
        Position of the first voxel, words 50-52 of the header.
    nstart_xyz : tuple of int
        The same in voxels, words 5-7; the header holds both and programs use one or the other.
    labels : tuple of str
        Text lines of the header.
    path : Path or None
        Where it was read from, for messages.
    """

    data: NDArray[np.float32]
    pixel_size_angstrom: float
    origin_xyz_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
    nstart_xyz: tuple[int, int, int] = (0, 0, 0)
    labels: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.data.shape
        return z, y, x

    @property
    def name(self) -> str:
        """What to call the volume in a message."""
        return str(self.path) if self.path is not None else "volume"


def read_volume(
    path: str | os.PathLike[str],
    *,
    memory_map: bool = False,
    pixel_size_angstrom: float | None = None,
    require_cubic: bool = False,
    require_finite: bool = True,
    require_variance: bool = True,
) -> Volume:
    """Read a volume.

    Parameters
    ----------
    path : path-like
        An MRC file, compressed with gzip or not, in either byte order.
    memory_map : bool
        Leave the voxels on the disk where they are little-endian float32; otherwise they are
        read into memory all the same.
    pixel_size_angstrom : float, optional
        Used in place of the header's pixel size, which is then not looked at.
    require_cubic, require_finite, require_variance : bool
        Refuse a box with unequal edges, a NaN or an infinity, one and the same value everywhere.

    Raises
    ------
    InputError
        The file is missing, unreadable, damaged, not a volume, or not what was required.
    """
    source = Path(path)
    header, stored = load(source, memory_map)
    _refuse_stack(source, header)
    pixel_size = _pixel_size(source, header, pixel_size_angstrom)
    shape = header.shape_zyx
    if require_cubic and len(set(shape)) != 1:
        raise InputError(
            f"{source}: box {shape_text(shape)} (x, y, z), expected equal edges; "
            "pad or crop the map to a cube"
        )
    data = stored.transpose(header.axes_to_zyx)
    if data.dtype != np.float32 or not (memory_map and isinstance(stored, np.memmap)):
        with np.errstate(all="ignore"):
            data = np.ascontiguousarray(data, dtype=np.float32)
    _check_values(source, data, require_finite, require_variance)
    return Volume(
        data=data,
        pixel_size_angstrom=pixel_size,
        origin_xyz_angstrom=header.origin_xyz_angstrom,
        nstart_xyz=header.nstart_xyz,
        labels=header.labels,
        path=source,
    )


def write_volume(
    path: str | os.PathLike[str],
    data: NDArray,
    *,
    like: Volume | None = None,
    pixel_size_angstrom: float | None = None,
    label: str = "",
) -> None:
    """Write a volume as little-endian float32, atomically.

    Parameters
    ----------
    path : path-like
        With one of the suffixes `.mrc`, `.map`, `.ccp4`, `.rec`, and `.gz` after it to compress.
    data : ndarray
        `(z, y, x)`, real.
    like : Volume, optional
        Gives the pixel size, origin, nstart and labels. nstart counts voxels and is scaled when
        the pixel size is another.
    pixel_size_angstrom : float, optional
        Goes before that of `like`. One of the two is needed.
    label : str
        A line added to the header's labels (the last one gives way when there are ten).

    Raises
    ------
    InputError
        Not three-dimensional, complex, empty, no sensible pixel size, a suffix that no program
        would recognise.
    TrainingError
        `data` holds a NaN or an infinity: no result is written.
    ResourceError
        Disk full, no permission.
    """
    target = Path(path)
    compressed = _check_suffix(target)
    volume = _as_float32(target, data)
    pixel_size = _pixel_size_to_write(target, like, pixel_size_angstrom)
    nstart = (0, 0, 0)
    if like is not None:
        x, y, z = (round(n * like.pixel_size_angstrom / pixel_size) for n in like.nstart_xyz)
        nstart = (x, y, z)
    labels = like.labels if like is not None else ()
    added = (label or "Written by cryodl",) if label or not labels else ()
    header = build_header(
        (volume.shape[0], volume.shape[1], volume.shape[2]),
        pixel_size,
        _statistics(target, volume),
        like.origin_xyz_angstrom if like is not None else (0.0, 0.0, 0.0),
        nstart,
        labels[: MAX_LABELS - len(added)] + added,
    )
    with atomic_path(target) as temporary, temporary.open("xb") as raw:
        if not compressed:
            _write_slabs(raw, header, volume)
            return
        # Neither a name nor a time inside, so that equal volumes give equal files.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as stream:
            _write_slabs(stream, header, volume)


def open_tomogram(
    path: str | os.PathLike[str], *, pixel_size_angstrom: float | None = None
) -> Volume:
    """Open a tomogram of any size without reading its voxels.

    Returns
    -------
    Volume
        `data` is `(z, y, x)` in the file's own type, a memory map that cannot be written to; of
        a compressed file the voxels are in memory. They may be infinite, NaN or all the same.

    Raises
    ------
    InputError
        The file is missing, unreadable, damaged, or not a volume with a pixel size.
    """
    source = Path(path)
    header, stored = load(source, True, read_only=True)
    _refuse_stack(source, header)
    return Volume(
        data=stored.transpose(header.axes_to_zyx),
        pixel_size_angstrom=_pixel_size(source, header, pixel_size_angstrom),
        origin_xyz_angstrom=header.origin_xyz_angstrom,
        nstart_xyz=header.nstart_xyz,
        labels=header.labels,
        path=source,
    )


def read_stack(path: str | os.PathLike[str], *, memory_map: bool = True) -> NDArray[np.float32]:
    """Read a stack of 2D images, such as a `.mrcs`; the pixel size belongs to its STAR file.

    Returns
    -------
    ndarray
        `(n, y, x)`, float32, finite or not.

    Raises
    ------
    InputError
        The file is missing, unreadable or damaged.
    """
    header, stored = load(Path(path), memory_map)
    if header.axes_to_zyx != (0, 1, 2):
        raise InputError(
            f"{path}: the axes of the image stack are not in the order x, y, images; "
            "write the stack again in the usual order"
        )
    if stored.dtype == np.float32:
        return stored
    with np.errstate(all="ignore"):
        return stored.astype(np.float32)


def check_same_grid(first: Volume, *others: Volume) -> None:
    """Refuse volumes whose boxes or pixel sizes differ.

    Raises
    ------
    InputError
        Names the first volume that differs and gives both boxes or both pixel sizes.
    """
    for other in others:
        if other.shape_zyx != first.shape_zyx:
            raise InputError(
                f"{other.name}: box {shape_text(other.shape_zyx)} but {first.name} has "
                f"{shape_text(first.shape_zyx)}; give maps of one box, such as half maps of one "
                "refinement and their mask"
            )
        ratio = other.pixel_size_angstrom / first.pixel_size_angstrom
        if abs(ratio - 1.0) > PIXEL_SIZE_TOLERANCE:
            raise InputError(
                f"{other.name}: pixel size {other.pixel_size_angstrom:.5g} A but {first.name} has "
                f"{first.pixel_size_angstrom:.5g} A; give maps of one pixel size, such as half "
                "maps of one refinement and their mask, or correct the header"
            )


def _refuse_stack(source: Path, header: Header) -> None:
    z, y, x = header.shape_zyx
    suffix = source.suffix.lower()
    if suffix == ".gz":
        suffix = Path(source.stem).suffix.lower()
    volumes = 401 <= header.space_group <= 630 and header.intervals[2] != z
    images = header.space_group == 0 and header.intervals[2] == 1
    if z == 1:
        found = f"one 2D image of {x}x{y} pixels"
    elif volumes:
        found = f"a stack of volumes (space group {header.space_group})"
    elif suffix in _STACK_SUFFIXES or images:
        found = f"a stack of {z} 2D images of {x}x{y} pixels"
    else:
        return
    raise InputError(
        f"{source}: {found}, expected one 3D volume; give a map, subtomogram or tomogram "
        "(a volume must not end in .mrcs or be marked as images in its header)"
    )


def _pixel_size(source: Path, header: Header, override: float | None) -> float:
    if override is not None:
        if not _sensible(override):
            raise InputError(
                f"{source}: pixel size {override} A was given for it, expected "
                f"{_range_text()}; correct the given pixel size"
            )
        return float(override)
    sizes = header.pixel_size_xyz_angstrom
    remedy = "give the pixel size (option --pixel-size) or correct the header"
    found = f"pixel size in the header {', '.join(f'{value:.6g}' for value in sizes)} A (x, y, z)"
    if not all(_sensible(value) for value in sizes):
        raise InputError(f"{source}: {found}, expected {_range_text()}; {remedy}")
    if max(sizes) / min(sizes) - 1.0 > PIXEL_SIZE_TOLERANCE:
        raise InputError(f"{source}: {found}, expected the same along all axes; {remedy}")
    return sizes[0]


def _sensible(pixel_size_angstrom: float) -> bool:
    low, high = PIXEL_SIZE_RANGE_ANGSTROM
    return math.isfinite(pixel_size_angstrom) and low <= pixel_size_angstrom <= high


def _range_text() -> str:
    return f"{PIXEL_SIZE_RANGE_ANGSTROM[0]:g} to {PIXEL_SIZE_RANGE_ANGSTROM[1]:g} A"


def _slabs(volume: NDArray) -> Iterator[NDArray]:
    """Give the volume in pieces of some megabytes, so that memory maps stay on the disk."""
    per_section = max(1, math.prod(volume.shape[1:]) * 4)
    step = max(1, _SLAB_BYTES // per_section)
    for start in range(0, volume.shape[0], step):
        yield volume[start : start + step]


def _check_values(source: Path, data: NDArray, finite: bool, variance: bool) -> None:
    if not (finite or variance):
        return
    bad, low, high = 0, math.inf, -math.inf
    for slab in _slabs(data):
        good = np.isfinite(slab)
        n_good = int(np.count_nonzero(good))
        bad += slab.size - n_good
        values = slab if n_good == slab.size else slab[good]
        if n_good:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if finite and bad:
        raise InputError(
            f"{source}: {bad} of {data.size} voxels are NaN or infinite, expected finite values; "
            "make the map again or replace those voxels"
        )
    if variance and not low < high:
        value = f"the value {low:g}" if math.isfinite(low) else "no finite value"
        raise InputError(
            f"{source}: every voxel has {value}, expected a map that varies; it is blank, "
            "the program that wrote it probably failed, make it again"
        )


def _check_suffix(target: Path) -> bool:
    """Return whether to compress."""
    suffixes = [suffix.lower() for suffix in target.suffixes]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    kind = suffixes[-2:-1] if compressed else suffixes[-1:]
    if not kind or kind[0] not in WRITABLE_SUFFIXES:
        raise InputError(
            f"{target}: cannot be written as a volume, expected a name that ends in "
            f"{', '.join(WRITABLE_SUFFIXES)}, or one of these and .gz; choose another name"
        )
    return compressed


def _as_float32(target: Path, data: NDArray) -> NDArray[np.float32]:
    array = np.asarray(data)
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{target}: the array to write has shape {array.shape} and type {array.dtype}, "
            "expected three dimensions of real numbers; give a volume"
        )
    with np.errstate(all="ignore"):
        return array.astype("<f4", copy=False)


def _pixel_size_to_write(target: Path, like: Volume | None, pixel_size: float | None) -> float:
    if pixel_size is None and like is not None:
        pixel_size = like.pixel_size_angstrom
    if pixel_size is None or not _sensible(pixel_size):
        raise InputError(
            f"{target}: pixel size to write is {pixel_size}, expected {_range_text()}; give it"
        )
    return float(pixel_size)


def _statistics(target: Path, volume: NDArray) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean, population standard deviation, in two passes and float64."""
    with np.errstate(all="ignore"):
        mean = sum(float(slab.sum(dtype=np.float64)) for slab in _slabs(volume)) / volume.size
    if not math.isfinite(mean):
        bad = sum(int(np.count_nonzero(~np.isfinite(slab))) for slab in _slabs(volume))
        raise TrainingError(
            f"{target}: not written, {bad} of {volume.size} voxels are NaN or infinite, expected "
            "finite values; look for what went wrong in the log"
        )
    low = min(float(slab.min()) for slab in _slabs(volume))
    high = max(float(slab.max()) for slab in _slabs(volume))
    squares = sum(float(((slab.astype(np.float64) - mean) ** 2).sum()) for slab in _slabs(volume))
    return low, high, mean, math.sqrt(squares / volume.size)


def _write_slabs(stream: BinaryIO | gzip.GzipFile, header: bytes, volume: NDArray) -> None:
    stream.write(header)
    for slab in _slabs(volume):
        stream.write(np.ascontiguousarray(slab).data)
