"""From the windows back into the project: protocols that make a set of what was chosen."""

import json
import os
import time

from pyworkflow.object import Pointer

from cryodl_plugin.protocols.protocol_edit_coordinates import CryoDLProtEditCoordinates

UPLOADS = "Uploads"
"""Folder of a project for files that runs need again when they are restarted."""


def pointerTo(project, obj):
    """Return a pointer to an output by its protocol and name, as projects can be copied with it."""
    parent = obj.getObjParentId()
    protocol = project.getProtocol(parent) if parent else None
    if protocol is not None:
        for name, output in protocol.iterOutputAttributes():
            if output.getObjId() == obj.getObjId():
                return Pointer(protocol, extended=name)
    return Pointer(obj)


def saveCoordinates(project, points, coordinates=None, tomograms=None, wait=False):
    """Launch the protocol that makes a set of the points on the screen.

    Parameters
    ----------
    project : Project
        Of which the working directory is the folder.
    points : Points
        What is shown and what was changed.
    coordinates : SetOfCoordinates3D, optional
        The set that was opened.
    tomograms : SetOfTomograms, optional
        The tomograms on the screen, where no coordinates were opened.
    wait : bool
        Return when it has finished.

    Returns
    -------
    CryoDLProtEditCoordinates

    Raises
    ------
    ValueError
        There is nothing to save.
    """
    if not len(points.shown()):
        raise ValueError("There are no points to save.")
    changes = points.changes()
    name = _uploadName(project, "points", "json")
    _write(project, name, json.dumps(changes, indent=1))
    protocol = project.newProtocol(CryoDLProtEditCoordinates)
    if coordinates is not None:
        protocol.inputCoordinates.copy(pointerTo(project, coordinates), copyId=False)
    else:
        protocol.inputTomograms.copy(pointerTo(project, tomograms), copyId=False)
    protocol.changesFile.set(name)
    if points.threshold is not None and coordinates is not None:
        protocol.minimumScore.set(points.threshold)
    protocol.newBoxSize.set(max(1, round(points.boxSize)))
    project.launchProtocol(protocol, wait=wait)
    return protocol


def saveSubset(project, source, keys, wait=False):
    """Launch Scipion's own protocol for a sub-set of a set, by the identifiers of its items.

    Raises
    ------
    ValueError
        Nothing was chosen.
    """
    from pwem.protocols import ProtUserSubSet

    if not keys:
        raise ValueError("Nothing is chosen: click on the pictures to keep.")
    name = _uploadName(project, "chosen", "txt")
    _write(project, name, " ".join(str(key) for key in keys) + "\n")
    protocol = project.newProtocol(ProtUserSubSet, objLabel="chosen in the gallery")
    protocol.inputObject.copy(pointerTo(project, source), copyId=False)
    protocol.sqliteFile.set(f"{name},")
    protocol.outputClassName.set(source.getClassName())
    project.launchProtocol(protocol, wait=wait)
    return protocol


def _uploadName(project, what, suffix):
    """Return a new name relative to the project, so that the project can be moved."""
    stamp = time.strftime("%Y%m%d_%H%M%S")
    count = 0
    while True:
        tail = f"_{count}" if count else ""
        name = os.path.join(UPLOADS, f"cryodl_{what}_{stamp}{tail}.{suffix}")
        if not os.path.exists(os.path.join(project.path, name)):
            return name
        count += 1


def _write(project, name, text):
    path = os.path.join(project.path, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.tmp", path)
