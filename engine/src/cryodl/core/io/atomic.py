"""Writing a file so that a reader sees the whole of it or nothing of it.

Everything the engine writes goes through here: the bytes are written under a hidden temporary
name in the folder of the target, flushed to the disk, and renamed. A program that is killed in
between leaves the earlier file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cryodl.errors import CryodlError, InputError, ResourceError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or write to another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or write to another disk",
    errno.EROFS: "the file system is read-only; write to another folder",
    errno.EACCES: "permission denied; change the permissions or write to another folder",
    errno.EPERM: "operation not permitted; change the permissions or write to another folder",
    errno.EFBIG: "the file is too large for this file system; write to another disk",
    errno.EIO: "the disk reported an input/output error; write to another disk",
}
# Raised by the caller's code inside the block, these speak of the disk being written whatever the
# file they name; the others may come from a file that the caller was reading.
_ALWAYS_OURS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name to write to, and move it to its place when the block ends well.

    A symbolic link at `path` is replaced by a file; what it pointed to is not touched.

    Parameters
    ----------
    path : path-like
        The final place. Its folder must exist.

    Yields
    ------
    Path
        A name in the same folder, with the same suffix, that does not exist yet. The block must
        create it.

    Raises
    ------
    InputError
        The folder does not exist, or `path` is a folder.
    ResourceError
        Disk full, quota used up, read-only, no permission. Nothing is left behind.
    """
    target = Path(path)
    _check_target(target)
    suffixes = "".join(target.suffixes[-2:])[-32:]
    temporary = target.with_name(f".cryodl-{os.getpid()}-{secrets.token_hex(4)}{suffixes}")
    try:
        yield temporary
        _commit(temporary, target)
    except OSError as error:
        failure = _translated(error, temporary, target)
        if failure is None:
            raise
        raise failure from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def mapped_array(
    temporary: Path, dtype: DTypeLike, shape: tuple[int, ...]
) -> np.memmap[Any, np.dtype[Any]]:
    """Make an .npy file to be filled through memory, with its room on the disk taken beforehand.

    Without that a disk that fills up ends the program by a signal (SIGBUS), without a word.

    Parameters
    ----------
    temporary : Path
        From `atomic_path`, which turns the failure into a `ResourceError`.
    dtype, shape
        Of the array.

    Raises
    ------
    OSError
        The disk is full.
    """
    stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
    with temporary.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, temporary.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # cannot be asked for there
                raise
    return stored


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically; failures are those of `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8 with Unix line ends."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write `obj` to `path` atomically as indented JSON.

    Raises
    ------
    ValueError
        `obj` holds a NaN or an infinity, which JSON cannot express.
    TypeError
        `obj` holds something that is not a number, text, list or dictionary.
    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _check_target(target: Path) -> None:
    try:
        if not target.parent.is_dir():
            raise InputError(
                f"{target}: the folder {target.parent} does not exist, expected an existing "
                "folder; create it or choose another output"
            )
        if target.is_dir():
            raise InputError(
                f"{target}: is a folder, expected the name of a file to write; "
                "add a file name or choose another output"
            )
    except OSError as error:
        raise ResourceError(_message(error, target)) from error


def _commit(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(target)
    # The rename itself survives a power cut only once the folder is on the disk; some network
    # file systems cannot do this, and then the data are still complete.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _translated(error: OSError, temporary: Path, target: Path) -> CryodlError | None:
    """Return our error for one that concerns the file being written, else None."""
    concerns_us = error.filename is not None and Path(os.fsdecode(error.filename)) == temporary
    known = error.errno in _REMEDIES
    if error.errno in _ALWAYS_OURS or (known and (concerns_us or error.filename is None)):
        return ResourceError(_message(error, target))
    return None


def _message(error: OSError, target: Path) -> str:
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        remedy = f"{error.strerror or error}; choose another output"
    return f"{target}: could not be written, {remedy}"
