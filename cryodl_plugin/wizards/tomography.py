"""Wizards for tomograms and particles: which tomograms, how large a box."""

from pwem.wizards.wizard import EmWizard
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProviderString
from pyworkflow.object import String

from cryodl_plugin.protocols import (
    CryoDLProtExtractSubtomos,
    CryoDLProtPickExplore,
    CryoDLProtPickPredict,
    CryoDLProtPickTrain,
)

_TIMES = (1.0, 1.25, 1.5, 2.0, 3.0)


def chooseFrom(form, title, words, choices, several=False):
    """Return the texts that were chosen from a list, empty where the window was cancelled."""
    window = dialog.ListDialog(
        form.root,
        title,
        ListTreeProviderString([String(text) for text in choices]),
        words,
        selectmode="extended" if several else "browse",
        selectOnDoubleClick=not several,
    )
    if not (window.resultYes() and window.values):
        return []
    return [value.get() for value in window.values]


class CryoDLTomogramWizard(EmWizard):
    """Chooses tomograms of the input by their ids."""

    _targets = [
        (protocol, ["onlyTomograms"])
        for protocol in (
            CryoDLProtExtractSubtomos,
            CryoDLProtPickExplore,
            CryoDLProtPickTrain,
            CryoDLProtPickPredict,
        )
    ]

    def show(self, form, *params):
        """Open the list and put the ids into the form, with blanks between."""
        ids = form.protocol.tomogramIds()
        if not ids:
            dialog.showWarning("Empty input", "Select the input first.", form.root)
            return
        words = "Select the tomograms to use; hold Ctrl or Shift for more than one."
        chosen = chooseFrom(form, "Tomograms", words, ids, several=True)
        if chosen:
            form.setVar(params[0] if params else "onlyTomograms", " ".join(chosen))


class CryoDLBoxSizeWizard(EmWizard):
    """Suggests boxes, in voxels of the output, from the size that was picked."""

    _targets = [(CryoDLProtExtractSubtomos, ["boxSizePx"])]

    @staticmethod
    def suggestions(boxAngstrom, sampling):
        """Return box size in px -> words, from the picked size up."""
        found = {}
        for times in _TIMES:
            box = evenBox(times * boxAngstrom / sampling)
            words = "as picked" if times == 1 else f"{times:g} times as picked"
            found.setdefault(box, f"{box} px = {box * sampling:.0f} Å ({words})")
        return found

    def show(self, form, *params):
        """Open the list and put the box size into the form."""
        picked, sampling = form.protocol.pickedBoxAngstrom(), form.protocol.outputSampling()
        if not picked or not sampling:
            dialog.showWarning(
                "No box size",
                "Select coordinates that know how large the picked particles are.",
                form.root,
            )
            return
        choices = self.suggestions(picked, sampling)
        words = "Boxes of 1.5 times the particle leave room for its surroundings and for shifts."
        chosen = chooseFrom(form, "Box size", words, choices.values())
        for box, text in choices.items():
            if text in chosen:
                form.setVar("boxSizePx", box)


def evenBox(size):
    """Return the nearest even box of at least this size."""
    return 2 * max(int(-(-size // 2)), 4)
