"""Wizards of Autoencoder3D: groups with their sizes, boxes for a diameter, tomograms."""

from pwem.wizards.wizard import EmWizard
from pyworkflow.gui import dialog

from cryodl_plugin.protocols import (
    CryoDLProtAE3DTrain,
    CryoDLProtEDSS3DPredict,
    CryoDLProtEDSS3DTrain,
)
from cryodl_plugin.protocols.protocol_ae3d_train import FROM_COORDINATES
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
