"""SetOfCoordinates3D <-> STAR rows; positions count from the first voxel, as arrays do."""

import numpy as np
from tomo.constants import SCIPION
from tomo.objects import Coordinate3D

from cryodl_plugin.convert.tomography.columns import (
    BOX_ANGLES,
    PARTICLE_ID,
    columnTypes,
    extraValues,
    setExtras,
)
from cryodl_plugin.convert.tomography.matrices import (
    combinePose,
    eulerToMatrix,
    matrixToEuler,
    poseToTransform,
    transformToPose,
)
from cryodl_plugin.convert.tomography.star_files import EMPTY, StarError, writeStar
from cryodl_plugin.convert.tomography.tomograms import originOffset, tomogramId, tomogramsById

POSITION = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGIN = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
_SCORES = ("cdlScore", "rlnAutopickFigureOfMerit")


class Places:
    """Positions of coordinates from the first voxel; opens each tomogram's header once.

    Parameters
    ----------
    tomograms : SetOfTomograms
        In which the coordinates lie.
    samplingRate : float, optional
        Å per voxel of the coordinates; that of each tomogram where not given.
    """

    def __init__(self, tomograms, samplingRate=None):
        self.tomograms = tomogramsById(tomograms)
        self._samplingRate = samplingRate
        self._offsets = {}

    def offset(self, tsId):
        """Return what to add to stored coordinates of a tomogram, in their voxels.

        Raises
        ------
        StarError
            A tomogram that the set does not hold.
        """
        if tsId not in self._offsets:
            if tsId not in self.tomograms:
                raise StarError(
                    f"coordinates: found tomogram '{tsId}', expected one of "
                    f"{', '.join(sorted(self.tomograms)) or 'none'}; give the tomograms that the "
                    "particles were picked in"
                )
            self._offsets[tsId] = originOffset(self.tomograms[tsId], self._samplingRate)
        return self._offsets[tsId]

    def position(self, coordinate):
        """Return (x, y, z) from the first voxel of the tomogram, in voxels of the coordinates."""
        stored = [coordinate._x.get(), coordinate._y.get(), coordinate._z.get()]
        return np.array(stored, dtype=float) + self.offset(coordinate.getTomoId())


def coordinateRows(coordinates, factor=1.0, only=None):
    """Return one row for each enabled coordinate of a set.

    Parameters
    ----------
    coordinates : SetOfCoordinates3D
        The set.
    factor : float
        Voxels of the coordinates over voxels of the tomograms the rows are for.
    only : collection of str, optional
        Ids of the tomograms to take; all where not given.

    Returns
    -------
    list of dict
        Id, tomogram, position, pose, score, group and all extra columns.
    """
    sampling = coordinates.getSamplingRate()
    places = Places(coordinates.getPrecedents(), sampling)
    rows = []
    for coordinate in coordinates.iterItems(orderBy="id"):
        if not coordinate.isEnabled() or (only is not None and coordinate.getTomoId() not in only):
            continue
        row = {PARTICLE_ID: coordinate.getObjId(), "rlnTomoName": coordinate.getTomoId()}
        row.update(zip(POSITION, map(float, places.position(coordinate) * factor)))
        row.update(poseRow(coordinate.getMatrix(), sampling, coordinate))
        row["cdlScore"] = float(coordinate.getScore() or 0)
        row["cdlGroupId"] = int(coordinate.getGroupId() or 0)
        row.update(extraValues(coordinate))
        rows.append(row)
    return rows


def writeCoordinates(coordinates, path, samplingRate=None, only=None):
    """Write a set as a particle STAR file without images; return the number of rows.

    Parameters
    ----------
    coordinates : SetOfCoordinates3D
        The set.
    path : str
        Of the file.
    samplingRate : float, optional
        Of the tomograms the positions are to count in, Å; those of the set where not given.
    only : collection of str, optional
        Ids of the tomograms to take; all where not given.
    """
    own = coordinates.getSamplingRate()
    samplingRate = samplingRate or own
    rows = coordinateRows(coordinates, own / samplingRate, only)
    for row in rows:
        row["rlnOpticsGroup"] = 1
    optics = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnMicrographOriginalPixelSize": float(samplingRate),
        "rlnTomoTiltSeriesPixelSize": float(samplingRate),
    }
    writeStar(path, {"optics": [optics], "particles": rows})
    return len(rows)


def poseRow(transform, samplingRate, item):
    """Return angles and origins in Å of Scipion's matrix, with what other plugins keep beside it.

    The RELION plugin stores the box's part of a pose of RELION 5 in the matrix and the refined part
    as ``_rlnAngle*`` of the item: here the two become one.
    """
    rotation, shift = transformToPose(transform)
    refined = [getattr(item, f"_{label}", None) for label in ANGLES]
    if all(angle is not None and angle.get() is not None for angle in refined):
        rotation = rotation @ eulerToMatrix(*(float(angle.get()) for angle in refined))
    row = dict(zip(ANGLES, matrixToEuler(rotation)))
    row.update(zip(ORIGIN, (float(value * samplingRate) for value in shift)))
    return row


def tomogramName(row):
    """Return the tomogram's name of a row, or an empty text; RELION 3 says micrograph."""
    for label in ("rlnTomoName", "rlnMicrographName"):
        if row.get(label, EMPTY) != EMPTY:
            return row[label]
    return ""


def rowNumbers(row, labels, default=None):
    """Return numbers of a row as an array.

    Raises
    ------
    StarError
        A column that is not there, or no number in it.
    """
    try:
        values = [row[label] if default is None else row.get(label, default) for label in labels]
        return np.array([float(value) for value in values])
    except KeyError as error:
        raise StarError(f"column {error.args[0]}: found none, expected it in every row") from None
    except ValueError:
        found = " ".join(str(row.get(label)) for label in labels)
        raise StarError(f"{' '.join(labels)}: found '{found}', expected numbers") from None


def rowPose(row):
    """Return A and s in Å of a row, both parts of a pose of RELION 5; no angles mean no turn."""
    box = eulerToMatrix(*rowNumbers(row, BOX_ANGLES, 0))
    inside = eulerToMatrix(*rowNumbers(row, ANGLES, 0))
    return combinePose(box, inside, rowNumbers(row, ORIGIN, 0))


def appendCoordinates(output, rows, tomograms, samplingRate, applyShifts=True):
    """Append a coordinate for each row to a new set.

    Parameters
    ----------
    output : SetOfCoordinates3D
        With its sampling rate, in which the coordinates are to count, and its pointer to the
        tomograms set.
    rows : list of dict
        Of a STAR file of the engine.
    tomograms : SetOfTomograms
        In which the coordinates are to lie.
    samplingRate : float
        Å per voxel in which the rows count.
    applyShifts : bool
        Move each to where the pose says the particle is, so that it can be extracted anew.

    Returns
    -------
    list of str
        Names of tomograms in the rows that the set does not hold; their rows were left out.
    """
    places = Places(tomograms)
    factor = samplingRate / output.getSamplingRate()
    types = columnTypes(rows)
    missing = {}
    for row in rows:
        tsId = tomogramId(tomogramName(row))
        if tsId not in places.tomograms:
            missing[tomogramName(row)] = None
            continue
        output.append(_coordinate(row, places.tomograms[tsId], output, factor, applyShifts, types))
    return list(missing)


def _coordinate(row, tomogram, output, factor, applyShifts, types):
    sampling = output.getSamplingRate()
    rotation, shift = rowPose(row)
    shift = shift / sampling
    position = rowNumbers(row, POSITION) * factor
    if applyShifts:
        # The middle of the reference lies at -s from the middle of the box.
        position, shift = position - shift, np.zeros(3)
    coordinate = makeCoordinate(tomogram, position, poseToTransform(rotation, shift), sampling)
    score = next((row[label] for label in _SCORES if row.get(label, EMPTY) != EMPTY), 0)
    coordinate.setScore(float(score))
    group = row.get("cdlGroupId", EMPTY)
    coordinate.setGroupId(0 if group == EMPTY else int(float(group)))
    setExtras(coordinate, row, types)
    return coordinate


def makeCoordinate(tomogram, position, transform=None, samplingRate=None):
    """Return a coordinate at (x, y, z) voxels from the first one of its tomogram.

    Voxels are of `samplingRate` in Å, that of the tomogram where not given.
    """
    coordinate = Coordinate3D()
    coordinate.setVolume(tomogram)
    stored = np.asarray(position, dtype=float) - originOffset(tomogram, samplingRate)
    coordinate.setPosition(*map(float, stored), SCIPION)
    coordinate.setMatrix(np.eye(4) if transform is None else transform)
    return coordinate
