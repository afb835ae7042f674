"""Volumes on disk, of which only what is shown is read."""

import mmap
import os

import mrcfile
import numpy as np

_SAMPLE_PLANES = 9
_SAMPLE_SIDE = 160
_MOST_PIXELS_A_SIDE = 1024
_LARGE_BYTES = 1 << 30
_MOST_SEPARATE_READS = 1 << 14
_OTHER_FORMATS = (".spi", ".vol", ".em", ".hdf", ".h5", ".img", ".xmp", ".inr", ".raw")


class SourceError(ValueError):
    """A volume cannot be shown; one line says why."""


class VolumeSource:
    """A volume ``[z, y, x]``: slices of it, averages of neighbouring slices, and its contrast.

    Parameters
    ----------
    data : array
        Any real type; a memory map stays on disk.
    name : str
        What messages call it.
    """

    def __init__(self, data, name="volume"):
        if data.ndim == 2:
            data = data[None]
        if data.ndim != 3 or 0 in data.shape:
            raise SourceError(f"{name}: found an array of shape {data.shape}, expected a volume")
        if np.iscomplexobj(data) or data.dtype.kind not in "iufb":
            raise SourceError(f"{name}: found values of type {data.dtype}, expected real numbers")
        self.data = data
        self.name = name
        self._sample = None
        self._map = _memoryMap(data)

    @classmethod
    def open(cls, fileName):
        """Return a volume from its file; MRC files are memory-mapped, others read as a whole.

        ``3@stack.mrc`` is the third volume of a stack.

        Raises
        ------
        SourceError
            No such file, or no volume in it.
        """
        index, path = splitIndex(fileName)
        name = os.path.basename(path)
        try:
            data = _readOther(path) if path.lower().endswith(_OTHER_FORMATS) else _mapMrc(path)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            words = (getattr(error, "strerror", None) or str(error)).splitlines()
            raise SourceError(f"{name}: cannot be read ({' '.join(words[:1])})") from None
        if data.ndim == 4:
            data = data[max(index, 1) - 1] if index <= len(data) else data[:0]
        return cls(data, name)

    @property
    def shape(self):
        """Size along z, y, x."""
        return self.data.shape

    def plane(self, axis, position, thickness=1, window=None, most=_MOST_PIXELS_A_SIDE):
        """Return an average of slices, thinned out to what a screen can show.

        Parameters
        ----------
        axis : int
            0 for a slice across z, 1 across y, 2 across x.
        position : int
            The slice in the middle of the average.
        thickness : int
            How many slices; fewer at the border of the volume.
        window : sequence of two (low, high), optional
            What is read of the two axes that are left, in their order; all of it by default.
        most : int
            Fewer than twice as many pixels as this along either side. Blocks are averaged across
            z, where they have been read from disk anyway; the other views take one voxel of each.
            The view across x of a large file is coarser: each of its voxels is a read of its own.

        Returns
        -------
        image : (rows, columns) float32
        extent : (left, right, bottom, top)
            Where its borders lie, in voxels, for matplotlib with the origin below.
        """
        shape = [n for i, n in enumerate(self.shape) if i != axis]
        window = window or [(0, n) for n in shape]
        (low0, high0), (low1, high1) = (
            (max(int(low), 0), min(max(int(high), int(low) + 1), n))
            for (low, high), n in zip(window, shape)
        )
        step = max(1, max(high0 - low0, high1 - low1) // most)
        if axis == 2 and self.data.nbytes > _LARGE_BYTES:
            reads = (high0 - low0) * (high1 - low1)
            step = max(step, int(np.ceil(np.sqrt(reads / _MOST_SEPARATE_READS))))
        self._advise(axis)
        first, last = slab(position, thickness, self.shape[axis])
        total = None
        for place in range(first, last):
            one = self._thinned(axis, place, (low0, high0), (low1, high1), step)
            total = one if total is None else total + one
        image = np.nan_to_num(total / np.float32(last - first), copy=False, posinf=0, neginf=0)
        rows, columns = image.shape
        extent = (
            low1 - 0.5,
            low1 + step * columns - 0.5,
            low0 - 0.5,
            low0 + step * rows - 0.5,
        )
        return image, extent

    def _advise(self, axis):
        """Tell the system not to read far ahead for side views: of each page they take one row."""
        if self._map is not None and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_RANDOM if axis else mmap.MADV_NORMAL)

    def _thinned(self, axis, place, rows, columns, step):
        index = [slice(*rows), slice(*columns)]
        if axis != 0 and step > 1:
            index = [slice(*rows, step), slice(*columns, step)]
        index.insert(axis, place)
        image = np.asarray(self.data[tuple(index)], dtype=np.float32)
        return image if axis != 0 or step == 1 else _blockMean(image, step)

    def contrast(self, low, high):
        """Return the values at two percentiles of the volume, always two different ones."""
        if self._sample is None:
            self._sample = self._takeSample()
        below, above = np.percentile(self._sample, (low, high))
        return (float(below), float(above)) if above > below else (float(below), float(below) + 1)

    def _takeSample(self):
        """Return sorted values of a few slices, so that the contrast needs no second look."""
        planes = np.unique(np.linspace(0, self.shape[0] - 1, _SAMPLE_PLANES).astype(int))
        found = []
        for place in planes:
            plane = self.data[place]
            steps = [max(1, n // _SAMPLE_SIDE) for n in plane.shape]
            found.append(np.asarray(plane[:: steps[0], :: steps[1]], np.float32).ravel())
        values = np.concatenate(found)
        values = values[np.isfinite(values)]
        return np.sort(values) if len(values) else np.zeros(1, np.float32)

    def range(self):
        """Return smallest and largest value of the sample that the contrast is taken from."""
        self.contrast(0, 100)
        return float(self._sample[0]), float(self._sample[-1])


def slab(position, thickness, size):
    """Return first and last + 1 of `thickness` slices about `position`, inside the volume."""
    position = min(max(round(position), 0), size - 1)
    first = position - (int(thickness) - 1) // 2
    return max(first, 0), min(max(first + int(thickness), first + 1), size)


def _memoryMap(data):
    """Return the memory map that an array lies in, or None."""
    while isinstance(data, np.ndarray):
        data = data.base
    return data if isinstance(data, mmap.mmap) else None


def splitIndex(fileName):
    """Return index (0 for none) and path of a name such as ``3@stack.mrc`` or ``map.mrc:mrc``."""
    name = str(fileName)
    index, at, path = name.partition("@")
    if not at or not index.isdigit():
        index, path = "0", name
    head, colon, _ = path.rpartition(":")
    return int(index), head if colon and not os.path.exists(path) else path


def _mapMrc(path):
    with mrcfile.mmap(path, mode="r", permissive=True) as mrc:
        data = mrc.data
    if data is None:
        raise ValueError("no data in the file")
    return data


def _readOther(path):
    from pwem.emlib.image import ImageHandler

    if not os.path.exists(path):
        raise FileNotFoundError("there is no such file")
    return np.squeeze(np.asarray(ImageHandler().read(path).getData()))


def _blockMean(image, step):
    """Return means of blocks; the last block of a side may be smaller."""
    rows = np.arange(0, image.shape[0], step)
    columns = np.arange(0, image.shape[1], step)
    sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)
    heights = np.diff(np.append(rows, image.shape[0]))
    widths = np.diff(np.append(columns, image.shape[1]))
    return sums / np.outer(heights, widths).astype(np.float32)
