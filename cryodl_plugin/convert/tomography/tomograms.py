"""Tomograms: identity, where their voxels are counted from, tilts, masks."""

import os
import re

import numpy as np
from tomo.objects import TomoAcquisition, Tomogram, TomoMask

from cryodl_plugin.convert.maps import engineMap
from cryodl_plugin.convert.tomography.star_files import writeStar

_SUFFIXES = (".tomostar", ".mrc", ".mrcs", ".rec", ".map", ".st", ".ali", ".mdoc")
_PREFIX = "TS_"


def tomogramId(name):
    """Return a tomogram's name as Scipion's tsId: letters, digits, underscores, no digit first."""
    base = os.path.basename(str(name).strip())
    for suffix in _SUFFIXES:
        if base.lower().endswith(suffix):
            base = base[: -len(suffix)]
            break
    text = re.sub(r"\W", "_", base, flags=re.ASCII)
    return _PREFIX + text if not text or text[0].isdigit() else text


def tomogramsById(tomograms):
    """Return copies of the tomograms of a set by tsId; the set's own object changes as it goes."""
    found = {}
    for tomogram in tomograms or ():
        # A name alone has no folder, so a tomogram without id is known by its file.
        found[tomogram.getTsId() or tomogramId(tomogram.getFileName())] = tomogram.clone()
    return found


def originOffset(tomogram):
    """Return what to add to a stored coordinate to count from the first voxel, (x, y, z) voxels.

    Scipion stores coordinates relative to the tomogram's origin, by default the middle of the box
    at half its size, also where that is odd. This opens the header of the file: call it once.
    """
    return -np.array(tomogram.getShiftsFromOrigin(), dtype=float) / tomogram.getSamplingRate()


def tiltRange(item):
    """Return lowest and highest tilt in degrees of a set or item, or None where it is unknown."""
    acquisition = _acquisition(item)
    if acquisition is None:
        return None
    low, high = acquisition.getAngleMin(), acquisition.getAngleMax()
    if low is None or high is None or low == high:
        return None
    return float(min(low, high)), float(max(low, high))


def tiltAxis(item):
    """Return the direction of the tilt axis in degrees from x, or None where it is unknown."""
    acquisition = _acquisition(item)
    angle = acquisition.getTiltAxisAngle() if acquisition is not None else None
    return None if angle is None else float(angle)


def makeAcquisition(tiltMin=None, tiltMax=None, step=None, voltage=None, **others):
    """Return how tomograms were recorded; angles in degrees, voltage in kV, None for unknown."""
    return TomoAcquisition(angleMin=tiltMin, angleMax=tiltMax, step=step, voltage=voltage, **others)


def makeTomogram(path, tsId, samplingRate, acquisition=None):
    """Return a tomogram with its origin in the middle; the file has to exist."""
    tomogram = Tomogram()
    tomogram.setFileName(path)
    tomogram.setSamplingRate(samplingRate)
    tomogram.setTsId(tsId)
    tomogram.setOrigin()
    if acquisition is not None:
        tomogram.setAcquisition(acquisition)
    return tomogram


def makeTomoMask(path, tomogram):
    """Return a mask or score map of a tomogram, tied to it by file and tsId."""
    mask = TomoMask()
    mask.copyInfo(tomogram)
    mask.setFileName(path)
    mask.setVolName(tomogram.getFileName())
    mask.setTsId(tomogram.getTsId())
    return mask


def writeTomograms(tomograms, path, folder, only=None):
    """Write a STAR file that names the tomograms of a set, their files and pixel sizes.

    Parameters
    ----------
    tomograms : SetOfTomograms or dict
        The set, or tomograms by tsId.
    path, folder : str
        Of the file; where files that are not MRC are put, converted.
    only : collection of str, optional
        The tsIds to write; all of them where nothing is given.

    Returns
    -------
    list of str
        The tsIds that were written.
    """
    known = tomograms if isinstance(tomograms, dict) else tomogramsById(tomograms)
    rows = []
    for tsId, tomogram in known.items():
        if only is not None and tsId not in only:
            continue
        sampling = float(tomogram.getSamplingRate())
        row = {
            "rlnTomoName": tsId,
            "rlnTomoReconstructedTomogram": engineMap(tomogram.getFileName(), folder),
            "rlnTomoTiltSeriesPixelSize": sampling,
            "rlnTomoTomogramBinning": 1.0,
        }
        row.update(zip(("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ"), tomogram.getDim()))
        rows.append(row)
    writeStar(path, {"global": rows})
    return [row["rlnTomoName"] for row in rows]


def _acquisition(item):
    acquisition = item.getAcquisition()
    return acquisition if isinstance(acquisition, TomoAcquisition) else None
