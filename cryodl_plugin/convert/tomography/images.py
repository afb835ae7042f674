"""Image files of particles: links to those of others, sets of those the engine has cut out."""

import os
import shutil

from pwem.objects import Transform
from tomo.objects import SubTomogram

from cryodl_plugin.convert.tomography.columns import columnTypes, setExtras
from cryodl_plugin.convert.tomography.coordinates import Places, rowPose
from cryodl_plugin.convert.tomography.matrices import poseToTransform
from cryodl_plugin.convert.tomography.star_files import EMPTY, StarError

IMAGE, CTF = "rlnImageName", "rlnCtfImage"


def linkImages(table, folder, copy=False, label=IMAGE):
    """Link, or copy, the images of a table into a folder and name them there.

    Parameters
    ----------
    table : ParticleTable
        Its rows are changed; names count from the working directory or from the table's file.
    folder : str
        Of the project, so that the set does not depend on absolute paths.
    copy : bool
        Copy instead of linking.
    label : str
        The column with the names; rows without one are passed over.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    StarError
        An image that is not there.
    """
    rows = [row for row in table.rows if row.get(label, EMPTY) != EMPTY]
    found = {}
    for row in rows:
        name = row[label].rpartition("@")[2]
        if name not in found:
            found[name] = _found(name, table.path)
    targets = _targets(found.values(), folder)
    os.makedirs(folder, exist_ok=True)
    for source, target in targets.items():
        if os.path.lexists(target):
            os.remove(target)
        if copy:
            shutil.copyfile(source, target)
        else:
            os.symlink(source, target)
    for row in rows:
        index, at, name = row[label].rpartition("@")
        row[label] = f"{index}{at}{targets[found[name]]}"
    return len(targets)


def nameInProject(table):
    """Name the images of a table, and their CTF volumes, as the project does; return the table."""
    for row in table.rows:
        for label in (IMAGE, CTF):
            if row.get(label, EMPTY) != EMPTY:
                index, at, name = row[label].rpartition("@")
                row[label] = f"{index}{at}{projectPath(name, table.path)}"
    return table


def appendExtracted(output, coordinates, table, tomograms=None):
    """Append a subtomogram for each box that was cut out; it has the id of its coordinate.

    Parameters
    ----------
    output : SetOfSubTomograms
        With its sampling rate and the pointer to the coordinates.
    coordinates : SetOfCoordinates3D
        What was extracted.
    table : ParticleTable
        What the engine has made of them.
    tomograms : SetOfTomograms, optional
        From which was extracted, if not from those of the coordinates; for the tilts.

    Returns
    -------
    int
        Coordinates that got no subtomogram.
    """
    rows = nameInProject(table).byId()
    types = columnTypes(table.rows)
    recorded = Places(tomograms or coordinates.getPrecedents()).tomograms
    left = 0
    for coordinate in coordinates.iterCoordinates(orderBy="id"):
        row = rows.get(coordinate.getObjId())
        if row is None:
            left += 1
            continue
        item = SubTomogram()
        item.setObjId(coordinate.getObjId())
        item.setFileName(table.imageOf(row))
        item.setSamplingRate(table.samplingRate)
        item.setCoordinate3D(coordinate.clone())
        item.setVolName(coordinate.getTomoId())
        tomogram = recorded.get(coordinate.getTomoId())
        if tomogram is not None and tomogram.hasAcquisition():
            item.setAcquisition(tomogram.getAcquisition().clone())
        rotation, shift = rowPose(row)
        item.setTransform(Transform(poseToTransform(rotation, shift / table.samplingRate)))
        setExtras(item, row, types)
        output.append(item)
    return left


def projectPath(name, tablePath):
    """Return a file of a table as it is named in the project, the working directory.

    Raises
    ------
    StarError
        There is no such file, counted from the project, the table's folder, or one above it.
    """
    path = _found(name, tablePath)
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def _found(name, tablePath):
    folder = os.path.dirname(os.path.abspath(tablePath))
    places = [os.getcwd(), folder]
    while os.path.dirname(folder) != folder:  # names may count from any folder above the file
        folder = os.path.dirname(folder)
        places.append(folder)
    for place in places:
        path = os.path.normpath(os.path.join(place, name))
        if os.path.exists(path):
            return path
    raise StarError(f"{tablePath}: image {name} does not exist; say where the images are")


def _targets(sources, folder):
    """Return source -> name in the folder, told apart by their folders where need be."""
    sources = list(dict.fromkeys(sources))
    if not sources:
        return {}
    common = os.path.dirname(sources[0]) if len(sources) == 1 else os.path.commonpath(sources)
    targets, taken = {}, set()
    for source in sources:
        name = os.path.relpath(source, common).replace(os.sep, "_")
        while name in taken:
            name = f"_{name}"
        taken.add(name)
        targets[source] = os.path.join(folder, name)
    return targets
