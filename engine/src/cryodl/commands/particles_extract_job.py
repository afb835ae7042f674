"""One tomogram of ``cryodl particles extract``: its boxes, its missing wedge, its account."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.wedge import missing_wedge, tilt_sampling
from cryodl.core.io.atomic import write_json
from cryodl.core.io.mrc import Volume, open_tomogram, write_volume
from cryodl.core.io.mrc_header import HEADER_BYTES
from cryodl.core.volumes.extraction import (
    INSIDE,
    OUTSIDE,
    Border,
    Contrast,
    Normalise,
    border_states,
    extract_boxes,
)
from cryodl.core.volumes.tomogram_statistics import TomogramStatistics, tomogram_statistics
from cryodl.errors import InputError

AT_BORDER = "the box reaches beyond the tomogram"
OUT = "the point lies outside the tomogram"
NOT_FINITE = "the box holds values that are not finite"
BLANK = "the box is blank"


@dataclass(frozen=True)
class BoxSettings:
    """How boxes are cut; see `extract_boxes`."""

    size_px: int
    binning: float
    border: Border
    normalise: Normalise
    contrast: Contrast
    seed: int


@dataclass(frozen=True)
class TomogramJob:
    """What one process does.

    Attributes
    ----------
    name : str
        Of the tomogram, of its folder, and with which its files begin.
    path : Path
        The tomogram.
    points_px : (N, 3) float64
        (x, y, z) in its own voxels.
    folder : Path
        Where the boxes go.
    settings : BoxSettings
        How to cut.
    pixel_size_angstrom : float, optional
        In place of the header's.
    tilts_degrees : tuple of float
        All tilts, or the lowest and the highest; empty when unknown or not wanted.
    is_range : bool
        They are the lowest and the highest.
    tilt_axis_degrees : float
        See `missing_wedge`.
    """

    name: str
    path: Path
    points_px: NDArray[np.float64]
    folder: Path
    settings: BoxSettings
    pixel_size_angstrom: float | None = None
    tilts_degrees: tuple[float, ...] = ()
    is_range: bool = True
    tilt_axis_degrees: float = 90.0

    def box_path(self, index: int) -> Path:
        """Return the file of a point, by its number from 0."""
        return self.folder / f"{self.name}_{index + 1:06d}.mrc"

    @property
    def wedge_path(self) -> Path:
        """Return the file of the missing wedge."""
        return self.folder / f"{self.name}_wedge.mrc"

    @property
    def mean_path(self) -> Path:
        """Return the file of the mean of all boxes, as they lie in the tomogram."""
        return self.folder / f"{self.name}_mean.mrc"

    def files(self, kept: list[int]) -> list[Path]:
        """Return all that is promised when these points are kept."""
        paths = [self.box_path(index) for index in kept]
        paths += [self.mean_path] if kept else []
        return paths + ([self.wedge_path] if self.tilts_degrees else [])

    @property
    def account_path(self) -> Path:
        """Return the file that tells what became of the points."""
        return self.folder / "extracted.json"


@dataclass(frozen=True)
class TomogramAccount:
    """What became of the points of one tomogram.

    Attributes
    ----------
    key : str
        Tells whether points, tomogram and settings are still the same.
    kept : list of int
        Numbers of the points with a box.
    dropped : dict of str to int
        Reason to count.
    filled : int
        Boxes of which a part was filled.
    pixel_size_angstrom : float
        Of the boxes.
    mean, deviation : float, optional
        Of the tomogram, where they were used.
    """

    key: str
    kept: list[int]
    dropped: dict[str, int]
    filled: int
    pixel_size_angstrom: float
    mean: float | None = None
    deviation: float | None = None


def earlier_account(job: TomogramJob) -> TomogramAccount | None:
    """Return the account of a run that finished this tomogram, if all it wrote is still there."""
    try:
        content = json.loads(job.account_path.read_text(encoding="utf-8"))
        account = TomogramAccount(**content)
    except (OSError, ValueError, TypeError):
        return None
    whole = not missing_files(job, account.kept)
    return account if whole and account.key == _key(job) else None


def missing_files(job: TomogramJob, kept: list[int]) -> list[Path]:
    """Return the files that are absent or have the wrong length."""
    length = HEADER_BYTES + 4 * job.settings.size_px**3
    return [p for p in job.files(kept) if not p.is_file() or p.stat().st_size != length]


def extract_tomogram(job: TomogramJob, done: Callable[[int], Any]) -> TomogramAccount:
    """Cut all boxes of a tomogram and write them.

    Parameters
    ----------
    job
        What to do.
    done
        Called with the number of points dealt with since the last call.

    Raises
    ------
    InputError
        The tomogram cannot be read or is blank, or points that are not finite.
    ResourceError
        The disk is full.
    """
    tomogram = open_tomogram(job.path, pixel_size_angstrom=job.pixel_size_angstrom)
    settings = job.settings
    job.account_path.unlink(missing_ok=True)  # not true any more once the first box is written
    job.folder.mkdir(parents=True, exist_ok=True)
    pixel_size = tomogram.pixel_size_angstrom * settings.binning
    states = border_states(
        tomogram.shape_zyx, job.points_px, settings.size_px, binning=settings.binning
    )
    dropped = Counter({OUT: int((states == OUTSIDE).sum())})
    if settings.border == "drop":
        dropped[AT_BORDER] = int(((states != INSIDE) & (states != OUTSIDE)).sum())
    done(sum(dropped.values()))
    statistics = _statistics(job, tomogram)
    kept, filled, total = [], 0, np.zeros((settings.size_px,) * 3)
    for box in extract_boxes(
        tomogram.data,
        job.points_px,
        settings.size_px,
        binning=settings.binning,
        border=settings.border,
        normalise=settings.normalise,
        contrast=settings.contrast,
        statistics=statistics,
        seed=settings.seed,
    ):
        fault = _fault(box.data)
        if fault:
            dropped[fault] += 1
        else:
            write_volume(job.box_path(box.index), box.data, pixel_size_angstrom=pixel_size)
            kept.append(box.index)
            filled += box.filled_fraction > 0
            total += box.data
        done(1)
    _write_wedge(job, pixel_size)
    if kept:
        write_volume(job.mean_path, total / len(kept), pixel_size_angstrom=pixel_size)
    account = TomogramAccount(
        key=_key(job),
        kept=kept,
        dropped={reason: count for reason, count in dropped.items() if count},
        filled=filled,
        pixel_size_angstrom=pixel_size,
        mean=statistics.mean if statistics else None,
        deviation=statistics.deviation if statistics else None,
    )
    write_json(job.account_path, asdict(account))
    return account


def _statistics(job: TomogramJob, tomogram: Volume) -> TomogramStatistics | None:
    if job.settings.normalise != "tomogram":
        return None
    try:
        return tomogram_statistics(tomogram.data)
    except InputError as error:
        raise InputError(f"{job.path}: {error}") from None


def _fault(box: NDArray[np.float32]) -> str:
    """Return why a box is of no use, or nothing."""
    if not np.isfinite(box).all():
        return NOT_FINITE
    return BLANK if float(np.ptp(box)) == 0 else ""


def _write_wedge(job: TomogramJob, pixel_size_angstrom: float) -> None:
    if not job.tilts_degrees:
        return
    n = job.settings.size_px
    if job.is_range:
        low, high = job.tilts_degrees
        wedge = missing_wedge(n, low, high, tilt_axis_degrees=job.tilt_axis_degrees)
    else:
        wedge = tilt_sampling(
            n, job.tilts_degrees, tilt_axis_degrees=job.tilt_axis_degrees, nyquist_limit=False
        )
    write_volume(
        job.wedge_path, wedge, pixel_size_angstrom=pixel_size_angstrom, label="Missing wedge"
    )


def _key(job: TomogramJob) -> str:
    """Return a digest of all that decides what is written."""
    status = job.path.stat()
    facts = (
        asdict(job.settings),
        job.pixel_size_angstrom,
        job.tilts_degrees,
        job.is_range,
        job.tilt_axis_degrees,
        status.st_size,
        status.st_mtime_ns,
    )
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(np.ascontiguousarray(job.points_px, dtype="<f8").tobytes())
    return digest.hexdigest()
