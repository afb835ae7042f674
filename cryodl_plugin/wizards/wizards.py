"""Small windows that help to fill in one parameter."""

import glob
import os

import pwem.constants as emcts
from pwem.objects import Volume
from pwem.wizards.wizard import EmWizard, FilterWizard, VolumeMaskRadiusWizard
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProvider, ListTreeProviderString
from pyworkflow.object import String
from pyworkflow.wizard import Wizard

from cryodl_plugin import convert
from cryodl_plugin.protocols import CryoDLProtAnisoCorrect, CryoDLProtFsc3D

HALF_MAP_PROTOCOLS = (CryoDLProtFsc3D, CryoDLProtAnisoCorrect)
_LARGEST_BOX_FOR_FSC = 400


def previewProvider(protocol):
    """Return the first half map as a list of one volume for the preview, or None."""
    first = protocol.halfMapFiles()[0]
    if not first or convert.mapDimensions(first) is None:
        return None
    volume = Volume(objLabel="half map 1")
    volume.setFileName(first)
    volume.setSamplingRate(protocol.samplingRate())
    return ListTreeProvider([volume])


class CryoDLMaskRadiusWizard(VolumeMaskRadiusWizard):
    """Chooses the radius of the sphere mask on the central slice of the map."""

    _targets = [(protocol, ["maskRadius"]) for protocol in HALF_MAP_PROTOCOLS]

    def _getProvider(self, protocol):
        return previewProvider(protocol)

    def show(self, form, *params):
        """Open the window and put the radius, in px, into the form."""
        radius = form.protocol.maskRadius.get()
        super().show(form, -1 if radius is None else radius, "maskRadius", emcts.UNIT_PIXEL)


class CryoDLResolutionLimitWizard(FilterWizard):
    """Chooses the resolution limit on the low-passed map; starts from the FSC's resolution."""

    _targets = [(protocol, ["limitRes"]) for protocol in HALF_MAP_PROTOCOLS]

    def _getProvider(self, protocol):
        return previewProvider(protocol)

    def show(self, form, *params):
        """Open the window and put the limit, in Å, into the form."""
        protocol = form.protocol
        if self._getProvider(protocol) is None:
            dialog.showWarning("Empty input", "Select the half maps first.", form.root)
            return
        before = protocol.limitRes.get()
        start = before or self.suggestion(protocol)
        chosen = _RoundedForm(form)
        super().show(
            chosen,
            [None, start, protocol.samplingRate()],
            [None, "limitRes", None],
            emcts.FILTER_LOW_PASS,
            emcts.UNIT_ANGSTROM,
            showDecay=False,
        )

    @staticmethod
    def suggestion(protocol):
        """Return the resolution to start from: of the 3DFSC run, of the FSC, or twice Nyquist."""
        given = getattr(protocol, "inputFsc3D", None)
        given = given.get() if given is not None else None
        known = getattr(given, "resolution", None)
        if known is not None:
            return known.get()
        first, second = protocol.halfMapFiles()
        if second and convert.mapDimensions(first)[0] <= _LARGEST_BOX_FOR_FSC:
            return round(convert.resolutionAt(*protocol.fscOf(first, second)), 2)
        return 4 * protocol.samplingRate()


class _RoundedForm:
    """A form that rounds what a wizard puts into it: sliders give too many digits."""

    def __init__(self, form):
        self.protocol, self.root = form.protocol, form.root
        self._form = form

    def setVar(self, name, value):
        """Set a rounded value."""
        self._form.setVar(name, round(float(value), 2))


class CryoDLModelFileWizard(EmWizard):
    """Chooses one of the network files that the run of *Network* has left."""

    _targets = [(CryoDLProtAnisoCorrect, ["modelFile"])]
    _environments = Wizard._environments

    @staticmethod
    def modelFiles(protocol):
        """Return the network files of the chosen network's run, the final one first."""
        model = protocol.inputModel.get()
        if model is None:
            return []
        folder = os.path.dirname(model.getFileName())
        found = glob.glob(os.path.join(folder, "**", "*.safetensors"), recursive=True)
        return sorted(found, key=lambda name: (os.path.dirname(name) != folder, name))

    def show(self, form, *params):
        """Open the list and put the chosen file into the form."""
        files = self.modelFiles(form.protocol)
        if not files:
            dialog.showWarning(
                "No network files",
                "Select *Network* first; the files of its run are listed here.",
                form.root,
            )
            return
        provider = ListTreeProviderString([String(name) for name in files])
        window = dialog.ListDialog(
            form.root, "Network files", provider, "Select the file to start from."
        )
        if window.resultYes() and window.values:
            form.setVar("modelFile", window.values[0].get())
