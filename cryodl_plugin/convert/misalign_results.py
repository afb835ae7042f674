"""What a RELION refinement with misalignment correction has left in its folder so far.

Everything here reads while RELION still runs: files that are missing or half written are skipped.
"""

import csv
import os
import re
from collections import namedtuple

import numpy as np

from cryodl_plugin.convert.particles_spa import starRows

LOG_NAME = "spisonet_log.csv"
ROOT = "run"
Iteration = namedtuple(
    "Iteration",
    "number resolution healpixOrder accuracyDegrees accuracyAngstrom changeDegrees changeAngstrom "
    "action reason fscResolution seconds",
)
"""A row of the table: RELION's numbers of an iteration, then what the network did in it.

``resolution`` is RELION's own, ``fscResolution`` that of FSC 0.143 which the gate looks at; both in
Å. ``action`` is empty where the log has no row. Numbers that are not there are None.
"""

_OPTIMISER = re.compile(rf"^{ROOT}(?:_ct\d+)?_it(\d+)_optimiser\.star$")
_OF_AN_ITERATION = (
    "optimiser.star",
    "sampling.star",
    "data.star",
    "half1_model.star",
    "half2_model.star",
    "half1_class001.mrc",
    "half2_class001.mrc",
)
_FINAL = ("data.star", "model.star", "class001.mrc", "half1_class001_unfil.mrc")
_FIRST_ANGSTROM = 999.0  # what RELION writes where there is no resolution


def isComplete(path):
    """Tell whether a file of RELION's was written to its end, as far as can be seen."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return not path.endswith(".star") or file.read(1) == b"\n"
    except OSError:
        return False


def iterationFile(folder, number, name):
    """Return the path of a file of an iteration, ``run_it005_data.star``."""
    return os.path.join(folder, f"{ROOT}_it{number:03d}_{name}")


def finalFile(folder, name):
    """Return the path of a file of the final map, ``run_data.star``."""
    return os.path.join(folder, f"{ROOT}_{name}")


def completeIterations(folder):
    """Return the numbers of the iterations from which RELION could go on, the last one last."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    numbers = sorted({int(m.group(1)) for m in map(_OPTIMISER.match, names) if m})
    return [
        number
        for number in numbers
        if all(isComplete(iterationFile(folder, number, name)) for name in _OF_AN_ITERATION)
    ]


def isFinished(folder):
    """Tell whether the final map of all particles is there."""
    return all(isComplete(finalFile(folder, name)) for name in _FINAL)


def dataFile(folder):
    """Return the newest particles with poses: the final ones or of the last iteration, or None."""
    if isFinished(folder):
        return finalFile(folder, "data.star")
    done = completeIterations(folder)
    return iterationFile(folder, done[-1], "data.star") if done else None


def readIterations(folder):
    """Return the table of iterations, from the first on."""
    log = readLog(os.path.join(folder, LOG_NAME))
    return [_iteration(folder, n, log.get(n, [])) for n in completeIterations(folder) if n > 0]


def _iteration(folder, number, rows):
    model = iterationFile(folder, number, "half1_model.star")
    general, classes = _first(model, "model_general"), _first(model, "model_classes")
    optimiser = _first(iterationFile(folder, number, "optimiser.star"), "optimiser_general")
    sampling = _first(iterationFile(folder, number, "sampling.star"), "sampling_general")
    order = _number(sampling, "rlnHealpixOrder")
    row = next((r for r in rows if r.get("half") == "1"), rows[0] if rows else {})
    return Iteration(
        number,
        _number(general, "rlnCurrentResolution"),
        None if order is None else int(order),
        _number(classes, "rlnAccuracyRotations"),
        _number(classes, "rlnAccuracyTranslationsAngst"),
        _number(optimiser, "rlnChangesOptimalOrientations"),
        _number(optimiser, "rlnChangesOptimalOffsets"),
        row.get("action", ""),
        row.get("reason", ""),
        float(row["resolution_0143"]) if row.get("resolution_0143") else None,
        sum(float(r.get("seconds") or 0) for r in rows[-2:]) / max(len(rows[-2:]), 1),
    )


def _first(path, table):
    try:
        return next(starRows(path, table), None)
    except Exception:  # emtable knows no kind of its own for a table that is not there
        return None


def _number(row, name):
    try:
        value = float(row.get(name))
    except (AttributeError, TypeError, ValueError):
        return None
    return value if abs(value) < _FIRST_ANGSTROM else None


def readLog(path):
    """Return the rows of ``spisonet_log.csv`` by iteration; the newest call of a half counts."""
    newest = {}
    for row in logRows(path):
        if row["iteration"].isdigit():
            newest[int(row["iteration"]), row["half"]] = row
    log = {}
    for (number, _), row in sorted(newest.items()):
        log.setdefault(number, []).append(row)
    return log


def logRows(path):
    """Return all rows of ``spisonet_log.csv``, in the order they were written."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row.get("action")]
    except OSError:
        return []


def writeIterations(folder, path):
    """Write the table of iterations as CSV."""
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Iteration._fields)
        writer.writerows(readIterations(folder))
    os.replace(temporary, path)


def readFsc(path):
    """Return frequencies in 1/Å and the FSC of a ``_model.star``."""
    rows = list(starRows(path, "model_class_1"))
    frequency = np.array([float(row.rlnResolution) for row in rows])
    return frequency, np.array([float(row.rlnGoldStandardFsc) for row in rows])


def readFscCurves(folder, most=6):
    """Return FSC curves by label: some of the iterations, evenly spread, and the final one."""
    numbers = [n for n in completeIterations(folder) if n > 0]
    if len(numbers) > most - 1:
        chosen = np.unique(np.linspace(0, len(numbers) - 1, most - 1).round().astype(int))
        numbers = [numbers[i] for i in chosen]
    curves = {
        f"iteration {n}": readFsc(iterationFile(folder, n, "half1_model.star")) for n in numbers
    }
    if isFinished(folder):
        curves["final"] = readFsc(finalFile(folder, "model.star"))
    return curves


def readDirections(path):
    """Return rot, tilt in degrees of all particles of a ``_data.star``, ``(n, 2)``."""
    return np.array(
        [[float(row.rlnAngleRot), float(row.rlnAngleTilt)] for row in starRows(path, "particles")]
    ).reshape(-1, 2)


def readWeights(folder):
    """Return the files of the directional weights of the iterations: number -> path."""
    found = {}
    for number in completeIterations(folder):
        path = iterationFile(folder, number, os.path.join("spisonet", "weight.mrc"))
        if os.path.exists(path):
            found[number] = path
    return found


def sphericityOf(directions, radii):
    """Return how near a surface is to a sphere: 1 for a sphere, less otherwise.

    The area of the sphere of the surface's volume over the area of the surface (Wadell 1935,
    Journal of Geology 43, 250), relative to the same mesh with all radii equal, as in the engine.

    Parameters
    ----------
    directions : numpy.ndarray
        ``(d, 3)`` unit vectors over half a sphere; the surface is the same on the other side.
    radii : numpy.ndarray
        ``(d,)`` distance of the surface from the middle in each direction.
    """
    from scipy.spatial import ConvexHull

    unit = np.concatenate([directions, -directions])
    triangles = ConvexHull(unit).simplices
    surface = unit * np.concatenate([radii, radii])[:, None]
    return float(_compactness(surface[triangles]) / _compactness(unit[triangles]))


def _compactness(corners):
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    volume = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c))).sum() / 6
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
