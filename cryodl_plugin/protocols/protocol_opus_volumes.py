"""Densities of latents: at the middles of clusters, or along a direction."""

import os

from pwem.objects import SetOfVolumes, Volume

from cryodl_plugin import forms
from cryodl_plugin.protocols.opus import VOLUMES_COMMAND, CryoDLProtOpus


class CryoDLProtOpusEvalVols(CryoDLProtOpus):
    """Decode densities of latents (OPUS-TOMO).

    Densities at the middles of the clusters show states, those along a principal component a
    motion. They come in the box of the particles and overlay their average.

    *Input*: a run of *analyze states*.

    *Output*: _volumes_, in order.

    *Hints*: *Analyze Results* plays them as a movie, in slices or in ChimeraX. A decoded density is
    a model, and has no resolution of its own.
    """

    _label = "decode states"
    _command = VOLUMES_COMMAND
    _onGpu = True
    _runParam = "inputAnalysis"
    _fedByProtocol = frozenset({"run"})
    _possibleOutputs = {"volumes": SetOfVolumes}

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addRun(form, "CryoDLProtOpusAnalyze", "Analysis", "A run of *analyze states*.")
        labels = {
            "kind": {"label": "Densities of"},
            "number": {"label": "Principal component", "condition": "kind == 1"},
            "steps": {"label": "Steps along it", "condition": "kind == 1"},
            "box": {"label": "Box"},
            "lowPass": {"label": "Low-pass (Å)"},
            "applyMask": {"label": "Apply the mask"},
            "flip": {"label": "Mirror"},
        }
        for name in ("Input", "Volumes"):
            forms.addParameters(form, self._command, name, skip=self.fedNames(), **labels)
        self._addRunParameters(form, threads=2)

    def createOutputStep(self, fingerprint):
        """Make the set of densities."""
        output = SetOfVolumes.create(self._getPath(), prefix="volumes")
        sampling = self._sampling()
        output.setSamplingRate(sampling)
        for path in self.seriesFiles():
            name = os.path.splitext(os.path.basename(path))[0]
            volume = Volume(objLabel=name)
            volume.setFileName(path)
            volume.setSamplingRate(sampling)
            volume.setObjComment(name)
            output.append(volume)
        self.define({"volumes": output}, [self.inputAnalysis])

    def _sampling(self):
        own = self.pixelSize.get()
        return own or self.sourceRun().particles().getSamplingRate()

    def seriesFiles(self):
        """Return the densities in their order; empty while there are none."""
        result = self.readResult()
        return [result[f"volume_{i + 1}"] for i in range(len(result.get("volumes", [])))]

    def _validate(self):
        errors = super()._validate()
        source = self.sourceRun()
        if source is None or errors:
            return errors
        if source.zd.get():
            errors.append(
                "*Analysis*: found one of the latents of poses, which have no densities; expected "
                "one without *Latents of the poses instead*."
            )
        elif self.kind.get() == 1 and self.number.get() > source.pcs.get():
            errors.append(
                f"*Principal component*: found {self.number.get()}, expected 1 to "
                f"{source.pcs.get()}, those that the analysis followed."
            )
        return errors

    def _summaryOf(self, result):
        kinds = ("the middles of the clusters", f"principal component {self.number.get()}")
        return [
            f"*{len(self.seriesFiles())}* densities of {kinds[self.kind.get()]}.",
            *super()._summaryOf(result),
        ]

    def _methods(self):
        if not self.readResult():
            return []
        return [f"{len(self.seriesFiles())} densities were decoded from latents with cryodl."]
