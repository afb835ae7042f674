"""Tomograms: identity, where their voxels are counted from, tilts, masks."""

import os
import re

import numpy as np
from tomo.objects import TomoAcquisition, Tomogram, TomoMask

from cryodl_plugin.convert.maps import engineMap, plainName

_SUFFIXES = (".tomostar", ".mrc", ".mrcs", ".rec", ".map", ".st", ".ali", ".mdoc")
_PREFIX = "TS_"
_MRC = (".mrcs", ".rec", ".st", ".ali")


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


def originOffset(tomogram, samplingRate=None):
    """Return what to add to a stored coordinate to count from the first voxel, (x, y, z).

    Scipion stores coordinates relative to the tomogram's origin, by default the middle of the box
    at half its size, also where that is odd. This opens the header of the file: call it once.

    Parameters
    ----------
    tomogram : Tomogram
        Where the coordinate lies.
    samplingRate : float, optional
        Å per voxel in which the coordinate is stored and the result counts; that of the tomogram
        where not given. They differ where particles were picked on tomograms of other binning.
    """
    shifts = np.array(tomogram.getShiftsFromOrigin(), dtype=float)  # in Å
    return -shifts / (samplingRate or tomogram.getSamplingRate())


def tiltRange(item):
    """Return lowest and highest tilt in degrees of a set or item, or None where it is unknown.

    The axis needs no asking: tomograms lie with it along y, whatever it was in the tilt images.
    """
    acquisition = _acquisition(item)
    if acquisition is None:
        return None
    low, high = acquisition.getAngleMin(), acquisition.getAngleMax()
    if low is None or high is None or low == high:
        return None
    return float(min(low, high)), float(max(low, high))


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
        tomogram.setAcquisition(acquisition.clone())
    return tomogram


def makeTomoMask(path, tomogram):
    """Return a mask or score map of a tomogram, tied to it by file and tsId."""
    mask = TomoMask()
    mask.copyInfo(tomogram)
    mask.setFileName(path)
    mask.setVolName(tomogram.getFileName())
    mask.setTsId(tomogram.getTsId())
    return mask


def linkTomograms(tomograms, folder, only=None):
    """Name the files of tomograms after their ids, by which the engine knows them.

    Parameters
    ----------
    tomograms : SetOfTomograms or dict
        The set, or tomograms by tsId.
    folder : str
        Where the links are put, and files that are not MRC, converted.
    only : collection of str, optional
        The tsIds to link; all of them where nothing is given.

    Returns
    -------
    list of str
        The links.
    """
    known = tomograms if isinstance(tomograms, dict) else tomogramsById(tomograms)
    os.makedirs(folder, exist_ok=True)
    links = []
    for tsId in linkNames(known, only):
        source = os.path.abspath(mrcFile(known[tsId].getFileName(), folder))
        link = tomogramLink(tsId, folder)
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(source, link)
        links.append(link)
    return links


def mrcFile(fileName, folder):
    """Return the name of an MRC file; `folder` gets those of other formats, converted.

    Stacks and what IMOD calls by other suffixes are MRC files too.
    """
    name = plainName(fileName)
    return name if name.lower().endswith(_MRC) else engineMap(fileName, folder)


def linkNames(tomograms, only=None):
    """Return the ids that `linkTomograms` links, in its order."""
    return sorted(tsId for tsId in tomograms if only is None or tsId in only)


def tomogramLink(tsId, folder):
    """Return the link of a tomogram in a folder."""
    return os.path.join(folder, f"{tsId}.mrc")


def _acquisition(item):
    acquisition = item.getAcquisition()
    return acquisition if isinstance(acquisition, TomoAcquisition) else None
