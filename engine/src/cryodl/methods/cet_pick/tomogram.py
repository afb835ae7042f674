"""Tomograms as the network reads them, region by region from the disk.

Slices are merged in pairs, smoothed, and standardised with the mean and spread of the whole
tomogram; matter is bright. Nothing larger than a region is ever in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc import Volume, open_tomogram
from cryodl.errors import InputError
from cryodl.methods.cet_pick.axes import to_working

Compress = Literal["mean", "max", "off"]
Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_SMALLEST_EDGE_PX = 16
_SAMPLED_BLOCKS = 12
_BLOCK_DEPTH = 8
_OUTLIER_SIGMAS = 4.0  # gold beads must not decide the spread
_LEVELS = 255  # of the published quantisation


@dataclass(frozen=True)
class Preparation:
    """How a tomogram is made ready; stored in the model, so that prediction does the same.

    Attributes
    ----------
    compress : str
        Merge slices 2k and 2k + 1 by ``mean`` or ``max`` (published), or not (``off``).
    gauss : float
        Sigma of a Gaussian in voxels of the merged array; 0 for none.
    clip_low, clip_high : float
        Standardised values are cut here, and mapped to 0 and 1.
    quantise : bool
        Round to 256 levels, as published.
    dark : bool
        Matter is dark in the file, so that values are turned over.
    """

    compress: Compress = "mean"
    gauss: float = 0.8
    clip_low: float = -3.0
    clip_high: float = 3.0
    quantise: bool = False
    dark: bool = True


@dataclass(frozen=True)
class Statistics:
    """Of the merged and smoothed tomogram, bright as in the file.

    Attributes
    ----------
    mean, deviation : float
        Without outliers.
    skew : float
        Third standardised moment; negative where matter is dark.
    """

    mean: float
    deviation: float
    skew: float


class WorkingTomogram:
    """One tomogram, opened but not read.

    Parameters
    ----------
    path : Path
        The MRC file.
    order : str
        ``zyx``, ``imod`` or ``xyz``, see `cryodl.methods.cet_pick.axes`.
    preparation : Preparation
        What to do with its values.
    pixel_size_angstrom : float, optional
        In place of the header's.

    Raises
    ------
    InputError
        Not a tomogram, or too small.
    """

    def __init__(
        self,
        path: Path,
        order: str,
        preparation: Preparation,
        pixel_size_angstrom: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.order = order
        self.preparation = preparation
        self.volume: Volume = open_tomogram(path, pixel_size_angstrom=pixel_size_angstrom)
        self._data = to_working(self.volume.data, order)
        if min(self._data.shape) < _SMALLEST_EDGE_PX:
            raise InputError(
                f"{path}: found {'x'.join(map(str, self.volume.data.shape[::-1]))} voxels, "
                f"expected at least {_SMALLEST_EDGE_PX} along each axis; give a tomogram"
            )
        self.statistics = Statistics(0.0, 1.0, 0.0)
        self.statistics = self._measure()

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling without the voxels."""
        size = self.volume.pixel_size_angstrom
        return _reopened, (self.path, self.order, self.preparation, size, self.statistics)

    @property
    def pixel_size_angstrom(self) -> float:
        """Of the file."""
        return self.volume.pixel_size_angstrom

    @property
    def merged(self) -> int:
        """File slices per working slice, 2 or 1."""
        return 1 if self.preparation.compress == "off" else 2

    @property
    def file_shape(self) -> tuple[int, int, int]:
        """Voxels z, y, x in the order of work, slices not merged."""
        z, y, x = self._data.shape
        return z, y, x

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels z, y, x as the network reads them."""
        z, y, x = self._data.shape
        return -(-z // self.merged), y, x

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """File voxels per voxel of the heat map."""
        return float(self.merged), 2.0, 2.0

    def heat_map_points(self, points_xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (n, 3; x, y, z of the unmerged working array) as heat-map z, y, x."""
        return (points_xyz[:, ::-1] + 0.5) / np.asarray(self.spacing_zyx) - 0.5

    def region(self, region: Region) -> NDArray[np.float32]:
        """Return prepared values in [0, 1]; beyond the border the tomogram is mirrored.

        Parameters
        ----------
        region : tuple
            First and stop index along z, y, x, in merged slices.
        """
        found = self.smoothed(region)
        found -= self.statistics.mean
        found *= (-1.0 if self.preparation.dark else 1.0) / self.statistics.deviation
        low, high = self.preparation.clip_low, self.preparation.clip_high
        np.clip(found, low, high, out=found)
        found -= low
        found /= high - low
        if self.preparation.quantise:
            found = np.round(found * _LEVELS) / np.float32(_LEVELS)
        return found

    def smoothed(self, region: Region) -> NDArray[np.float32]:
        """Return merged and smoothed values in the units of the file."""
        from scipy.ndimage import gaussian_filter

        sigma = self.preparation.gauss
        margin = int(np.ceil(3 * sigma)) if sigma > 0 else 0
        read = [
            _mirrored(start - margin, stop + margin, edge)
            for (start, stop), edge in zip(region, self.shape, strict=True)
        ]
        found = self._merged(read[0], read[1], read[2])
        if margin:
            found = gaussian_filter(found, sigma, truncate=3.0, mode="nearest")
            inner = slice(margin, -margin)
            found = np.ascontiguousarray(found[inner, inner, inner])
        return found

    def _merged(self, z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float32]:
        if self.merged == 1:
            return self._read(z, y, x)
        last = self._data.shape[0] - 1
        slices = self._read(np.stack([2 * z, np.minimum(2 * z + 1, last)], 1).ravel(), y, x)
        if self.preparation.compress == "max":
            # Of matter, whichever way it is turned.
            merge = np.minimum if self.preparation.dark else np.maximum
            merged: NDArray[np.float32] = merge(slices[::2], slices[1::2])
            return merged
        return (slices[::2] + slices[1::2]) * np.float32(0.5)

    def _read(self, z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float32]:
        lows = [int(axis.min()) for axis in (z, y, x)]
        highs = [int(axis.max()) + 1 for axis in (z, y, x)]
        box = self._data[lows[0] : highs[0], lows[1] : highs[1], lows[2] : highs[2]]
        values = np.array(box, dtype=np.float32)  # never the file's own memory
        bad = ~np.isfinite(values)
        if bad.any():
            values[bad] = self.statistics.mean
        steps = zip((z, y, x), lows, strict=True)
        return np.ascontiguousarray(values[np.ix_(*(axis - low for axis, low in steps))])

    def _measure(self) -> Statistics:
        depth, height, width = self.shape
        starts = range(0, depth, _BLOCK_DEPTH)
        step = max(1, -(-len(starts) // _SAMPLED_BLOCKS))
        blocks = []
        for start in starts[::step]:
            stop = min(start + _BLOCK_DEPTH, depth)
            block = self.smoothed(((start, stop), (0, height), (0, width)))
            blocks.append(block.ravel()[:: max(1, block.size // 400_000)])
        values = np.concatenate(blocks).astype(np.float64)
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        kept = values[np.abs(values - middle) <= _OUTLIER_SIGMAS * spread] if spread else values
        mean, deviation = float(kept.mean()), float(kept.std())
        if not deviation > 0:
            raise InputError(
                f"{self.path}: found the value {mean:g} nearly everywhere, expected a tomogram; "
                "look at the file"
            )
        return Statistics(mean, deviation, float((((kept - mean) / deviation) ** 3).mean()))


def _reopened(
    path: Path,
    order: str,
    preparation: Preparation,
    pixel_size_angstrom: float,
    statistics: Statistics,
) -> WorkingTomogram:
    tomogram = WorkingTomogram.__new__(WorkingTomogram)
    tomogram.path, tomogram.order, tomogram.preparation = path, order, preparation
    tomogram.volume = open_tomogram(path, pixel_size_angstrom=pixel_size_angstrom)
    tomogram._data = to_working(tomogram.volume.data, order)
    tomogram.statistics = statistics
    return tomogram


def with_contrast(tomogram: WorkingTomogram, dark: bool) -> WorkingTomogram:
    """Return the same tomogram, read as dark or as bright matter."""
    if dark == tomogram.preparation.dark:
        return tomogram
    changed = replace(tomogram.preparation, dark=dark)
    return WorkingTomogram(tomogram.path, tomogram.order, changed, tomogram.pixel_size_angstrom)


def _mirrored(start: int, stop: int, edge: int) -> NDArray[np.int64]:
    """Return indices from `start` to `stop`, reflected into an axis of `edge` voxels."""
    period = max(1, 2 * (edge - 1))
    index = np.abs(np.arange(start, stop)) % period
    return np.where(index >= edge, period - index, index)
