"""Maps: from Scipion's file names to MRC files the engine reads, and small ones made here.

Arrays are ``[z, y, x]`` float32 with the centre at voxel ``n // 2``.
"""

import os

import mrcfile
import numpy as np

_MRC = (".mrc", ".map", ".mrc.gz", ".map.gz")
_SOFT_EDGE_PX = 5


def plainName(fileName):
    """Return a file name without Scipion's format suffix, ``map.mrc:mrc`` -> ``map.mrc``."""
    name = str(fileName)
    head, colon, _ = name.rpartition(":")
    return head if colon and os.path.exists(head) else name


def engineMapName(fileName, folder):
    """Return where `engineMap` finds or puts the MRC file of a map."""
    name = plainName(fileName)
    if name.lower().endswith(_MRC):
        return name
    # The whole path goes into the name: half maps of two folders may be called the same.
    base = os.path.splitext(name)[0].strip("/").replace("/", "_")
    return os.path.join(folder, f"{base}.mrc")


def engineMap(fileName, folder):
    """Return the name of an MRC file with this map; other formats are converted into `folder`."""
    target = engineMapName(fileName, folder)
    if target != plainName(fileName):
        from pwem.emlib.image import ImageHandler

        os.makedirs(folder, exist_ok=True)
        ImageHandler().convert(fileName, target)
    return target


def mapDimensions(fileName):
    """Return (x, y, z) of a map in voxels, or None where it cannot be read."""
    name = plainName(fileName)
    try:
        if name.lower().endswith(_MRC):
            with mrcfile.open(name, permissive=True, header_only=True) as mrc:
                return int(mrc.header.nx), int(mrc.header.ny), int(mrc.header.nz)
        from pwem.emlib.image import ImageHandler

        x, y, z, n = ImageHandler().getDimensions(fileName)
        return x, y, z if z > 1 else n
    except (OSError, ValueError, TypeError):
        return None


def readMap(fileName):
    """Return a map as float32 ``[z, y, x]``."""
    with mrcfile.open(plainName(fileName), permissive=True) as mrc:
        return np.array(mrc.data, dtype=np.float32)


def writeMap(fileName, data, pixelSize):
    """Write a volume with its pixel size in Angstrom; the name appears only when it is whole."""
    temporary = f"{fileName}.tmp"
    with mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(np.asarray(data, dtype=np.float32))
        mrc.set_volume()
        mrc.voxel_size = pixelSize
    os.replace(temporary, fileName)


def averageMaps(first, second, fileName):
    """Write the mean of two maps, with the header of the first; plane by plane to spare memory."""
    temporary = f"{fileName}.tmp"
    with (
        mrcfile.mmap(first, permissive=True) as one,
        mrcfile.mmap(second, permissive=True) as two,
        mrcfile.new(temporary, overwrite=True) as mrc,
    ):
        mean = np.empty(one.data.shape, np.float32)
        for plane in range(len(mean)):
            mean[plane] = (one.data[plane] + two.data[plane]) / 2
        mrc.set_data(mean)
        mrc.set_volume()
        mrc.voxel_size = one.voxel_size
        mrc.header.origin = one.header.origin
        for axis in ("nxstart", "nystart", "nzstart"):
            mrc.header[axis] = one.header[axis]
    os.replace(temporary, fileName)


def sphereMask(boxSize, radius, softEdge=_SOFT_EDGE_PX):
    """Return a sphere, 1 up to `radius` voxels from the centre, then a cosine edge to 0."""
    axis = np.arange(boxSize, dtype=np.float32) - boxSize // 2
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    edge = np.clip((distance - radius) / softEdge, 0, 1)
    return ((1 + np.cos(np.pi * edge)) / 2).astype(np.float32)
