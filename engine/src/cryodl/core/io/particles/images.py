"""The images of particles, one at a time and straight from the disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc_bytes import load
from cryodl.core.io.particles.image_files import read_header
from cryodl.core.io.particles.model import ImageKind, ParticleSet
from cryodl.errors import InputError

_GZIP_SUFFIX = ".gz"
# Mapped files, not their contents: each holds one file open.
_FILES_KEPT_OPEN = 64

_KINDS = {
    "volume": "subtomograms",
    "tilt_stack": "stacks of tilt images",
    "image": "single images",
    "none": "coordinates without images",
}


def read_subtomogram(particles: ParticleSet, index: int) -> NDArray[np.float32]:
    """Read one subtomogram.

    Parameters
    ----------
    particles : ParticleSet
        With ``image_kind`` ``volume``.
    index : int
        Which.

    Returns
    -------
    ndarray, (n, n, n) float32
        ``[z, y, x]``, a copy.

    Raises
    ------
    InputError
        Another kind of set, a missing or damaged file, another box, values that are not finite.
    """
    path = _path(particles, index, "volume")
    data = _open(path)
    _check_shape(path, data.shape, (particles.box_size_px,) * 3, particles.box_size_px)
    return _finite(path, np.array(data, dtype=np.float32))


def read_tilt_images(particles: ParticleSet, index: int) -> NDArray[np.float32]:
    """Read the tilt images of one particle.

    Returns
    -------
    ndarray, (k, n, n) float32
        The visible ones in the order of the tilt series, whether the file has only these, as
        RELION writes it, or all, as Warp does. A copy.

    Raises
    ------
    InputError
        Another kind of set, a missing or damaged file, another box, values that are not finite.
    """
    path = _path(particles, index, "tilt_stack")
    data = _open(path)
    box = particles.box_size_px
    _check_shape(path, data.shape[1:], (box, box), box)
    chosen: NDArray[np.generic] = data
    if particles.visible_frames is not None and len(data) != particles.visible_frames[index].sum():
        visible = particles.visible_frames[index]
        # Shorter tilt series than the longest of the set are padded with False.
        if len(data) > len(visible) or visible[len(data) :].any():
            raise InputError(
                f"{path}: has {len(data)} images, expected {int(visible.sum())} or {len(visible)} "
                "by the visible frames of its particle; extract the particles again"
            )
        chosen = data[visible[: len(data)]]
    return _finite(path, np.array(chosen, dtype=np.float32))


def read_image(particles: ParticleSet, index: int) -> NDArray[np.float32]:
    """Read one single-particle image, (n, n) float32, a copy.

    Raises
    ------
    InputError
        Another kind of set, a missing or damaged file, another box, values that are not finite.
    """
    path = _path(particles, index, "image")
    data = _open(path)
    number = int(particles.image_indices[index])
    if number >= len(data):
        raise InputError(
            f"{path}: has {len(data)} images, expected image {number + 1}; extract the particles "
            "again"
        )
    box = particles.box_size_px
    _check_shape(path, data.shape[1:], (box, box), box)
    return _finite(path, np.array(data[number], dtype=np.float32))


def close_images() -> None:
    """Forget the files that are kept open."""
    _mapped.cache_clear()


def _path(particles: ParticleSet, index: int, kind: ImageKind) -> Path:
    if particles.image_kind != kind or not particles.image_paths:
        raise InputError(
            f"{particles.path or 'particles'}: found {_KINDS[particles.image_kind]}, expected "
            f"{_KINDS[kind]}; extract them"
        )
    return particles.image_paths[index]


def _open(path: Path) -> NDArray[np.generic]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        raise InputError(
            f"{path}: does not exist, expected the image of a particle; check the folder"
        ) from None
    return _mapped(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_FILES_KEPT_OPEN)
def _mapped(path: Path, changed_ns: int, size: int) -> NDArray[np.generic]:
    """Map a file as [z, y, x]; a file that changes is another entry."""
    try:
        header = read_header(path)
        if path.suffix.lower() == _GZIP_SUFFIX:
            stored = load(path, False)[1]
        else:
            stored = np.memmap(
                path,
                dtype=header.dtype,
                mode="r",
                offset=header.data_offset,
                shape=header.shape_file,
            )
    except OSError as error:
        raise InputError(
            f"{path}: could not be read ({error.strerror or error}), expected an MRC file; check "
            "its permissions and its disk"
        ) from error
    return stored.transpose(header.axes_to_zyx)


def _check_shape(path: Path, found: tuple[int, ...], expected: tuple[int, ...], box: int) -> None:
    if box and tuple(found) != expected:
        raise InputError(
            f"{path}: box {'x'.join(map(str, found))}, expected {'x'.join(map(str, expected))} as "
            "in the other particles; extract the particles again"
        )


def _finite(path: Path, data: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).sum())
        raise InputError(
            f"{path}: {bad} values are NaN or infinite, expected finite ones; extract them again"
        )
    return data
