"""Views of the picker: its training, and its picks over slices."""

import numpy as np

from cryodl_plugin.convert import picking
from cryodl_plugin.protocols import CryoDLProtPickPredict, CryoDLProtPickTrain
from cryodl_plugin.viewers import figures, pick_figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.slices import sets
from cryodl_plugin.viewers.slices.points import CANDIDATE, Points
from cryodl_plugin.viewers.viewer_slices import CryoDLViewerSlices
from cryodl_plugin.viewers.windows import LossView

_DISTANCE_OF_DIAMETER = 0.6
_COLUMNS = ("ids", "tsIds", "xyz", "scores", "groups", "classes")


class TrainingView(LossView):
    """Losses and what the held-out labels say, drawn anew while the window is open."""

    def refresh(self):
        """Read what the engine has written so far and draw it."""
        rows, progress = self.protocol.readMetrics(), self.protocol.readProgress()
        pick_figures.drawTraining(self.figure, rows, progress)


class CryoDLViewerPickTrain(CryoDLViewerBase):
    """The training of a picker, also while it runs, and the labels it learns from."""

    _label = "viewer of picker training"
    _targets = [CryoDLProtPickTrain]
    _rows = {
        "Training": [
            (
                "showTraining",
                "Loss, recall and precision",
                "Losses by epoch, and recall, precision and threshold that the held-out labels "
                "let expect. Works during the run.",
            ),
            (
                "showLabels",
                "Labels on slices",
                "The labelled particles in their tomograms. If the circles do not sit on "
                "particles, the labels are wrong.",
            ),
            REPORT_ROW,
        ]
    }

    def viewTraining(self):
        """Return the curves."""
        return [TrainingView(self.protocol, self.getTkRoot())]

    def viewLabels(self):
        """Return the slices with the labels, scaled to these tomograms."""
        labels = self.protocol.inputCoordinates.get()
        viewer = slicesViewer(self)
        entries = sets.entriesOf(self.protocol.inputTomograms.get())
        return [
            viewer.openSlices(entries, sets.pointsOf(labels), viewer._saver(coordinates=labels))
        ]


class CryoDLViewerPickPredict(CryoDLViewerBase):
    """Picks over slices and scores, with a threshold that can be moved after the run."""

    _label = "viewer of picks"
    _targets = [CryoDLProtPickPredict]
    _rows = {
        "Picks": [
            (
                "showPicks",
                "Picks on slices",
                "Tomograms with score map and picks. The slider of the score starts at the "
                "threshold of the run; lower, more of the maxima appear. *Save as new set* makes "
                "coordinates of what is shown, without computing anything again.",
            ),
            (
                "showScores",
                "Scores",
                "How many maxima of the score maps have which score, and which became picks. A "
                "good threshold is in the gap left of the particles.",
            ),
            REPORT_ROW,
        ]
    }

    def viewPicks(self):
        """Return the slice viewer on picks, score maps, and the maxima below the threshold."""
        prot = self.protocol
        viewer = slicesViewer(self)
        entries = sets.entriesOf(prot.inputTomograms.get())
        chosen, maps = set(prot.chosenIds()), prot.heatMaps()
        entries = [entry for entry in entries if entry.tsId in chosen]
        for entry in entries:
            for kind, path in maps.get(entry.tsId, {}).items():
                entry.overlays[f"score of {kind}" if kind else "score"] = path
        points = pointsWithCandidates(prot)
        made = getattr(prot, "coordinates", None)
        source = {"coordinates": made} if made is not None else {}
        source = source or {"tomograms": prot.inputTomograms.get()}
        return [viewer.openSlices(entries, points, viewer._saver(**source))]

    def viewScores(self):
        """Return the histogram of all maxima."""
        result = self.protocol.readResult()
        figure = figures.newFigure(8, 4.2)
        scores = scoresByKind(self.protocol)
        if not scores:
            return [self.say("The score maps are written at the end of the run.")]
        pick_figures.drawScores(figure, scores, thresholdsOf(self.protocol, result, scores))
        return self.showFigure(figure, "Scores")


def slicesViewer(viewer):
    """Return the viewer of slices, in the place of a protocol viewer."""
    return CryoDLViewerSlices(
        project=viewer._project, protocol=viewer.protocol, parent=viewer.formWindow
    )


def maximaByKind(prot):
    """Return kind -> (tsIds, xyz in voxels of the tomograms, scores) of all maxima."""
    distance = prot.nmsPx.get() or _DISTANCE_OF_DIAMETER * _diameterPx(prot)
    found = {}
    for tsId, maps in prot.heatMaps().items():
        for kind, path in maps.items():
            xyz, scores = picking.heatMapMaxima(path, distance / 2)
            found.setdefault(kind, []).append((np.full(len(xyz), tsId, object), xyz, scores))
    # Voxel i of a map at half the size is in the middle of voxels 2 i and 2 i + 1.
    return {
        kind: (np.concatenate(ids), 2 * np.concatenate(xyz) + 0.5, np.concatenate(scores))
        for kind, (ids, xyz, scores) in ((k, zip(*parts)) for k, parts in found.items())
    }


def scoresByKind(prot):
    """Return kind -> scores of its picks and, below its threshold, of the other maxima."""
    made, kinds = getattr(prot, "coordinates", None), prot._kinds()
    picks = sets.pointsOf(made) if made is not None else Points()
    maxima, found = maximaByKind(prot), {}
    thresholds = thresholdsOf(prot, prot.readResult(), maxima)
    for kind, (_, _, scores) in maxima.items():
        own = picks.scores[picks.groups == groupOfKind(kind, kinds)]
        found[kind] = np.concatenate([own, scores[scores <= thresholds[kind]]])
    return found


def groupOfKind(kind, kinds):
    """Return the group of the picks of a kind; with one kind it has the empty name."""
    return picking.groupOf(kind or (kinds[0] if kinds else ""), kinds)


def _diameterPx(prot):
    try:
        return prot.modelDescription()["bbox_px"]
    except (picking.ModelError, AttributeError, KeyError):
        return prot.coordinates.getBoxSize() if hasattr(prot, "coordinates") else 1


def thresholdsOf(prot, result, kinds):
    """Return kind -> threshold of a run: that of the form, or each kind's own."""
    if prot.outThresh.get() != "auto":
        return dict.fromkeys(kinds, result.get("threshold", 0.5))
    try:
        description = prot.modelDescription()
        own = {
            kind: entry["threshold"]
            for kind, entry in zip(description["kinds"], description["calibration"])
        }
    except (picking.ModelError, AttributeError, KeyError):
        own = {}
    return {kind: own.get(kind, result.get("threshold", 0.5)) for kind in kinds}


def pointsWithCandidates(prot):
    """Return the picks of a run, and below its threshold the maxima that were left out.

    The threshold is set to show the picks alone; a lower one shows more.
    """
    made = getattr(prot, "coordinates", None)
    picks = sets.pointsOf(made) if made is not None else Points()
    tomograms = prot.inputTomograms.get()
    if made is None:
        picks.sampling, picks.boxSize = tomograms.getSamplingRate(), max(_diameterPx(prot), 2)
    columns = {name: [getattr(picks, name)] for name in _COLUMNS}
    maxima = maximaByKind(prot)
    thresholds = thresholdsOf(prot, prot.readResult(), maxima)
    kinds = prot._kinds()
    # One slider serves all kinds: it starts where it shows every pick and nothing else.
    lowest = min(thresholds.values(), default=None)
    for kind, (tsIds, xyz, scores) in maxima.items():
        kept = scores <= lowest
        n = int(kept.sum())
        group = groupOfKind(kind, kinds)
        added = (np.full(n, CANDIDATE), tsIds[kept], xyz[kept], scores[kept])
        for name, values in zip(_COLUMNS, (*added, np.full(n, group), np.zeros(n, int))):
            columns[name].append(values)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    points = Points(boxSize=picks.boxSize, sampling=picks.sampling, **joined)
    points.threshold = lowest
    return points
