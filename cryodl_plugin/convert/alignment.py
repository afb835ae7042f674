"""Poses, rounds and curves of SelfAlign as the plugin's own tables and arrays."""

import csv
import json
import os

import numpy as np
from pyworkflow.object import String

from cryodl_plugin.convert import tomography
from cryodl_plugin.convert.tomography.star_files import EMPTY

SCORE = "cdlPoseScore"
"""Name of the score in subtomograms: ``cdlScore`` is that of coordinates."""

COLUMNS = {
    "score": f"_cryodl{SCORE[3:]}",
    "margin": "_cryodlScoreMargin",
    "confidence": "_cryodlConfidence",
    "spread": "_cryodlPoseSpread",
}
_NUMBERS = (SCORE, "cdlScoreMargin", "cdlConfidence", "cdlPoseSpread")
_SET = "_cryodlOptimisationSet"
_TOMOGRAMS = "rlnTomoTomogramsFile"
_SET_FILE = "optimisation_set.star"


def hasTilts(particles):
    """Tell whether the items are stacks of tilt images whose tilts are known."""
    path = _optimisationSet(particles)
    return bool(path) and hasattr(particles.getFirstItem(), "_rlnTomoVisibleFrames")


def writeOptimisationSet(particles, folder):
    """Put a file beside ``particles.star`` that names it and the tilt series of its stacks."""
    if not hasTilts(particles):
        return
    source = _optimisationSet(particles)
    (row,) = tomography.readStar(source)[""]
    place = row[_TOMOGRAMS]
    beside = os.path.join(os.path.dirname(source), place)
    tomograms = os.path.abspath(place if os.path.exists(place) else beside)
    own = os.path.abspath(os.path.join(folder, "particles.star"))
    blocks = {"": [{"rlnTomoParticlesFile": own, _TOMOGRAMS: tomograms}]}
    tomography.writeStar(os.path.join(folder, _SET_FILE), blocks)


def particleFile(particles, folder):
    """Return the file that the engine is to read."""
    return os.path.join(folder, _SET_FILE if hasTilts(particles) else "particles.star")


def keepOptimisationSet(source, output):
    """Give a set the tilt series of another."""
    path = _optimisationSet(source)
    if path:
        setattr(output, _SET, String(path))


def readAligned(path):
    """Return the particles of the engine, their scores under a name that items can have."""
    table = tomography.readParticles(path)
    for row in table.rows:
        if "cdlScore" in row:
            row[SCORE] = row["cdlScore"]
        for label in _NUMBERS:
            if row.get(label, EMPTY) != EMPTY:
                # Whole numbers would make a column of integers, which the next run may not fit.
                row[label] = str(float(row[label]))
    return table


def poseValues(items):
    """Return name -> array of what is known of the poses of items, as far as they have it."""
    found = {}
    for item in items:
        for name, attribute in COLUMNS.items():
            if hasattr(item, attribute):
                value = getattr(item, attribute).get()
                found.setdefault(name, []).append(np.nan if value is None else float(value))
    return {name: np.array(values) for name, values in found.items()}


def readFscTable(path):
    """Return label -> (frequency in 1/Å, values) of an engine's table of curves."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    angstrom = np.array([float(row["resolution_angstrom"]) for row in rows])
    frequency = np.where(np.isfinite(angstrom), 1 / angstrom, 0.0)
    names = ("corrected", "masked", "unmasked", "randomised")
    return {name: (frequency, np.array([float(row[name]) for row in rows])) for name in names}


def roundFolders(folder):
    """Return number -> folder of the rounds that are complete, in order."""
    try:
        names = sorted(os.listdir(os.path.join(folder, "rounds")))
    except OSError:
        return {}
    places = {name: os.path.join(folder, "rounds", name) for name in names}
    return {
        int(name.removeprefix("round")): place
        for name, place in places.items()
        if os.path.isfile(os.path.join(place, "round.json"))
    }


def readRound(place, names):
    """Return some arrays of a round, and its resolution in Å."""
    with np.load(os.path.join(place, "state.npz"), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in names}
    with open(os.path.join(place, "round.json"), encoding="utf-8") as file:
        arrays["resolution"] = json.load(file)["resolution_angstrom"]
    return arrays


def anglesBetween(first, second):
    """Return the angles in degrees between rotations (n, 3, 3)."""
    trace = np.einsum("nij,nij->n", np.asarray(first), np.asarray(second))
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def _optimisationSet(particles):
    attribute = getattr(particles, _SET, None)
    path = attribute.get() if attribute is not None else None
    return path if path and os.path.exists(path) else None
