"""From Scipion's sets to what the viewer and the gallery show; nothing of Tk here."""

import os

import numpy as np
from tomo.constants import SCIPION
from tomo.objects import SetOfCoordinates3D, SetOfTomograms, SetOfTomoMasks

from cryodl_plugin.convert.tomography import Places
from cryodl_plugin.convert.tomography.tomograms import tomogramId
from cryodl_plugin.viewers.slices.gallery import GalleryItem
from cryodl_plugin.viewers.slices.model import TomogramEntry
from cryodl_plugin.viewers.slices.points import Points

_BOX_OF_NEW_POINTS_ANGSTROM = 200.0
_BOX_WHERE_NONE_IS_KNOWN_PX = 20


def entriesOf(tomograms):
    """Return the tomograms of a set.

    Raises
    ------
    TypeError
        Coordinates may lie in tilt series, which have no slices.
    """
    if tomograms is None:
        return []
    if not isinstance(tomograms, SetOfTomograms):
        raise TypeError(
            f"The points refer to a {tomograms.getClassName()}; slices can be shown of tomograms."
        )
    if isinstance(tomograms, SetOfTomoMasks):
        return _maskEntries(tomograms)
    return [
        TomogramEntry(_name(tomogram), tomogram.getFileName(), tomogram.getSamplingRate() or 1.0)
        for tomogram in tomograms.iterItems()
    ]


def _maskEntries(masks):
    """Return the tomograms that masks were made of, with the masks over them."""
    found = {}
    for mask in masks.iterItems():
        sampling, label = mask.getSamplingRate() or 1.0, _maskLabel(masks)
        under = mask.getVolName()
        name = _name(mask)
        if not under or not os.path.exists(under):
            # Without its tomogram a mask can still be looked at by itself.
            found.setdefault(name, TomogramEntry(name, mask.getFileName(), sampling))
            continue
        entry = found.setdefault(name, TomogramEntry(name, under, sampling))
        entry.overlays[label if label not in entry.overlays else str(mask.getObjId())] = (
            mask.getFileName()
        )
    return list(found.values())


def addOverlays(entries, masks):
    """Put the masks or score maps of a set over the tomograms of the same name."""
    files = {_name(mask): mask.getFileName() for mask in masks.iterItems()}
    for entry in entries:
        if entry.tsId in files:
            entry.overlays[_maskLabel(masks)] = files[entry.tsId]


def _maskLabel(masks):
    return masks.getObjLabel() or masks.getLastName() or "mask"


def _name(tomogram):
    return tomogram.getTsId() or tomogramId(tomogram.getFileName())


def pointsOf(coordinates):
    """Return the points of a set of coordinates, counted from the middle of the first voxel."""
    return _points(coordinates.iterItems(), coordinates, lambda item: item)


def subtomogramPoints(subtomograms):
    """Return where subtomograms were taken, with their classes."""
    coordinates = subtomograms.getCoordinates3D()
    return _points(subtomograms.iterItems(), coordinates, lambda item: item.getCoordinate3D())


def _points(items, coordinates, coordinateOf):
    offsets = firstVoxels(coordinates)
    rows = []
    for item in items:
        coordinate = coordinateOf(item)
        if coordinate is None or not item.isEnabled():
            continue
        tsId, score = coordinate.getTomoId(), coordinate.getScore()
        rows.append(
            (
                item.getObjId(),
                tsId,
                np.array(coordinate.getPosition(SCIPION)) + offsets(tsId),
                np.nan if score is None else score,
                coordinate.getGroupId() or 0,
                (item.getClassId() or 0) if hasattr(item, "getClassId") else 0,
            )
        )
    columns = list(zip(*rows)) or [()] * 6
    return Points(
        boxSize=coordinates.getBoxSize() or _BOX_WHERE_NONE_IS_KNOWN_PX,
        sampling=coordinates.getSamplingRate() or 1.0,
        ids=columns[0],
        tsIds=np.array(columns[1], object),
        xyz=np.array(columns[2], float).reshape(-1, 3),
        scores=columns[3],
        groups=columns[4],
        classes=columns[5],
    )


def firstVoxels(coordinates):
    """Return a function: tsId -> what to add to stored positions to count from the first voxel.

    The result is in voxels of the coordinates, which need not be those of their tomograms; no
    offset where the tomogram is missing.
    """
    places = Places(coordinates.getPrecedents(), coordinates.getSamplingRate())

    def offset(tsId):
        return places.offset(tsId) if tsId in places.tomograms else np.zeros(3)

    return offset


def emptyPoints(entries):
    """Return no points, with a box that suits the tomograms, to begin picking by hand."""
    sampling = entries[0].sampling if entries else 1.0
    return Points(boxSize=max(4, round(_BOX_OF_NEW_POINTS_ANGSTROM / sampling)), sampling=sampling)


def galleryItems(subtomograms):
    """Return the items of a set of volumes for the gallery."""
    found = []
    for item in subtomograms.iterItems():
        index, name = item.getLocation()
        found.append(
            GalleryItem(
                item.getObjId(),
                f"{index}@{name}" if index else name,
                str(item.getObjId()),
                _scoreOf(item),
                item.getClassId() or 0,
            )
        )
    return found


def _scoreOf(item):
    coordinate = item.getCoordinate3D() if hasattr(item, "getCoordinate3D") else None
    score = coordinate.getScore() if coordinate is not None else None
    return np.nan if score is None else float(score)


def companions(protocol, kind):
    """Return the outputs of a protocol that are of a kind, for showing what belongs together."""
    if protocol is None:
        return []
    return [out for _, out in protocol.iterOutputAttributes() if isinstance(out, kind)]


def coordinatesFor(protocol, entries):
    """Return points of the same run that lie in these tomograms, and their set, or nothing."""
    names = {entry.tsId for entry in entries}
    for coordinates in companions(protocol, SetOfCoordinates3D):
        points = pointsOf(coordinates)
        if names & set(points.tsIds):
            return points, coordinates
    return None, None
