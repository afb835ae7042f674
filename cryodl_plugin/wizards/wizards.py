"""Small windows that help to fill in one parameter."""

import glob
import os

import pwem.constants as emcts
from pwem.objects import Volume
from pwem.wizards.wizard import EmWizard, VolumeMaskRadiusWizard
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProvider, ListTreeProviderString
from pyworkflow.object import String
from pyworkflow.wizard import Wizard

from cryodl_plugin import convert
from cryodl_plugin.constants import MASK_VOLUME
from cryodl_plugin.protocols import CryoDLProtAnisoCorrect, CryoDLProtFsc3D
from cryodl_plugin.wizards.resolution import LowPassPreview, ResolutionDialog, suggestion

HALF_MAP_PROTOCOLS = (CryoDLProtFsc3D, CryoDLProtAnisoCorrect)


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


class CryoDLResolutionLimitWizard(EmWizard):
    """Chooses the resolution limit on the low-passed map, beside the FSC of the half maps."""

    _targets = [(protocol, ["limitRes"]) for protocol in HALF_MAP_PROTOCOLS]

    def show(self, form, *params):
        """Open the window and put the limit, in Å, into the form."""
        protocol = form.protocol
        if previewProvider(protocol) is None:
            dialog.showWarning("Empty input", "Select the half maps first.", form.root)
            return
        first, second = protocol.halfMapFiles()
        data = convert.readMap(first)
        curves = {"half maps": protocol.fscOf(first, second, self.mask(protocol))} if second else {}
        start = suggestion(self.known(protocol), curves, protocol.samplingRate())
        window = ResolutionDialog(
            form.root, LowPassPreview(data, protocol.samplingRate()), curves, start
        )
        if window.resultYes():
            form.setVar("limitRes", window.resolution)

    @staticmethod
    def mask(protocol):
        """Return the mask volume where one was chosen."""
        mask = protocol.inputMask.get() if protocol.maskFrom == MASK_VOLUME else None
        return mask.getFileName() if mask is not None else None

    @staticmethod
    def known(protocol):
        """Return the limit in the form, or the resolution that the 3DFSC run has found."""
        if protocol.limitRes.get():
            return protocol.limitRes.get()
        given = protocol.inputFsc3D.get() if protocol.hasAttribute("inputFsc3D") else None
        found = getattr(given, "resolution", None)
        return found.get() if found is not None else None


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
            form.root,
            "Network files",
            provider,
            "Select the file to start from.",
            selectmode="browse",
            selectOnDoubleClick=True,
        )
        if window.resultYes() and window.values:
            form.setVar("modelFile", window.values[0].get())
