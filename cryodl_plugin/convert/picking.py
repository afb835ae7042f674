"""Labels for the picker, what a trained picker says of itself, and maxima of its heat maps."""

import json
import os
import struct

import numpy as np

from cryodl_plugin.convert.maps import mapDimensions, readMap
from cryodl_plugin.convert.tomography import coordinateRows, tomogramsById, writeStar

POSITION = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
KIND = "cdlKind"
_KIND_PREFIX = "group_"
_HEADER_KEY = "cryodl"
_MOST_HEADER_BYTES = 50_000_000
_FLOOR = 0.05


class ModelError(ValueError):
    """A network file cannot be used; one line says why."""


def readModelDescription(path):
    """Return what a network file says of itself, from its header; the weights are not read.

    Raises
    ------
    ModelError
        No such file, or not one of the engine's.
    """
    name = os.path.basename(str(path))
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MOST_HEADER_BYTES, os.path.getsize(path)):
                raise ValueError("its header is cut off")
            header = json.loads(file.read(length).decode("utf-8"))
        found = json.loads(header["__metadata__"][_HEADER_KEY])
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise ModelError(
            f"{name}: found no network of cryodl ({error}), expected a .safetensors file that "
            "cryodl wrote; choose another file"
        ) from None
    if not isinstance(found, dict):
        raise ModelError(
            f"{name}: found a header without a description, expected a .safetensors file that "
            "cryodl wrote; choose another file"
        )
    return found


def kindName(group):
    """Return the engine's name for the particles of a group."""
    return f"{_KIND_PREFIX}{int(group)}"


def groupOf(kind, kinds):
    """Return the group number of a kind: its own, or its place among the kinds from 1."""
    number = str(kind).removeprefix(_KIND_PREFIX)
    if number.isdigit():
        return int(number)
    return list(kinds).index(kind) + 1 if kind in kinds else 0


def writeLabels(coordinates, path, samplingRate, only, byGroup=False):
    """Write labelled points as a STAR file in voxels of the tomograms; return how many.

    Nothing but places and kinds goes out: other columns could be taken for kinds.

    Parameters
    ----------
    coordinates : SetOfCoordinates3D
        The labels.
    path : str
        Of the file.
    samplingRate : float
        Of the tomograms to train on, Å.
    only : collection of str
        Ids of these tomograms.
    byGroup : bool
        Groups are kinds of particles.
    """
    rows = []
    for row in coordinateRows(coordinates, coordinates.getSamplingRate() / samplingRate, only):
        kept = {"rlnTomoName": row["rlnTomoName"], **{name: row[name] for name in POSITION}}
        if byGroup:
            kept[KIND] = kindName(row["cdlGroupId"])
        rows.append({**kept, "rlnOpticsGroup": 1})
    optics = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnMicrographOriginalPixelSize": float(samplingRate),
        "rlnTomoTiltSeriesPixelSize": float(samplingRate),
    }
    writeStar(path, {"optics": [optics], "particles": rows})
    return len(rows)


def pointsOutside(coordinates, tomograms):
    """Return, by tomogram, how many points lie outside of it, and its size; none where all fit.

    Parameters
    ----------
    coordinates : SetOfCoordinates3D
        Of any sampling.
    tomograms : SetOfTomograms
        Those that are to be used.

    Returns
    -------
    dict
        tsId -> (number outside, number in all, (x, y, z) size in voxels).
    """
    known = tomogramsById(tomograms)
    factor = coordinates.getSamplingRate() / tomograms.getSamplingRate()
    places = {}
    for row in coordinateRows(coordinates, factor, set(known)):
        places.setdefault(row["rlnTomoName"], []).append([row[name] for name in POSITION])
    found = {}
    for tsId, xyz in places.items():
        size = mapDimensions(known[tsId].getFileName())
        if size is None:
            continue
        xyz = np.array(xyz)
        outside = ((xyz < -0.5) | (xyz > np.array(size) - 0.5)).any(axis=1)
        if outside.any():
            found[tsId] = (int(outside.sum()), len(xyz), size)
    return found


def heatMapMaxima(fileName, distance, floor=_FLOOR):
    """Return places (n, 3; x, y, z) and scores of the maxima of a heat map, best first.

    Parameters
    ----------
    fileName : str
        The heat map.
    distance : float
        Of two maxima nearer than this, in its voxels, the lower goes.
    floor : float
        Lowest score.
    """
    from scipy.ndimage import maximum_filter
    from scipy.spatial import cKDTree

    data = readMap(fileName)
    index = np.argwhere((data == maximum_filter(data, 3, mode="nearest")) & (data > floor))
    scores = data[tuple(index.T)]
    order = np.argsort(-scores, kind="stable")
    index, scores = index[order], scores[order]
    kept = np.ones(len(index), bool)
    near = cKDTree(index).query_ball_point(index, distance) if len(index) else []
    for rank, others in enumerate(near):
        if kept[rank]:
            kept[[other for other in others if other > rank]] = False
    return index[kept][:, ::-1].astype(float), scores[kept]
