"""Windows of SelfAlign: the mask's radius and the low-pass of the start, on the reference."""

import pwem.constants as emcts
from pwem.objects import Volume
from pwem.wizards.wizard import EmWizard, VolumeMaskRadiusWizard
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProvider

from cryodl_plugin import convert
from cryodl_plugin.protocols import CryoDLProtSubtomoAlign, CryoDLProtSubtomoRefine
from cryodl_plugin.wizards.resolution import LowPassPreview, ResolutionDialog


def firstReference(protocol):
    """Return the first reference of a form, or a subtomogram where there is none; else None."""
    volumes = protocol.referenceVolumes()
    if volumes:
        return volumes[0]
    particles = protocol.inputSubTomograms.get()
    return particles.getFirstItem() if particles is not None else None


class CryoDLSubtomoMaskWizard(VolumeMaskRadiusWizard):
    """Chooses the radius of the sphere mask on the reference."""

    _targets = [
        (protocol, ["maskRadius"]) for protocol in (CryoDLProtSubtomoAlign, CryoDLProtSubtomoRefine)
    ]

    def _getProvider(self, protocol):
        found = firstReference(protocol)
        if found is None or convert.mapDimensions(found.getFileName()) is None:
            return None
        volume = Volume(objLabel="reference")
        volume.setFileName(found.getFileName())
        volume.setSamplingRate(protocol.samplingRate())
        return ListTreeProvider([volume])

    def show(self, form, *params):
        """Open the window and put the radius, in px, into the form."""
        protocol = form.protocol
        radius = -1 if protocol.boxSize() is None else protocol.sphereRadius()
        super().show(form, radius, "maskRadius", emcts.UNIT_PIXEL)


class CryoDLStartLowPassWizard(EmWizard):
    """Chooses the low-pass of the start on the reference."""

    _targets = [
        (CryoDLProtSubtomoRefine, ["initialLowpass"]),
        (CryoDLProtSubtomoAlign, ["resolution"]),
    ]

    def show(self, form, *params):
        """Open the window and put the resolution, in Å, into the form."""
        protocol, name = form.protocol, params[0]
        volumes = protocol.referenceVolumes()
        if not volumes or convert.mapDimensions(volumes[0].getFileName()) is None:
            dialog.showWarning("Empty input", "Select a reference first.", form.root)
            return
        data = convert.readMap(volumes[0].getFileName())
        sampling = volumes[0].getSamplingRate()
        start = getattr(protocol, name).get() or 4 * sampling
        window = ResolutionDialog(form.root, LowPassPreview(data, sampling), {}, start)
        if window.resultYes():
            form.setVar(name, window.resolution)
