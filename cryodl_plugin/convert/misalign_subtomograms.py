"""Subtomograms as volumes, as RELION 3.1 refines them: each with a weight of what was measured."""

import os

import numpy as np

from cryodl_plugin.convert import tomography
from cryodl_plugin.convert.maps import engineMap, writeMap
from cryodl_plugin.convert.particles_spa import ID_COLUMN, writeTables
from cryodl_plugin.convert.tomography.coordinates import poseRow

_STACKS = "rlnTomoVisibleFrames"
_ANGLES = ("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi")


def tiltRange(subtomogram, given):
    """Return the smallest and the largest tilt in degrees: its own, else the set's, or None."""
    return tomography.tiltRange(subtomogram) or tomography.tiltRange(given)


def ctfVolume(subtomogram):
    """Return the CTF volume that came with a subtomogram, or None."""
    return tomography.extraValues(subtomogram).get(tomography.CTF) or None


def areStacks(subtomograms):
    """Tell whether the images are stacks of tilt images, as RELION 5 makes them."""
    return _STACKS in tomography.extraValues(subtomograms.getFirstItem())


def wedge(boxSize, tiltMin, tiltMax):
    """Return 1 where a tilt range about y measures, 0 in its missing wedge.

    Parameters
    ----------
    boxSize : int
        In voxels.
    tiltMin, tiltMax : float
        In degrees.

    Returns
    -------
    numpy.ndarray
        ``(n, n, n)`` [z, y, x], zero frequency at ``n // 2``, as RELION's *rlnCtfImage*.
    """
    axis = np.arange(boxSize) - boxSize // 2
    z, x = axis[:, None], axis[None, :]
    # A tilt by t measures the plane kz = kx tan t; opposite frequencies are the same.
    angle = np.degrees(np.arctan2(np.where(x < 0, -z, z), np.abs(x)))
    measured = (angle >= tiltMin) & (angle <= tiltMax) | ((x == 0) & (z == 0))
    whole = np.broadcast_to(measured[:, None, :], (boxSize,) * 3)
    return whole.astype(np.float32)


def writeSubtomograms(subtomograms, path, folder, withPoses=True, withCtf=True):
    """Write a set as a STAR file of RELION 3.1, with a CTF volume or a wedge for each tilt range.

    Parameters
    ----------
    subtomograms : SetOfSubTomograms
        Of volumes, with a sampling rate.
    path : str
        STAR file to write.
    folder : str
        Where wedges go, and volumes that RELION cannot read as they are.
    withPoses : bool
        Whether to write the angles and shifts of aligned subtomograms.
    withCtf : bool
        Whether to say what was measured of each: by its own CTF volume, else by the tilts of its
        acquisition or that of the set.

    Raises
    ------
    ValueError
        A subtomogram with neither CTF volume nor tilts.
    """
    os.makedirs(folder, exist_ok=True)
    sampling = subtomograms.getSamplingRate()
    withPoses = withPoses and subtomograms.getFirstItem().hasTransform()
    weights = _Weights(subtomograms, folder) if withCtf else None
    rows = (
        _row(item, folder, sampling if withPoses else None, weights)
        for item in subtomograms.iterItems()
        if item.isEnabled()
    )
    writeTables(path, [_opticsOf(subtomograms)], rows)


def _row(item, folder, posesIn, weights):
    coordinate = item.getCoordinate3D() if item.hasCoordinate3D() else None
    tomogram = item.getVolName() if coordinate is None else coordinate.getTomoId()
    row = {
        "rlnImageName": engineMap(item.getFileName(), folder),
        # RELION estimates noise and scale by it.
        "rlnMicrographName": os.path.basename(str(tomogram or "tomogram")).replace(" ", "_"),
        "rlnOpticsGroup": 1,
        ID_COLUMN: item.getObjId(),
    }
    if weights is not None:
        row[tomography.CTF] = weights.of(item)
    if posesIn is not None:
        pose = item.getTransform().getMatrix() if item.hasTransform() else np.eye(4)
        row.update(poseRow(pose, posesIn, item))
    return row


class _Weights:
    """Files that say which frequencies were measured; a wedge is written once a tilt range."""

    def __init__(self, subtomograms, folder):
        self._set, self._folder, self._known = subtomograms, folder, {}

    def of(self, item):
        own = ctfVolume(item)
        if own is not None:
            return engineMap(own, self._folder)
        tilts = tiltRange(item, self._set)
        if tilts is None:
            raise ValueError(
                f"subtomogram {item.getObjId()}: found neither CTF volume nor tilt range, expected "
                "one to know its missing wedge; give it on import, or do not correct the CTF"
            )
        if tilts not in self._known:
            name = os.path.join(self._folder, f"wedge{len(self._known) + 1}.mrc")
            writeMap(name, wedge(self._set.getXDim(), *tilts), self._set.getSamplingRate())
            self._known[tilts] = name
        return self._known[tilts]


def _opticsOf(subtomograms):
    acquisition = subtomograms.getAcquisition()
    return {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnVoltage": float(acquisition.getVoltage() or 300),
        "rlnSphericalAberration": float(acquisition.getSphericalAberration() or 0),
        "rlnAmplitudeContrast": float(acquisition.getAmplitudeContrast() or 0.1),
        "rlnImagePixelSize": float(subtomograms.getSamplingRate()),
        "rlnImageSize": int(subtomograms.getXDim()),
        "rlnImageDimensionality": 3,
    }


def forgetParts(subtomogram):
    """Drop the part of a pose that other plugins keep beside the matrix, which now holds it all."""
    for name in _ANGLES:
        if hasattr(subtomogram, name):
            delattr(subtomogram, name)
