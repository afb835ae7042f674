"""Particles out of Scipion, for RELION."""

import os
import shutil

from pwem.objects import EMFile
from pyworkflow.protocol import params

from cryodl_plugin import forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.tomography import CryoDLProtTomography

_BESIDE = ("optimisation_set", "tomograms")


class CryoDLProtExportStar(CryoDLProtTomography):
    """Export particles to a STAR file of RELION 3.0 to 5, or Warp.

    Writes subtomograms, classes of them, or coordinates with their poses, and every column that
    came with an import or from a training, as the chosen program wants it.

    *Output*: _exported_, the file, in the folder of this run; and a copy, if you name a folder.

    *Hints*: the column cdlParticleId holds the id of each particle in Scipion. RELION keeps it, so
    what comes back can be told apart. Names of images are absolute, so that the file can be used
    from anywhere.
    """

    _label = "export particles to STAR"
    _command = "particles convert"
    _fedByProtocol = frozenset(
        {
            "star",
            "pixel_size",
            "image_folder",
            "tomograms",
            "check_images",
            "order",
            "first_voxel",
            "tomogram",
            "precision",
            "seed",
        }
    )
    _possibleOutputs = {"exported": EMFile}

    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfSubTomograms, SetOfClassesSubTomograms, SetOfCoordinates3D",
            important=True,
            label="Particles",
            help="Subtomograms, classes of them (written as class numbers), or coordinates.",
        )
        forms.addParameters(
            form,
            self._command,
            "Output",
            skip=self.fedNames(),
            to={"label": "For the program"},
        )
        form.addParam(
            "exportFolder",
            params.FolderParam,
            default="",
            label="Copy to folder",
            help="A copy of the file is put here. Empty: it stays in the folder of this run.",
        )
        form.addParam(
            "exportName",
            params.StringParam,
            default="particles.star",
            condition="exportFolder not in (None, '')",
            label="Name of the copy",
            help="A file of this name in the folder is replaced.",
        )

    def _machineParameters(self):
        return {}

    def convertInputStep(self, fingerprint):
        """Write the set in the engine's dialect."""
        self.writeParticles(self.inputParticles.get(), self._particlesFile(), absolute=True)

    def _particlesFile(self):
        return self.inputFile("particles.star")

    def _inputParameters(self):
        return {"star": self._particlesFile()}

    def _ownSettings(self):
        return {"particles": self.setState(self.inputParticles.get())}

    def createOutputStep(self, fingerprint):
        """Name the file, and copy all that was written to where it is wanted."""
        written = self.writtenFiles()
        folder = self.exportFolder.get()
        if folder:
            os.makedirs(folder, exist_ok=True)
            for path in written:
                shutil.copyfile(path, self._copyOf(path))
        self.define({"exported": EMFile(written[0])}, [self.inputParticles])

    def writtenFiles(self):
        """Return what the engine has written, the particles first."""
        result = self.readResult()
        if "star" not in result:
            return [self.enginePath(name) for name in result["coordinates"]]
        return [result["star"], *(result[key] for key in _BESIDE if key in result)]

    def _copyOf(self, path):
        isParticles = path == self.readResult().get("star")
        name = self.exportName.get() if isParticles else os.path.basename(path)
        return os.path.join(self.exportFolder.get(), name)

    def exportedFile(self):
        """Return where the copy is, or None."""
        folder = self.exportFolder.get()
        return os.path.join(folder, self.exportName.get()) if folder else None

    def readTable(self):
        """Return the particles as they were given to the engine."""
        return tomography.readParticles(self._particlesFile())

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate()
        if self.exportFolder.get() and os.path.basename(self.exportName.get() or "") in ("", "."):
            errors.append("*Name of the copy*: found nothing, expected a file name.")
        particles = self.inputParticles.get()
        if particles is not None and particles.getSize() == 0:
            errors.append("*Particles*: found an empty set, expected some.")
        return errors

    def _warnings(self):
        path = self.exportedFile()
        if path and os.path.exists(path):
            return [f"{path} exists and will be replaced."]
        return super()._warnings()

    def _summaryOf(self, result):
        return [
            f"*{result.get('kept', 0)}* particles for {self.getEnumText('to')}.",
            f"File: {self._whereItIs()}",
        ]

    def _whereItIs(self):
        written = self.writtenFiles()
        return self._copyOf(written[0]) if self.exportFolder.get() else written[0]

    def _methods(self):
        return []

    def _citations(self):
        return []
