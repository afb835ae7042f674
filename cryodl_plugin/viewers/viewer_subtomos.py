"""Views of SelfAlign: poses and scores, averages and curves round by round."""

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert import alignment, tomography
from cryodl_plugin.protocols import (
    CryoDLProtSubtomoAlign,
    CryoDLProtSubtomoRefine,
    CryoDLProtSubtomoTrain,
)
from cryodl_plugin.viewers import particle_figures, subtomo_figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.windows import LossView, SlicesView, chimeraView

_MOST_CURVES = 6
_SCORES = (
    "showScores",
    "Scores and confidence",
    "How well particles fit, how far the next pose is behind, how sure each pose is, and how far "
    "noise may have turned it.",
)
_SPHERE = (
    "showSphere",
    "Directions on the sphere",
    "From where the particles are seen. Bare parts of the sphere are directions that the average "
    "does not know.",
)
_CHANGE = "showChange"


def posesOf(items):
    """Return rotations (n, 3, 3) and shifts (n, 3) of subtomograms by id, as far as they have any.

    Shifts are in px.
    """
    found = {}
    for item in items:
        if item.hasTransform():
            matrix = item.getTransform().getMatrix()
            found[item.getObjId()] = tomography.transformToPose(matrix)
    return found


class CryoDLViewerSubtomoAlign(CryoDLViewerBase):
    """Poses that were found, and what is to be thought of them."""

    _label = "viewer of aligned subtomograms"
    _targets = [CryoDLProtSubtomoAlign]
    _rows = {
        "Poses": [
            _SCORES,
            _SPHERE,
            (_CHANGE, "Change", "How far particles were turned and moved from the poses of the "
             "input."),
            ("showGallery", "Images", "The middle slices of up to 32 subtomograms."),
            REPORT_ROW,
        ]
    }  # fmt: skip

    def viewScores(self):
        """Return histograms of scores."""
        values = alignment.poseValues(self.protocol.subtomograms)
        return self.showFigure(subtomo_figures.scoresFigure(values), "Scores")

    def viewSphere(self):
        """Return the directions."""
        poses = posesOf(self.protocol.subtomograms)
        rotations = np.array([rotation for rotation, _ in poses.values()])
        return self.showFigure(subtomo_figures.directionsFigure(rotations), "Directions")

    def viewChange(self):
        """Return the change against the input."""
        after = posesOf(self.protocol.subtomograms)
        before = posesOf(self.protocol.inputSubTomograms.get())
        both = [key for key in after if key in before]
        if not both:
            return [self.say("The subtomograms of the input have no poses.")]
        angles = alignment.anglesBetween(
            [after[key][0] for key in both], [before[key][0] for key in both]
        )
        shifts = np.linalg.norm([after[key][1] - before[key][1] for key in both], axis=1)
        figure = subtomo_figures.changeFigure(angles, shifts, "Against the poses of the input")
        return self.showFigure(figure, "Change")

    def viewGallery(self):
        """Return slices of the subtomograms."""
        items = [(item.getObjId(), item.getFileName()) for item in self.protocol.subtomograms]
        return self.showFigure(particle_figures.galleryFigure(items, "Subtomograms"), "Images")


class CryoDLViewerSubtomoRefine(CryoDLViewerSubtomoAlign):
    """Averages, curves and poses, also while the run goes on."""

    _label = "viewer of averaged subtomograms"
    _targets = [CryoDLProtSubtomoRefine]
    _rows = {
        "Average": [
            (
                "showProgress",
                "Round by round",
                "Resolution, scores, how far particles were still turned, and with several "
                "classes how many are in each. Works during the run.",
            ),
            (
                "showRounds",
                "Averages of the rounds",
                "Middle slices of the average of each round, unfiltered. Works during the run.",
            ),
            ("showFscs", "FSC", "Of the result, and of some of the rounds."),
            ("showMaps", "Slices", "The average, with and without its filter, and its half maps."),
            ("showChimera", "Average in ChimeraX", "Needs ChimeraX."),
        ],
        "Poses": [
            _SCORES,
            _SPHERE,
            (_CHANGE, "Change of the last round", "How far particles were still turned and moved."),
            REPORT_ROW,
        ],
    }

    def _rounds(self, names):
        folders = alignment.roundFolders(self.protocol.engineFolder())
        return {number: alignment.readRound(place, names) for number, place in folders.items()}

    def viewProgress(self):
        """Return numbers by round."""
        figure = subtomo_figures.progressFigure(self.protocol.readMetrics())
        return self.showFigure(figure, "Round by round")

    def viewRounds(self):
        """Return slices of the averages, a window for each class."""
        rounds = self._rounds(["average"])
        count = self.protocol.classCount()
        views = []
        for index in range(count):
            averages = {
                f"round {number}" if number else "start": found["average"][index]
                for number, found in rounds.items()
            }
            title = f"Averages of class {index + 1}" if count > 1 else "Averages"
            views += self.showFigure(subtomo_figures.roundsFigure(averages), title)
        return views

    def viewFscs(self):
        """Return the curves."""
        rounds = {n: found for n, found in self._rounds(["fsc"]).items() if n}
        if not rounds:
            return [self.say("No round has ended yet.")]
        box, sampling = self.protocol.boxSize(), self.protocol.samplingRate()
        chosen = list(rounds)[:: -(-len(rounds) // _MOST_CURVES)]
        chosen += [number for number in list(rounds)[-1:] if number not in chosen]
        byRound = {}
        for number in chosen:
            curve = rounds[number]["fsc"][0]
            byRound[f"round {number}"] = convert.frequencies(len(curve), box, sampling), curve
        final = byRound
        if hasattr(self.protocol, "fscs"):
            final = convert.readFscs(self.protocol.fscs)
            final = {label.replace("randomised", "random phases"): c for label, c in final.items()}
        return self.showFigure(subtomo_figures.fscFigure(final, byRound), "FSC")

    def viewMaps(self):
        """Return slices of the result."""
        average = self.protocol.average
        names = {"average": average.getFileName()}
        folder = names["average"].removesuffix(".mrc")
        names["unfiltered"] = f"{folder}_unfiltered.mrc"
        names.update(zip(("half 1", "half 2"), average.getHalfMaps(asList=True)))
        maps = {label: convert.readMap(path) for label, path in names.items()}
        return [SlicesView(maps, f"Average - {self.protocol.getRunName()}", self.getTkRoot())]

    def viewChimera(self):
        """Return ChimeraX with the averages, or a message."""
        averages = getattr(self.protocol, "averages", None) or [self.protocol.average]
        return [chimeraView([one.getFileName() for one in averages], self.getTkRoot())]

    def viewChange(self):
        """Return the change of the last round."""
        rounds = self._rounds(["rotations", "shifts_px"])
        if len(rounds) < 2:
            return [self.say("Two rounds have to end first.")]
        before, after = (rounds[number] for number in list(rounds)[-2:])
        angles = alignment.anglesBetween(before["rotations"], after["rotations"])
        shifts = np.linalg.norm(before["shifts_px"] - after["shifts_px"], axis=1)
        figure = subtomo_figures.changeFigure(angles, shifts, f"In round {list(rounds)[-1]}")
        return self.showFigure(figure, "Change of the last round")


class CryoDLViewerSubtomoTrain(CryoDLViewerBase):
    """The training of a network that proposes poses."""

    _label = "viewer of aligner training"
    _targets = [CryoDLProtSubtomoTrain]
    _rows = {
        "Training": [
            ("showLoss", "Loss", "By epoch. Works during the run."),
            REPORT_ROW,
        ]
    }

    def viewLoss(self):
        """Return the curves."""
        return [LossView(self.protocol, self.getTkRoot())]
