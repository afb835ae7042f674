"""What the slice viewer shows, without any window: tomogram, place, slab, contrast, points."""

from dataclasses import dataclass, field

import numpy as np

from cryodl_plugin.viewers.slices.points import Points
from cryodl_plugin.viewers.slices.source import SourceError, VolumeSource

COLOR_PLAIN, COLOR_SCORE, COLOR_GROUP, COLOR_CLASS = "one colour", "score", "group", "class"
_FAINTEST = 0.15
_OPEN_AT_ONCE = 4
_MOST_ZOOM = 40.0


@dataclass
class TomogramEntry:
    """A tomogram on disk, with what lies over it.

    Parameters
    ----------
    tsId : str
        Its name.
    fileName : str
        The volume shown in grey.
    sampling : float
        Voxel size in Angstrom.
    overlays : dict
        Name -> file of a mask or score map of the same extent, at any sampling.
    """

    tsId: str
    fileName: str
    sampling: float = 1.0
    overlays: dict = field(default_factory=dict)


class SliceModel:
    """State of the viewer.

    Parameters
    ----------
    entries : list of TomogramEntry
        At least one for anything to be shown.
    points : Points, optional
        Points of all tomograms.
    """

    def __init__(self, entries, points=None):
        self.entries = list(entries)
        self.points = Points() if points is None else points
        self.position = np.zeros(3, int)
        self.thickness = 1
        self.percentiles = [0.5, 99.5]
        self.inverted = False
        self.overlayName = None
        self.opacity = 0.4
        self.colorBy = COLOR_SCORE if self.points.hasScores() else COLOR_PLAIN
        self.showPoints = True
        self.zoom = 1.0
        self.center = np.zeros(3)
        self.problem = ""
        self.dirty = False
        self.entry = None
        self.source = None
        self._open = {}
        if self.entries:
            self.choose(self.firstWithPoints())
        else:
            self.problem = "The set is empty: there is no tomogram to show."

    def firstWithPoints(self):
        """Return the first tomogram that has points, or the very first."""
        held = set(self.points.tsIds)
        return next((e.tsId for e in self.entries if e.tsId in held), self.entries[0].tsId)

    # --- tomogram --------------------------------------------------------------------------

    def choose(self, tsId):
        """Show another tomogram, in its middle; `problem` says why it cannot be shown."""
        self.entry = next(e for e in self.entries if e.tsId == tsId)
        self.problem, self.source = "", None
        try:
            self.source = self._source(self.entry.fileName)
        except SourceError as error:
            self.problem = str(error)
            return
        self.resetView()
        nz, ny, nx = self.source.shape
        self.position = np.array([nx // 2, ny // 2, nz // 2])
        shown = self.points.shown(tsId)
        if len(shown):
            # The middle slice of a thick tomogram is often empty: start where points are.
            z = self.points.xyz[shown, 2] * self.scale()
            self.moveTo(z=float(np.median(z)))
        if self.overlayName not in self.entry.overlays:
            self.overlayName = next(iter(self.entry.overlays), None)

    def _source(self, fileName):
        if fileName not in self._open:
            while len(self._open) >= _OPEN_AT_ONCE:
                self._open.pop(next(iter(self._open)))
            self._open[fileName] = VolumeSource.open(fileName)
        return self._open[fileName]

    def scale(self):
        """Return voxels of this tomogram per voxel of the points."""
        return self.points.sampling / self.entry.sampling if self.entry else 1.0

    def size(self):
        """Return the tomogram's size (x, y, z) in voxels; ones where there is none."""
        return np.array(self.source.shape[::-1] if self.source else (1, 1, 1))

    # --- place -----------------------------------------------------------------------------

    def moveTo(self, **places):
        """Set the crosshair, by any of x, y, z in voxels; it stays inside the tomogram."""
        for name, place in places.items():
            axis = "xyz".index(name)
            self.position[axis] = min(max(round(place), 0), self.size()[axis] - 1)

    def step(self, slices):
        """Move through z."""
        self.moveTo(z=self.position[2] + slices)

    def setThickness(self, thickness):
        """Set how many slices are averaged."""
        self.thickness = min(max(round(float(thickness)), 1), max(int(self.size()[2]), 1))

    def resetView(self):
        """Show the whole tomogram."""
        self.zoom = 1.0
        self.center = (self.size() - 1) / 2

    def zoomBy(self, factor, about=None):
        """Magnify about a place (x, y, z), which stays where it is on the screen."""
        old = self.zoom
        self.zoom = min(max(old * factor, 1.0), _MOST_ZOOM)
        if about is not None:
            about = np.asarray(about, float)
            self.center = about + (self.center - about) * old / self.zoom
        self._keepInside()

    def pan(self, shift):
        """Move what is seen by a vector (x, y, z) in voxels."""
        self.center = self.center + np.asarray(shift, float)
        self._keepInside()

    def _keepInside(self):
        half = self.size() / (2 * self.zoom)
        middle = (self.size() - 1) / 2
        room = np.maximum(self.size() / 2 - half, 0)
        self.center = np.clip(self.center, middle - room, middle + room)

    def limits(self, axis):
        """Return (low, high) of what is seen along 0 x, 1 y, 2 z, in voxels."""
        half = self.size()[axis] / (2 * self.zoom)
        return self.center[axis] - half, self.center[axis] + half

    # --- images ----------------------------------------------------------------------------

    def image(self, axis, most=1024):
        """Return the slice across an array axis (0 z, 1 y, 2 x) through the crosshair, and extent.

        A slab is averaged across z only: the side views keep their sharpness.
        """
        thickness = self.thickness if axis == 0 else 1
        place = self.position[2 - axis]
        return self.source.plane(axis, place, thickness, self._window(axis), most)

    def overlay(self, axis, most=1024):
        """Return the same slice of the mask or score map, or None where there is none.

        Raises
        ------
        SourceError
            The file cannot be read.
        """
        if not self.overlayName or self.opacity <= 0:
            return None
        over = self._source(self.entry.overlays[self.overlayName])
        ratio = np.array(over.shape) / np.array(self.source.shape)
        window = self._window(axis)
        ratios = [r for i, r in enumerate(ratio) if i != axis]
        window = [
            (int(np.floor(low * r)), int(np.ceil(high * r)))
            for (low, high), r in zip(window, ratios)
        ]
        place = (self.position[2 - axis] + 0.5) * ratio[axis] - 0.5
        thickness = max(1, round(self.thickness * ratio[axis])) if axis == 0 else 1
        image, extent = over.plane(axis, place, thickness, window, most)
        rows, columns = ratios
        factors = (1 / columns, 1 / columns, 1 / rows, 1 / rows)
        return image, tuple((e + 0.5) * f - 0.5 for e, f in zip(extent, factors))

    def overlayRange(self):
        """Return the values of the mask or score map that get no colour and the full colour."""
        over = self._source(self.entry.overlays[self.overlayName])
        low, high = over.range()
        if over.data.dtype.kind == "f" and high > low:
            low, high = over.contrast(1, 99.9)
        return low, high

    def _window(self, axis):
        kept = [i for i in (2, 1, 0) if i != 2 - axis]
        return [
            (int(np.floor(low + 0.5)), int(np.ceil(high + 0.5)))
            for low, high in (self.limits(i) for i in kept)
        ]

    def contrast(self):
        """Return the values shown as black and as white."""
        low, high = self.source.contrast(*self.percentiles)
        return (high, low) if self.inverted else (low, high)

    def setPercentiles(self, low, high):
        """Set the percentiles shown as black and white; they cannot cross."""
        low = min(max(float(low), 0.0), 99.0)
        self.percentiles = [low, min(max(float(high), low + 0.5), 100.0)]

    # --- points ----------------------------------------------------------------------------

    def boxSize(self):
        """Return the diameter of the circles in voxels of this tomogram."""
        return max(self.points.boxSize * self.scale(), 2.0)

    def visible(self, axis):
        """Return the points seen in the slice across an array axis.

        Returns
        -------
        numbers : (n,) int
            Which points.
        xyz : (n, 3)
            Where, in voxels of this tomogram.
        strength : (n,)
            1 in the slice, falling to the faintest at half a box from it.
        """
        numbers = self.points.shown(self.entry.tsId) if self.showPoints else np.zeros(0, int)
        xyz = self.points.xyz[numbers] * self.scale()
        across = 2 - axis
        reach = self.boxSize() / 2 + (self.thickness / 2 if axis == 0 else 0)
        distance = np.abs(xyz[:, across] - self.position[across])
        seen = distance <= reach
        strength = 1 - (1 - _FAINTEST) * distance[seen] / max(reach, 1e-6)
        return numbers[seen], xyz[seen], strength

    def colorValues(self, numbers):
        """Return the value of each point that its colour stands for, or None for one colour."""
        name = {COLOR_SCORE: "scores", COLOR_GROUP: "groups", COLOR_CLASS: "classes"}
        return getattr(self.points, name[self.colorBy])[numbers] if self.colorBy in name else None

    def colorChoices(self):
        """Return by what the points can be coloured: only what tells them apart."""
        choices = [COLOR_PLAIN]
        if self.points.hasScores():
            choices.append(COLOR_SCORE)
        if len(set(self.points.groups)) > 1:
            choices.append(COLOR_GROUP)
        if len(set(self.points.classes)) > 1:
            choices.append(COLOR_CLASS)
        return choices

    def counts(self):
        """Return how many points are shown in this tomogram, in all, and how many there are."""
        here = len(self.points.shown(self.entry.tsId)) if self.entry else 0
        return here, len(self.points.shown()), int(self.points.alive.sum())

    def setThreshold(self, value):
        """Hide points with a lower score; None shows all."""
        if value is not None and value <= self.points.scoreRange()[0]:
            value = None
        if value != self.points.threshold:
            self.points.threshold = value
            self.dirty = True

    def addPoint(self, xyz):
        """Add a point at (x, y, z) of this tomogram; False outside of it."""
        place = np.asarray(xyz, float)
        if self.source is None or (place < -0.5).any() or (place > self.size() - 0.5).any():
            return False
        self.points.add(self.entry.tsId, place / self.scale())
        self.dirty = True
        return True

    def removePoint(self, xyz):
        """Remove the shown point nearest to (x, y, z) within a box; False where none is near."""
        if self.entry is None:
            return False
        number = self.points.near(self.entry.tsId, xyz, self.scale(), self.boxSize() * 0.75)
        if number is None:
            return False
        self.points.remove(number)
        self.dirty = True
        return True

    def undo(self):
        """Take the last addition or removal back, and show the tomogram it happened in."""
        tsId = self.points.undo()
        if tsId is None:
            return False
        if tsId != self.entry.tsId:
            self.choose(tsId)
        return True
