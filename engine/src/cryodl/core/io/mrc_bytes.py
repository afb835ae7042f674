"""The bytes of an MRC file, plain or compressed, compared with what their header claims."""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc_header import HEADER_BYTES, Header, parse_header
from cryodl.errors import InputError

logger = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MAX_RATIO = 1040  # deflate cannot do better than 1032 to 1
_READ_BYTES = 1 << 24


def load(source: Path, memory_map: bool, *, read_only: bool = False) -> tuple[Header, NDArray]:
    """Return the header and the voxels in the file's own order, type and byte order.

    Parameters
    ----------
    source : Path
        An MRC file, compressed with gzip or not.
    memory_map : bool
        Leave little-endian float32 voxels on the disk. What is written to the map stays private.
    read_only : bool
        Leave voxels of any type on the disk, unless compressed, in a map that cannot be written to:
        it takes no memory however large, where a private one is counted in full.

    Raises
    ------
    InputError
        Missing, unreadable, empty, damaged, truncated, or not MRC.
    """
    _check_file(source)
    try:
        with source.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
            stream.seek(0)
            if compressed:
                return _load_compressed(source, stream)
            return _load_plain(source, stream, memory_map, read_only)
    except OSError as error:
        raise InputError(
            f"{source}: could not be read ({error.strerror or error}), expected a readable MRC "
            "file; check its permissions and its disk"
        ) from error


def _check_file(source: Path) -> None:
    try:
        if source.is_dir():
            raise InputError(f"{source}: is a folder, expected an MRC file; give the file's name")
        if not source.exists():
            raise InputError(
                f"{source}: does not exist, expected an MRC file; check the name and the folder"
            )
        if not source.is_file():
            raise InputError(
                f"{source}: is not a regular file, expected an MRC file; give the name of one"
            )
        size = source.stat().st_size
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(source)!r}: could not be looked at ({error}), expected an MRC file; "
            "check the name and the permissions"
        ) from error
    if size == 0:
        raise InputError(
            f"{source}: is empty (0 bytes), expected an MRC file; the program that wrote it "
            "probably failed or the disk was full, make it again"
        )


def _load_plain(
    source: Path, stream: BinaryIO, memory_map: bool, read_only: bool
) -> tuple[Header, NDArray]:
    header = parse_header(stream.read(HEADER_BYTES), str(source))
    size = source.stat().st_size
    _check_length(source, header, size)
    offset, dtype, shape = header.data_offset, header.dtype, header.shape_file
    if read_only:
        return header, np.memmap(source, dtype=dtype, mode="r", offset=offset, shape=shape)
    if memory_map and dtype == np.dtype("<f4") and offset % 4 == 0:
        # "c": changes stay in memory; torch refuses arrays that cannot be written to.
        return header, np.memmap(source, dtype=dtype, mode="c", offset=offset, shape=shape)
    stream.seek(offset)
    flat = np.fromfile(stream, dtype=dtype, count=math.prod(shape))
    _check_length(source, header, offset + flat.nbytes)
    return header, flat.reshape(shape)


def _load_compressed(source: Path, stream: BinaryIO) -> tuple[Header, NDArray]:
    try:
        with gzip.GzipFile(fileobj=stream) as inside:
            header = parse_header(inside.read(HEADER_BYTES), str(source))
            needed = header.data_offset + header.data_bytes
            if needed > _GZIP_MAX_RATIO * source.stat().st_size:
                raise InputError(_truncated(source, header, "far too few bytes"))
            content = bytearray()
            while len(content) < needed - HEADER_BYTES:
                part = inside.read(min(_READ_BYTES, needed - HEADER_BYTES - len(content)))
                if not part:
                    break
                content += part
            # One byte more also makes gzip compare its checksum at the end.
            surplus = len(inside.read(1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{source}: damaged gzip file ({error}), expected a complete .gz; "
            "copy or download it again"
        ) from error
    _check_length(source, header, HEADER_BYTES + len(content) + surplus)
    skip = header.data_offset - HEADER_BYTES
    count = math.prod(header.shape_file)
    flat = np.frombuffer(content, dtype=header.dtype, count=count, offset=skip)
    return header, flat.reshape(header.shape_file)


def _check_length(source: Path, header: Header, size: int) -> None:
    needed = header.data_offset + header.data_bytes
    if size < needed:
        raise InputError(_truncated(source, header, f"{size} bytes"))
    if size > needed:
        logger.warning("%s: bytes after the last voxel are ignored", source)


def _truncated(source: Path, header: Header, found: str) -> str:
    needed = header.data_offset + header.data_bytes
    return (
        f"{source}: holds {found}, expected {needed} for {shape_text(header.shape_zyx)} voxels of "
        f"{header.dtype.itemsize} bytes after {header.data_offset} bytes of header; the file is "
        "truncated or its header damaged, copy or make it again"
    )


def shape_text(shape_zyx: tuple[int, ...]) -> str:
    """Write a shape as people read it in other programs: x first."""
    return "x".join(str(n) for n in shape_zyx[::-1])
