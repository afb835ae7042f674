"""Wizards of Autoencoder3D: groups with their sizes, boxes, tomograms, the lowest probability."""

import mrcfile
import numpy as np
from pwem.wizards.wizard import EmWizard
from pyworkflow.gui import dialog

from cryodl_plugin.convert import tomography
from cryodl_plugin.convert.maps import plainName
from cryodl_plugin.protocols import (
    CryoDLProtAE3DTrain,
    CryoDLProtEDSS3DPredict,
    CryoDLProtEDSS3DTrain,
)
from cryodl_plugin.protocols.protocol_ae3d_train import FROM_COORDINATES
from cryodl_plugin.viewers import autoencoder_figures
from cryodl_plugin.wizards.picking import FigureDialog
from cryodl_plugin.wizards.tomography import CryoDLTomogramWizard, chooseFrom, evenBox

_TIMES = (1.5, 2.0, 2.5, 3.0)


class CryoDLGroupWizard(EmWizard):
    """Lists the groups with how many particles each has; what is chosen becomes one class more."""

    _targets = [(CryoDLProtEDSS3DTrain, ["classes"])]

    def show(self, form, *params):
        """Open the list and add the chosen groups as a class."""
        prot = form.protocol
        source = prot.sourceRun()
        sizes = source.sizes() if source is not None else []
        if not sizes:
            dialog.showWarning("No groups", "Select a finished grouping first.", form.root)
            return
        choices = [f"{k}: {size} particles" for k, size in enumerate(sizes, start=1)]
        words = "Select the groups of one class; call again for the next. Ctrl or Shift: several."
        chosen = chooseFrom(form, "Groups of a class", words, choices, several=True)
        if chosen:
            groups = " ".join(text.split(":")[0] for text in chosen)
            before = (prot.classes.get() or "").strip()
            form.setVar("classes", f"{before}; {groups}" if before else groups)


class CryoDLSubvolumeBoxWizard(EmWizard):
    """Suggests boxes for the particles that are cut out."""

    _targets = [(CryoDLProtAE3DTrain, ["boxSizePx"])]

    @staticmethod
    def suggestions(angstrom, sampling):
        """Return box size in px -> words."""
        found = {}
        for times in _TIMES:
            box = evenBox(times * angstrom / sampling)
            found.setdefault(box, f"{box} px = {box * sampling:.0f} Å ({times:g} diameters)")
        return found

    def show(self, form, *params):
        """Open the list and put the box size into the form."""
        prot = form.protocol
        sampling = prot.samplingRate()
        if not sampling:
            dialog.showWarning("Empty input", "Select the tomograms first.", form.root)
            return
        angstrom = prot.blobDiameter.get()
        if prot.source.get() == FROM_COORDINATES and prot.inputCoordinates.get() is not None:
            points = prot.inputCoordinates.get()
            angstrom = (points.getBoxSize() or 0) * points.getSamplingRate() or angstrom
        choices = self.suggestions(angstrom, sampling)
        words = "Two and a half diameters leave room for shifts and for the surroundings."
        chosen = chooseFrom(form, "Box size", words, choices.values())
        for box, text in choices.items():
            if text in chosen:
                form.setVar("boxSizePx", box)


class CryoDLSubvolumeTomogramWizard(CryoDLTomogramWizard):
    """Chooses tomograms of the input by their ids."""

    _targets = [
        (protocol, ["onlyTomograms"]) for protocol in (CryoDLProtAE3DTrain, CryoDLProtEDSS3DPredict)
    ]


class LevelDialog(FigureDialog):
    """A slice, and what of it is above a probability."""

    def __init__(self, parent, plane, chances, title, level):
        self.plane, self.chances, self.sliceTitle = plane, chances, title
        super().__init__(parent, "Lowest probability", (0.02, 0.98), level, 0.01, (9, 4.6))

    def draw(self):
        """Draw both."""
        autoencoder_figures.drawLevel(
            self.figure, self.plane, self.chances, self.value, self.sliceTitle
        )

    def words(self):
        """Return how much of the slice there is."""
        share = float((self.chances.sum(axis=0) >= self.value).mean())
        return f"Lowest probability {self.value:.2f}: {100 * share:.1f} % of this slice"


class CryoDLLevelWizard(EmWizard):
    """Chooses the lowest probability over a slice of a finished run, with what it marks."""

    _targets = [(CryoDLProtEDSS3DPredict, ["threshold"])]

    def show(self, form, *params):
        """Open the window and put the probability into the form."""
        finished = self.finishedRun(form.protocol)
        if finished is None:
            dialog.showWarning(
                "No probabilities yet",
                "Run it once with *Maps of probability* and without a threshold; then those of "
                "that run are shown here.",
                form.root,
            )
            return
        window = LevelDialog(form.root, *self.sliceOf(finished))
        if window.resultYes():
            form.setVar("threshold", f"{window.value:.2f}")

    @staticmethod
    def finishedRun(prot):
        """Return this run, or another finished one with the same network, or None."""
        if prot.inputTomograms.get() is not None and any(prot.probabilityFiles().values()):
            return prot
        model, project = prot.inputModel.get(), prot.getProject()
        if model is None or project is None:
            return None
        for other in project.getRuns():
            if not isinstance(other, CryoDLProtEDSS3DPredict) or other.inputTomograms.get() is None:
                continue
            theirs = other.inputModel.get()
            same = theirs is not None and theirs.getFileName() == model.getFileName()
            if same and any(other.probabilityFiles().values()):
                return other
        return None

    @staticmethod
    def sliceOf(prot):
        """Return a slice, the chances of the classes in it, what it is, and the level of the run.

        The tomogram is the first with maps of probability, the slice the one with most in it.
        """
        tsId, files = next((k, v) for k, v in prot.probabilityFiles().items() if v)
        z, chances = autoencoder_figures.mostSure(files)
        known = tomography.tomogramsById(prot.inputTomograms.get())
        with mrcfile.mmap(plainName(known[tsId].getFileName()), permissive=True) as mrc:
            plane = np.array(mrc.data[z], np.float32)
        level = prot.threshold.get() or prot.modelDescription().get("threshold", 0.5)
        return plane, chances, f"{tsId}, slice {z + 1}", float(level)
