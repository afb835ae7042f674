"""Windows of the picker: how large the particle is, and where to cut the scores."""

import numpy as np
from pwem.wizards.wizard import EmWizard
from pyworkflow.gui import dialog

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import CryoDLProtPickPredict, CryoDLProtPickTrain
from cryodl_plugin.viewers import figures, pick_figures

_LEAST_PX, _MOST_PX = 4, 64
_ROOM = 1.0  # of the diameter, to each side of the middle
_STEP = 0.001


class FigureDialog(dialog.Dialog):
    """A figure over a slider and a line of words; ``value`` is what was chosen."""

    def __init__(self, parent, title, limits, value, step, size):
        self.limits, self.value, self.step, self.size = limits, value, step, size
        super().__init__(
            parent,
            title,
            buttons=[("Select", dialog.RESULT_YES), ("Cancel", dialog.RESULT_CANCEL)],
            default="Select",
        )

    def body(self, bodyFrame):
        """Fill the window."""
        import tkinter as tk

        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg

        self.figure = figures.newFigure(*self.size)
        self.canvas = FigureCanvasTkAgg(self.figure, master=bodyFrame)
        self.canvas.get_tk_widget().pack(fill=tk.BOTH, expand=True)
        self.label = tk.Label(bodyFrame, font="helvetica 11 bold")
        self.label.pack(pady=(6, 0))
        slider = tk.Scale(
            bodyFrame,
            from_=self.limits[0],
            to=self.limits[1],
            resolution=self.step,
            orient=tk.HORIZONTAL,
            showvalue=False,
            command=self._moved,
        )
        slider.set(self.value)
        slider.pack(fill=tk.X, padx=40, pady=(0, 8))
        self._draw()

    def _moved(self, value):
        if float(value) != self.value:
            self.value = float(value)
            self._draw()

    def _draw(self):
        self.draw()
        self.label.configure(text=self.words())
        self.canvas.draw_idle()

    def draw(self):
        """Draw the figure for the value."""
        raise AttributeError(f"{type(self).__name__} draws nothing")

    def words(self):
        """Return what is written below it."""
        return f"{self.value:g}"


class DiameterDialog(FigureDialog):
    """A circle on the mean of the labelled particles."""

    def __init__(self, parent, box, count, sampling, diameterPx):
        self.box, self.count, self.sampling = box, count, sampling
        limits = (_LEAST_PX, max(_MOST_PX, round(2 * diameterPx)))
        super().__init__(parent, "Diameter", limits, round(diameterPx), 1, (8, 4.4))

    def draw(self):
        """Draw the circle."""
        pick_figures.drawDiameter(self.figure, self.box, self.value, self.count)

    def words(self):
        """Return the diameter in Å and voxels, and how well the latter suits the network."""
        words = f"Diameter: {self.value * self.sampling:.0f} Å = {self.value:.0f} voxels"
        return words + ("" if 6 <= self.value <= 48 else "   (should be 6 to 48)")


class CryoDLDiameterWizard(EmWizard):
    """Chooses the diameter as a circle on the mean of the labelled particles."""

    _targets = [(CryoDLProtPickTrain, ["diameter"])]

    def show(self, form, *params):
        """Open the window and put the diameter, in Å, into the form."""
        prot = form.protocol
        if prot.inputTomograms.get() is None or prot.inputCoordinates.get() is None:
            dialog.showWarning(
                "Empty input", "Select the tomograms and the labelled particles first.", form.root
            )
            return
        size = prot.diameterPx() or 20
        box, count = self.mean(prot, size)
        if not count:
            dialog.showWarning("No labels", "There are no labels in these tomograms.", form.root)
            return
        window = DiameterDialog(form.root, box, count, prot.samplingRate(), size)
        if window.resultYes():
            form.setVar("diameter", round(window.value * prot.samplingRate(), 1))

    @staticmethod
    def mean(prot, size):
        """Return the mean of the labelled particles, and of how many."""
        known = tomography.tomogramsById(prot.inputTomograms.get())
        labels = prot.inputCoordinates.get()
        factor = labels.getSamplingRate() / prot.samplingRate()
        places = {}
        for row in tomography.coordinateRows(labels, factor, set(known)):
            place = [row[f"rlnCoordinate{axis}"] for axis in "XYZ"]
            places.setdefault(row["rlnTomoName"], []).append(place)
        files = {tsId: known[tsId].getFileName() for tsId in places}
        half = max(round(_ROOM * size), 6)
        return pick_figures.meanBox(places, files, half)


class ThresholdDialog(FigureDialog):
    """The scores of a finished run, and how many picks a threshold leaves."""

    def __init__(self, parent, scores, tomograms, threshold):
        self.scores, self.tomograms = scores, max(tomograms, 1)
        super().__init__(parent, "Lowest score", (0, 0.999), threshold, _STEP, (8, 4.2))

    def draw(self):
        """Draw the histogram."""
        pick_figures.drawScores(self.figure, self.scores, self.value)

    def words(self):
        """Return how many picks there would be."""
        count = sum(int((np.asarray(v) > self.value).sum()) for v in self.scores.values())
        each = count / self.tomograms
        return f"Lowest score {self.value:.3f}: {count} picks, {each:.0f} per tomogram"


class CryoDLThresholdWizard(EmWizard):
    """Chooses the lowest score from the scores of a finished run, with a live count."""

    _targets = [(CryoDLProtPickPredict, ["outThresh"])]

    def show(self, form, *params):
        """Open the window and put the score into the form."""
        finished = self.finishedRun(form.protocol)
        if finished is None:
            dialog.showWarning(
                "No scores yet",
                "Run it once with *auto*; then the scores of that run are shown here.",
                form.root,
            )
            return
        scores, start = self.scoresOf(finished)
        window = ThresholdDialog(form.root, scores, len(finished.heatMaps()), start)
        if window.resultYes():
            form.setVar("outThresh", f"{window.value:.3f}")

    @staticmethod
    def finishedRun(prot):
        """Return this run, or another finished one with the same picker, or None."""
        if prot.heatMaps():
            return prot
        model = prot.inputModel.get()
        project = prot.getProject()
        if model is None or project is None:
            return None
        for other in project.getRuns():
            if not isinstance(other, CryoDLProtPickPredict) or other.inputModel.get() is None:
                continue
            same = other.inputModel.get().getFileName() == model.getFileName()
            if same and other.heatMaps():
                return other
        return None

    @staticmethod
    def scoresOf(prot):
        """Return the scores of all maxima by kind, and the threshold of the run."""
        from cryodl_plugin.viewers.viewer_pick import scoresByKind

        return scoresByKind(prot), prot.readResult().get("threshold", 0.5)
