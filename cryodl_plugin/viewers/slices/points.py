"""Points of all tomograms of a set: which there are, which are shown, and what was done to them."""

import csv
import os
from dataclasses import dataclass, field

import numpy as np

ADDED = 0
"""The identifier of a point that was added by hand: items of a Scipion set count from 1."""
CANDIDATE = -1
"""The identifier of a point that is not in the set yet, but has a score: saved if it is shown."""

_EMPTY = np.zeros(0)
_HEADER = ("tomogram", "x", "y", "z", "score", "group", "class")


@dataclass
class Points:
    """Points in voxels of the tomogram they lie in, counted from the middle of its first voxel.

    Parameters
    ----------
    boxSize : float
        Diameter of the circles, in voxels of `sampling`.
    sampling : float
        Voxel size in Angstrom that positions and box refer to.
    """

    boxSize: float = 20.0
    sampling: float = 1.0
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    tsIds: np.ndarray = field(default_factory=lambda: np.zeros(0, object))
    xyz: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    scores: np.ndarray = field(default_factory=lambda: _EMPTY)
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self):
        n = len(self.xyz)
        self.xyz = np.asarray(self.xyz, float).reshape(-1, 3)
        self.ids = _filled(self.ids, n, 1, np.int64) if len(self.ids) else np.arange(1, n + 1)
        self.tsIds = _filled(self.tsIds, n, "", object)
        self.scores = _filled(self.scores, n, np.nan, float)
        self.groups = _filled(self.groups, n, 0, np.int64)
        self.classes = _filled(self.classes, n, 0, np.int64)
        self.alive = np.ones(n, bool)
        self.threshold = None
        self._done = []

    def __len__(self):
        return len(self.xyz)

    # --- what is shown ---------------------------------------------------------------------

    def hasScores(self):
        """Tell whether there is anything that a threshold could part."""
        known = self.scores[np.isfinite(self.scores)]
        return len(known) > 1 and known.min() < known.max()

    def scoreRange(self):
        """Return the lowest and highest score of the points that were there at first."""
        known = self.scores[np.isfinite(self.scores)]
        return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)

    def shown(self, tsId=None):
        """Return the numbers of the points that are neither removed nor below the threshold.

        Points added by hand have no score and stay at any threshold.
        """
        keep = self.alive.copy()
        if self.threshold is not None:
            keep &= ~(self.scores < self.threshold)
        if tsId is not None:
            keep &= self.tsIds == tsId
        return np.flatnonzero(keep)

    def near(self, tsId, xyz, scale=1.0, within=None):
        """Return the number of the shown point nearest to a place, or None where none is near.

        `scale` leads from the voxels of the points to those of `xyz`, `within` counts in the
        latter.
        """
        shown = self.shown(tsId)
        if not len(shown):
            return None
        distance = np.linalg.norm(self.xyz[shown] * scale - np.asarray(xyz, float), axis=1)
        best = int(np.argmin(distance))
        return None if within is not None and distance[best] > within else int(shown[best])

    # --- what is done ----------------------------------------------------------------------

    def add(self, tsId, xyz, group=0):
        """Add a point; returns its number."""
        self.xyz = np.vstack([self.xyz, np.asarray(xyz, float)])
        self.ids = np.append(self.ids, ADDED)
        self.tsIds = np.append(self.tsIds, np.array([tsId], object))
        self.scores = np.append(self.scores, np.nan)
        self.groups = np.append(self.groups, group)
        self.classes = np.append(self.classes, 0)
        self.alive = np.append(self.alive, True)
        self._done.append(("add", len(self) - 1))
        return len(self) - 1

    def remove(self, number):
        """Remove a point."""
        if self.alive[number]:
            self.alive[number] = False
            self._done.append(("remove", number))

    def undo(self):
        """Take the last addition or removal back; returns the point's tomogram, or None."""
        if not self._done:
            return None
        action, number = self._done.pop()
        tsId = self.tsIds[number]
        if action == "remove":
            self.alive[number] = True
        else:
            # Nothing that is left was added later, so this point is the last one.
            for name in ("ids", "tsIds", "xyz", "scores", "groups", "classes", "alive"):
                setattr(self, name, getattr(self, name)[:number])
        return tsId

    def canUndo(self):
        """Tell whether there is anything to take back."""
        return bool(self._done)

    # --- what leaves -----------------------------------------------------------------------

    def changes(self):
        """Return what turns the set that was read into the one on the screen, for JSON.

        Points of the set are named by their identifiers, which a sub-set keeps; never by order.
        """
        hand = [i for i in np.flatnonzero(self.alive) if self.ids[i] == ADDED]
        hand += [i for i in self.shown() if self.ids[i] == CANDIDATE]
        return {
            "sampling": float(self.sampling),
            "box_size": float(self.boxSize),
            "threshold": None if self.threshold is None else float(self.threshold),
            "removed": [int(i) for i in self.ids[~self.alive] if i > ADDED],
            "added": [
                {
                    "tomogram": str(self.tsIds[i]),
                    "xyz": [float(v) for v in self.xyz[i]],
                    "group": int(self.groups[i]),
                    "score": float(np.nan_to_num(self.scores[i])),
                }
                for i in hand
            ],
        }

    def export(self, path, tsId=None):
        """Write the shown points as text; returns how many.

        A name ending in ``.csv`` gets the points of all tomograms with all that is known, any
        other x, y, z of one tomogram, as most programs read it.
        """
        every = path.lower().endswith(".csv")
        rows = self.shown(None if every else tsId)
        temporary = f"{path}.tmp"
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            if every:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(_HEADER)
                for i in rows:
                    score = "" if np.isnan(self.scores[i]) else f"{self.scores[i]:.6g}"
                    place = [f"{v:.2f}" for v in self.xyz[i]]
                    writer.writerow([self.tsIds[i], *place, score, self.groups[i], self.classes[i]])
            else:
                file.writelines("{:.2f} {:.2f} {:.2f}\n".format(*self.xyz[i]) for i in rows)
        os.replace(temporary, path)
        return len(rows)


def _filled(values, n, default, kind):
    values = np.asarray(values, kind)
    return values if len(values) == n else np.full(n, default, kind)
