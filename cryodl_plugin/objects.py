"""Objects of this plugin's own."""

import os

import pwem.objects as emobj
from pyworkflow.object import Float, Integer, String


class CryoDLModel(emobj.EMObject):
    """A trained network: where it is and what it was trained for."""

    def __init__(self, fileName=None, method="", **kwargs):
        super().__init__(**kwargs)
        self._filename = String(fileName)
        self._method = String(method)
        self._version = String()
        self._boxSize = Integer()
        self._samplingRate = Float()
        self._epoch = Integer()
        self._loss = Float()

    def getFileName(self):
        """Return the path of the weights, relative to the project."""
        return self._filename.get()

    def setFileName(self, fileName):
        """Set the path of the weights."""
        self._filename.set(fileName)

    def getFiles(self):
        """Return the files that belong to this object."""
        return {self.getFileName()}

    def getMethod(self):
        """Return the method and verb that trained it, for example ``spisonet correct``."""
        return self._method.get()

    def getEpoch(self):
        """Return how many epochs it was trained."""
        return self._epoch.get()

    def getLoss(self):
        """Return the last training loss, or None."""
        return self._loss.get()

    def setTraining(self, version=None, boxSize=None, samplingRate=None, epoch=None, loss=None):
        """Note what it was trained on; None leaves a value empty."""
        self._version.set(version)
        self._boxSize.set(boxSize)
        self._samplingRate.set(samplingRate)
        self._epoch.set(epoch)
        self._loss.set(loss)

    def __str__(self):
        words = [self.getMethod() or "network"]
        if self._epoch.hasValue():
            words.append(f"{self._epoch.get()} epochs")
        if self._boxSize.hasValue() and self._samplingRate.hasValue():
            words.append(f"box {self._boxSize.get()} px, {self._samplingRate.get():.2f} Å/px")
        if self._loss.hasValue():
            words.append(f"loss {self._loss.get():.4g}")
        return f"CryoDLModel ({', '.join(words)})"

    def getBaseName(self):
        """Return the file's name without its folder."""
        return os.path.basename(self.getFileName() or "")
