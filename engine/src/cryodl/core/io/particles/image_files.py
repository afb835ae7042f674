"""Where the images of a particle file lie, and whether they are there.

RELION writes names that count from its project folder, Warp names that count from the file itself,
and both are moved about; a name is looked for from every place it may count from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc_bytes import load
from cryodl.core.io.mrc_header import HEADER_BYTES, Header, parse_header
from cryodl.errors import InputError

MISSING = "the image file does not exist"
DAMAGED = "the image file is damaged or not MRC"
BEYOND = "the image number is beyond the stack"
UNREADABLE_NAME = "the image name cannot be read"
# Calibrated to a percent or so after the images were made: that is no contradiction.
_PIXEL_SIZES_DIFFER = 0.05
_GZIP_MAGIC = b"\x1f\x8b"


def split_image_names(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Take ``000012@stack.mrcs`` apart.

    Returns
    -------
    files : list of str
        The part after the @, empty where the name cannot be read.
    numbers : (N,) int64
        The image number from 0, -1 for names without an @.
    """
    files: list[str] = []
    numbers = np.full(len(names), -1, dtype=np.int64)
    for i, name in enumerate(names):
        number, at, file = name.partition("@")
        if not at:
            files.append(name)
        elif number.isascii() and number.isdigit() and 0 < len(number) < 16 and int(number) > 0:
            numbers[i] = int(number) - 1
            files.append(file)
        else:
            files.append("")
    return files, numbers


class FileFinder:
    """Finds files by the names in a STAR file.

    Parameters
    ----------
    star : path-like
        The STAR file.
    folder : path-like, optional
        Where to look first, also without the leading folders of a name.

    Raises
    ------
    InputError
        The folder is not there.
    """

    def __init__(self, star: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None):
        here = Path(star).absolute().parent
        # A link to a STAR file, as pipelines make them: its names count from where it really lies.
        real = Path(os.path.realpath(star)).parent
        self.folder = Path(folder).absolute() if folder is not None else None
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(
                f"{folder}: found no such folder, expected that of the images; correct the name"
            )
        self.bases = list(dict.fromkeys([here, *here.parents, real, *real.parents]))
        # By the folder of a name: the folders that exist, and where a file of it would be.
        self._known: dict[str, tuple[list[Path], Path]] = {}

    def find(self, name: str) -> Path:
        """Return the path of the file of that name; one that need not exist if none does."""
        head, tail = os.path.split(name)
        known = self._known.get(head)
        if known is None:
            existing = [folder for folder in self._candidates(head) if _is_folder(str(folder))]
            known = existing, existing[0] if existing else self.bases[0] / head
            self._known[head] = known
        for folder in known[0]:
            candidate = folder / tail
            if _is_file(str(candidate)):
                return candidate
        return known[1] / tail

    def _candidates(self, head: str) -> list[Path]:
        found: list[Path] = []
        if self.folder is not None:
            parts = Path(head).parts
            if Path(head).is_absolute():
                parts = parts[1:]
            found += [self.folder.joinpath(*parts[i:]) for i in range(len(parts) + 1)]
        if Path(head).is_absolute():
            return [*found, Path(head)]
        return found + [base / head for base in self.bases]


@dataclass
class ImageCheck:
    """What is known of the image files of N particles.

    Attributes
    ----------
    faults : dict of int to str
        Row to why its image cannot be used.
    by_row : list of (Header or None)
        The header that speaks for each row.
    opened : list of int
        Rows whose own header that is.
    """

    faults: dict[int, str]
    by_row: list[Header | None]
    opened: list[int]


def check_images(
    paths: Sequence[Path], numbers: NDArray[np.int64], *, every_header: bool = False
) -> ImageCheck:
    """Look at the image files: do they exist, are they whole, do the stacks reach far enough.

    Files without an image number that have the same size are taken to have the same header, but
    for `every_header`: where only headers know the pixel size, it may differ between them.
    """
    headers: dict[tuple[str, int], Header | str] = {}
    sizes: dict[str, int | None] = {}
    check = ImageCheck({}, [], [])
    for i, (path, number) in enumerate(zip(paths, numbers.tolist())):
        name = str(path)
        if name not in sizes:
            sizes[name] = _size(name)
        size = sizes[name]
        if size is None:
            check.faults[i] = MISSING
            check.by_row.append(None)
            continue
        key = (name if number >= 0 or every_header else "", size)
        if key not in headers:
            headers[key] = _header(path, size)
            check.opened.append(i)
        header = headers[key]
        if isinstance(header, str):
            check.faults[i] = header
            # The next file of that size may be sound.
            del headers[key]
            check.by_row.append(None)
            continue
        if number >= header.shape_zyx[0]:
            check.faults[i] = BEYOND
        check.by_row.append(header)
    return check


def other_pixel_size(sizes_angstrom: NDArray[np.float64], check: ImageCheck) -> str:
    """Return a remark on images that say another pixel size than their file of particles, or ""."""
    for row in check.opened:
        header, size = check.by_row[row], float(sizes_angstrom[row])
        own = header.pixel_size_xyz_angstrom[0] if header is not None else 0.0
        # 0 and 1 stand in many headers that nobody filled in.
        if own > 0 and own != 1.0 and abs(own / size - 1.0) > _PIXEL_SIZES_DIFFER:
            return (
                f"the file says a pixel size of {size:.5g} A, the header of an image {own:.5g} A; "
                "that of the file was taken, give another pixel size if it is wrong"
            )
    return ""


def read_header(path: Path) -> Header:
    """Read the header of an image file and compare it with the size of the file.

    Raises
    ------
    InputError
        Not MRC, or shorter than its header says.
    """
    with path.open("rb") as stream:
        raw = stream.read(HEADER_BYTES)
        size = os.fstat(stream.fileno()).st_size
    if raw[:2] == _GZIP_MAGIC:
        return load(path, True)[0]
    header = parse_header(raw, str(path))
    needed = header.data_offset + header.data_bytes
    if size < needed:
        raise InputError(
            f"{path}: holds {size} bytes, expected {needed} by its header; it is truncated, make "
            "or copy it again"
        )
    return header


def _header(path: Path, size: int) -> Header | str:
    try:
        return read_header(path)
    except (InputError, OSError):
        return DAMAGED if size else "the image file is empty"


def _size(path: str) -> int | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every particle
    except (OSError, ValueError):
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - called for every particle


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - beside the above
