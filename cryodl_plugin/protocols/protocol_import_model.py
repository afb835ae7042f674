"""A trained network from a file."""

import os
import shutil

from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.protocol import params
from pyworkflow.utils import Message

from cryodl_plugin.constants import ENGINE
from cryodl_plugin.convert import picking
from cryodl_plugin.forms import fileState
from cryodl_plugin.objects import CryoDLModel

_METHODS = {
    "cet_pick": "cet-pick train",
    "selfalign": "selfalign train",
    "spisonet": "spisonet correct",
}


class CryoDLProtImportModel(EMProtocol):
    """Import a network that cryodl has trained elsewhere.

    For a picker or another network from a colleague, from the command line, or from another
    project. Only .safetensors files are read: they hold numbers and no program.

    *Input*: the file, for example *model.safetensors* of the folder of *cryodl cet-pick train*.

    *Output*: _model_, to be given to the protocols that use a network of that method.

    *Hints*: a linked file must stay where it is; by default it is copied into the project.
    """

    _label = "import network"
    _devStatus = BETA
    _possibleOutputs = {"model": CryoDLModel}

    def _defineParams(self, form):
        form.addSection(label=Message.LABEL_INPUT)
        form.addParam(
            "modelFile",
            params.FileParam,
            default="",
            important=True,
            label="Network file",
            help="A .safetensors file that cryodl wrote.",
        )
        form.addParam(
            "copyFile",
            params.BooleanParam,
            default=True,
            label="Copy the file",
            help="Copy it into the project instead of linking to it.",
        )

    @classmethod
    def getClassLabel(cls, prependPackageName=True):
        """Return the label; people know the plugin by the name of its engine."""
        label = super().getClassLabel(prependPackageName=False)
        return f"{ENGINE} - {label}" if prependPackageName else label

    def _insertAllSteps(self):
        path = self.modelFile.get()
        self._insertFunctionStep(
            self.createOutputStep, path, fileState(path), self.copyFile.get(), needsGPU=False
        )

    def createOutputStep(self, path, state, copy):
        """Copy or link the file, and say what it is."""
        found = picking.readModelDescription(path)
        target = self._getExtraPath("model.safetensors")
        if os.path.lexists(target):
            os.remove(target)
        if copy:
            shutil.copyfile(path, f"{target}.tmp")
            os.replace(f"{target}.tmp", target)
        else:
            os.symlink(os.path.abspath(path), target)
        method = found.get("method", "")
        model = CryoDLModel(fileName=target, method=_METHODS.get(method, method))
        size, sampling = found.get("bbox_px"), found.get("pixel_size_angstrom")
        model.setTraining(boxSize=round(size) if size else None, samplingRate=sampling)
        self._defineOutputs(model=model)

    def _validate(self):
        try:
            picking.readModelDescription(self.modelFile.get() or "")
        except picking.ModelError as error:
            return [f"*Network file*: {error}."]
        return []

    def _warnings(self):
        return []

    def _summary(self):
        if not hasattr(self, "model"):
            return ["Not finished yet."]
        found = picking.readModelDescription(self.model.getFileName())
        lines = [f"{self.model}, from {self.modelFile.get()}."]
        for kind, calibration in zip(found.get("kinds", []), found.get("calibration", [])):
            lines.append(
                f"{kind}: expected F1 *{calibration['f1']:.2f}* at score "
                f"{calibration['threshold']:.2f}."
            )
        return lines

    def _methods(self):
        return ["A trained network was imported into cryodl."] if hasattr(self, "model") else []

    def _citations(self):
        return []
