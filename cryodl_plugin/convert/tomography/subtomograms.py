"""SetOfSubTomograms and its classes <-> the STAR files of the engine."""

import os
from dataclasses import dataclass

from pwem.objects import Transform
from tomo.objects import SubTomogram

from cryodl_plugin.convert.maps import mapDimensions
from cryodl_plugin.convert.tomography.columns import (
    PARTICLE_ID,
    columnTypes,
    extraValues,
    setExtras,
)
from cryodl_plugin.convert.tomography.coordinates import (
    POSITION,
    Places,
    makeCoordinate,
    poseRow,
    rowNumbers,
    rowPose,
    tomogramName,
)
from cryodl_plugin.convert.tomography.matrices import poseToTransform
from cryodl_plugin.convert.tomography.optics import joinOptics, splitOptics
from cryodl_plugin.convert.tomography.star_files import EMPTY, StarError, readStar, writeStar
from cryodl_plugin.convert.tomography.tomograms import mrcFile, tomogramId

# RELION asks for these of every optics group; without a CTF nothing depends on them.
_VOLTAGE_KV, _ABERRATION_MM, _CONTRAST = 300.0, 2.7, 0.1
_NOWHERE = (EMPTY, "nan", "NaN")
_TO_BOX = ("rlnImagePixelSize", "rlnPixelSize")
# In this order where particles are named by micrographs, the other way round by tomograms.
_TO_TOMOGRAM = (
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
    "rlnTomoTiltSeriesPixelSize",
)


@dataclass(frozen=True)
class ParticleTable:
    """The particles of a STAR file of the engine.

    Attributes
    ----------
    path : str
        The file.
    rows : list of dict
        One for each particle, all values as text.
    samplingRate : float
        Of the images, Å; of the tomograms where there are no images.
    coordinateSamplingRate : float
        Of the tomograms that the coordinates count in, Å.
    boxSize : int
        Of the images in voxels, 0 where the file does not say.
    """

    path: str
    rows: list
    samplingRate: float
    coordinateSamplingRate: float
    boxSize: int = 0

    def hasImages(self):
        """Tell whether every particle has an image."""
        return bool(self.rows) and all(self.imageOf(row) for row in self.rows)

    def hasPlaces(self):
        """Tell whether every particle is known to lie somewhere in a tomogram."""
        return bool(self.rows) and all(
            tomogramName(row) and all(row.get(p, EMPTY) not in _NOWHERE for p in POSITION)
            for row in self.rows
        )

    @staticmethod
    def imageOf(row):
        """Return the image's name of a row, or an empty text."""
        name = row.get("rlnImageName", EMPTY)
        return "" if name == EMPTY else name

    def byId(self):
        """Return the rows by the id of Scipion's item.

        Raises
        ------
        StarError
            Rows without the id, or two with one id.
        """
        found = {}
        for row in self.rows:
            key = row.get(PARTICLE_ID, EMPTY)
            if not key.lstrip("-").isdigit():
                raise StarError(
                    f"{self.path}: found {PARTICLE_ID} '{key}', expected the id of a particle in "
                    "every row; give the STAR file that the run has written"
                )
            if int(key) in found:
                raise StarError(f"{self.path}: found {PARTICLE_ID} {key} twice, expected it once")
            found[int(key)] = row
        return found


def readParticles(path, withOptics=False):
    """Return the particles of a STAR file of the engine.

    Parameters
    ----------
    path : str
        The file.
    withOptics : bool
        Give each row what its optics group says, for files that did not come from Scipion.

    Raises
    ------
    StarError
        No particles, or image sizes that differ.
    """
    blocks = readStar(path)
    rows = blocks.get("particles")
    if rows is None:
        raise StarError(f"{path}: found no data_particles, expected it; choose a particle file")
    named = bool(rows) and "rlnTomoName" in rows[0]
    optics = blocks.get("optics") or [{}]
    order = _TO_TOMOGRAM[::-1] if named else _TO_TOMOGRAM
    tomogram = _oneSize(path, rows, optics, order, None)
    box = _oneSize(path, rows, optics, _TO_BOX, tomogram)
    if box is None:
        raise StarError(f"{path}: found no pixel size in data_optics, expected rlnImagePixelSize")
    rows = joinOptics(rows, optics) if withOptics else rows
    size = optics[0].get("rlnImageSize", EMPTY)
    return ParticleTable(path, rows, box, tomogram or box, 0 if size == EMPTY else int(size))


def subtomogramRows(subtomograms, folder, classOf=None, whole=None):
    """Return one row for each enabled subtomogram of a set.

    Parameters
    ----------
    subtomograms : SetOfSubTomograms
        The set.
    folder : str
        Where images that are not MRC are put, converted.
    classOf : dict, optional
        Item id -> class; the items' own class ids where not given.
    whole : SetOfSubTomograms, optional
        The set that `subtomograms` are a class of: a class does not know in which tomograms its
        particles lie.
    """
    coordinates = _coordinatesOf(whole or subtomograms)
    places = None
    if coordinates is not None:
        places = Places(coordinates.getPrecedents(), coordinates.getSamplingRate())
    sampling = subtomograms.getSamplingRate()
    rows = []
    for item in subtomograms.iterItems(orderBy="id"):
        if not item.isEnabled():
            continue
        row = {PARTICLE_ID: item.getObjId(), **_placeOf(item, places)}
        row["rlnImageName"] = imageName(item, folder)
        transform = item.getTransform().getMatrix() if item.hasTransform() else _IDENTITY
        row.update(poseRow(transform, sampling, item))
        own = item.getClassId() if classOf is None else classOf.get(item.getObjId())
        row["rlnClassNumber"] = int(own or 0)
        row.update(extraValues(item))
        rows.append(row)
    return rows


def writeSubtomograms(subtomograms, path, folder, classOf=None, absolute=False, whole=None):
    """Write a set as a STAR file of RELION 3.1 with `PARTICLE_ID`; return the number of rows.

    Coordinates count in the tomograms that were picked in, whatever the sampling of the images.
    Files are named as in the project, or with their whole path if they are to be `absolute`.
    """
    rows = subtomogramRows(subtomograms, folder, classOf, whole)
    if absolute:
        makeAbsolute(rows)
    stacks = bool(rows) and "rlnTomoVisibleFrames" in rows[0]
    blocks = {"general": [{"rlnTomoSubTomosAre2DStacks": 1}]} if stacks else {}
    groups = splitOptics(rows, _opticsOf(subtomograms, 2 if stacks else 3, whole))
    writeStar(path, {**blocks, "optics": groups, "particles": rows})
    return len(rows)


def makeAbsolute(rows):
    """Give the files that rows name their whole path."""
    for row in rows:
        for label in ("rlnImageName", "rlnCtfImage"):
            index, at, name = str(row.get(label) or EMPTY).rpartition("@")
            if name != EMPTY:
                row[label] = f"{index}{at}{os.path.abspath(name)}"


def imageName(item, folder):
    """Return the image of an item as RELION names it: a file, or ``000001@stack``."""
    index = item.getIndex() or 0
    name = mrcFile(item.getFileName(), folder)
    return f"{index:06d}@{name}" if index else name


def updateSubtomograms(source, output, table):
    """Append the items of a set that a result names, with its poses, classes and columns.

    Items are found by id, so a result in any order, or of a part of the set, will do.

    Returns
    -------
    int
        How many items of the set the result does not name.
    """
    rows = table.byId()
    types = columnTypes(table.rows)
    left = 0
    for item in source.iterItems(orderBy="id"):
        row = rows.get(item.getObjId())
        if row is None:
            left += 1
            continue
        new = item.clone()
        for name in ("_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi"):
            if hasattr(new, name):
                delattr(new, name)  # the matrix now holds the whole pose
        _setPose(new, row, source.getSamplingRate(), types)
        output.append(new)
    return left


def appendSubtomograms(output, table, tomograms=None, coordinateSampling=None, acquisition=None):
    """Append a new subtomogram for each row of a table to a new set.

    Parameters
    ----------
    output : SetOfSubTomograms
        With its sampling rate; and its pointer to coordinates where there are tomograms.
    table : ParticleTable
        What to append.
    tomograms : SetOfTomograms, optional
        Where the particles lie.
    coordinateSampling : float, optional
        Å per voxel of these tomograms.
    acquisition : TomoAcquisition, optional
        Of all of them.

    Returns
    -------
    list of str
        Tomograms in the table that the set does not hold; their particles were left out.
    """
    places = Places(tomograms)
    types = columnTypes(table.rows)
    factor = table.coordinateSamplingRate / coordinateSampling if coordinateSampling else 1.0
    missing = {}
    for row in table.rows:
        name = tomogramName(row)
        tsId = tomogramId(name) if name else None
        if tomograms is not None and tsId not in places.tomograms:
            missing[name] = None
            continue
        item = SubTomogram()
        index, _, image = table.imageOf(row).rpartition("@")
        item.setLocation((int(index), image) if index else image)
        item.setSamplingRate(table.samplingRate)
        if tsId:
            item.setVolName(tsId)
        known = acquisition
        if tomograms is not None:
            tomogram = places.tomograms[tsId]
            place = rowNumbers(row, POSITION) * factor
            item.setCoordinate3D(makeCoordinate(tomogram, place, samplingRate=coordinateSampling))
            known = known or tomogram.getAcquisition()
        if known is not None:
            item.setAcquisition(known.clone())
        _setPose(item, row, table.samplingRate, types)
        output.append(item)
    return list(missing)


def classAssignment(classes):
    """Return item id -> class id of a set of classes."""
    return {item.getObjId(): group.getObjId() for group in classes.iterItems() for item in group}


def fillClasses(output, assignment, averages=None):
    """Sort the images of a set of classes into them.

    Parameters
    ----------
    output : SetOfClassesSubTomograms
        With its images set; classes are numbered from 1.
    assignment : dict
        Item id -> class id; what is missing or 0 goes to no class.
    averages : dict, optional
        Class id -> file of its average.
    """
    sampling = output.getImages().getSamplingRate()

    def updateItem(item, _):
        item.setClassId(assignment.get(item.getObjId(), 0))

    def updateClass(group):
        group.setAlignment3D()
        average = (averages or {}).get(group.getObjId())
        if average:
            group.getRepresentative().setFileName(average)
            group.getRepresentative().setSamplingRate(sampling)

    output.classifyItems(updateItemCallback=updateItem, updateClassCallback=updateClass)


_IDENTITY = poseToTransform([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0])


def _setPose(item, row, samplingRate, types):
    rotation, shift = rowPose(row)
    item.setTransform(Transform(poseToTransform(rotation, shift / samplingRate)))
    number = row.get("rlnClassNumber", EMPTY)
    if number != EMPTY:
        item.setClassId(int(float(number)))
    setExtras(item, row, types)


def _placeOf(item, places):
    own = item.getVolName() if item._volName.hasValue() else EMPTY
    if places is None:
        return {"rlnTomoName": own}
    coordinate = item.getCoordinate3D() if item.hasCoordinate3D() else None
    tsId = own if coordinate is None else coordinate.getTomoId()
    place = [EMPTY] * 3 if coordinate is None else map(float, places.position(coordinate))
    return {"rlnTomoName": tsId, "rlnMicrographName": tsId, **dict(zip(POSITION, place))}


def _coordinatesOf(subtomograms):
    return subtomograms.getCoordinates3D() if subtomograms.hasCoordinates3D() else None


def _opticsOf(subtomograms, dimensions, whole):
    sampling = float(subtomograms.getSamplingRate())
    coordinates = _coordinatesOf(whole or subtomograms)
    picked = float(coordinates.getSamplingRate()) if coordinates is not None else sampling
    acquisition = subtomograms.getAcquisition()
    first = subtomograms.getFirstItem()
    box = mapDimensions(first.getFileName()) if first is not None else None
    return {
        "rlnMicrographOriginalPixelSize": picked,
        "rlnTomoTiltSeriesPixelSize": picked,
        "rlnImagePixelSize": sampling,
        "rlnImageSize": box[0] if box else 0,
        "rlnImageDimensionality": dimensions,
        "rlnVoltage": float(acquisition.getVoltage() or _VOLTAGE_KV),
        "rlnSphericalAberration": float(acquisition.getSphericalAberration() or _ABERRATION_MM),
        "rlnAmplitudeContrast": float(acquisition.getAmplitudeContrast() or _CONTRAST),
    }


def _oneSize(path, rows, optics, labels, default):
    """Return the one value that columns of the particles, or of their groups, have."""
    used = {row.get("rlnOpticsGroup") for row in rows}
    groups = [one for one in optics if one.get("rlnOpticsGroup") in used] or optics
    for label in labels:
        texts = {table[label] for part in (rows, groups) for table in part if label in table}
        sizes = sorted({float(text) for text in texts - {EMPTY}})
        if len(sizes) > 1:
            raise StarError(
                f"{path}, {label}: found {', '.join(f'{size:g}' for size in sizes)} Å in one file, "
                "expected one pixel size; import each optics group from a file of its own"
            )
        if sizes:
            return sizes[0]
    return default
