"""Train a network that proposes poses of subtomograms."""

from cryodl_plugin import forms
from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols.subtomos import LABELS, SUBTOMO_TRAIN_COMMAND, CryoDLProtSubtomos

_PARTICLES_ONLY = "particles"


class CryoDLProtSubtomoTrain(CryoDLProtSubtomos):
    """Train a network that proposes how subtomograms lie against a reference (SelfAlign).

    Pairs are made as they are needed: the reference in any rotation, seen through the wedge of the
    particles, with noise of their spectrum.

    *Inputs*: subtomograms, which give noise and wedge; the reference.

    *Output*: _model_, for *align subtomograms*.

    *Hints*: the search of *align subtomograms* is quick and does as well without a network for
    maps of a few thousand rotations; train one to compare, or for the published network. The
    preset *proposer* needs minutes without a GPU, *gumnet* needs one.
    """

    _label = "train aligner"
    _command = SUBTOMO_TRAIN_COMMAND
    _fedByProtocol = frozenset({"star", "reference", "pixel_size", "tilt_axis"})
    _possibleOutputs = {"model": CryoDLModel}

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addSubtomograms(
            form, "They give noise and wedge, and with *particles* the densities."
        )
        self._addReference(form, "What the network is to align to.", allowsNull=True)
        self._addInputGroup(form)
        form.addSection(label="Training")
        forms.addParameters(form, self._command, "Training", skip=self.fedNames(), **LABELS)
        self._addRunParameters(form, threads=2)

    def createOutputStep(self, fingerprint):
        """Make the network."""
        result, rows = self.readResult(), self.readMetrics()
        model = CryoDLModel(fileName=result["model"], method=self._command)
        model.setTraining(
            version=result.get("version"),
            boxSize=self.boxSize(),
            samplingRate=self.samplingRate(),
            epoch=rows[-1].get("epoch") if rows else None,
            loss=rows[-1].get("loss") if rows else None,
        )
        self.define({"model": model}, [self.inputSubTomograms, self.inputReference])

    def _validate(self):
        errors = super()._validate()
        if self.getEnumText("source") != _PARTICLES_ONLY and self.inputReference.get() is None:
            errors.append(
                "*Reference*: found none, expected a map; or take the densities from *particles*."
            )
        return errors

    def _summaryOf(self, result):
        return [
            f"{self.getEnumText('preset')} with {result.get('parameters', 0):,} parameters: median "
            f"error of fresh pairs *{result.get('test_median_degrees', 0):.1f} degrees* by the "
            "network alone.",
            *super()._summaryOf(result),
        ]

    def _methods(self):
        if not self.readResult():
            return []
        return [
            f"A network ({self.getEnumText('preset')}) was trained with cryodl to propose poses."
        ]
