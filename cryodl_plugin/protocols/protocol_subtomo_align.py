"""Find the pose of every subtomogram against a map."""

from pyworkflow.protocol import params
from tomo.objects import SetOfSubTomograms

from cryodl_plugin import forms
from cryodl_plugin.protocols.subtomos import (
    ALIGN_COMMAND,
    LABELS,
    CryoDLProtSubtomos,
    scoreLines,
)

_NET = "net"


class CryoDLProtSubtomoAlign(CryoDLProtSubtomos):
    """Find how each subtomogram is turned and shifted against a reference (SelfAlign).

    Every pose is judged by a score that knows the missing wedge of the particle and its noise. A
    network may propose poses; it never has the last word unless you ask for that.

    *Inputs*: subtomograms; a map to align to; perhaps a network of *train aligner*.

    *Output*: _subtomograms_ with new transforms, and for each its score, how far the next pose is
    behind, the probability of the pose among those compared, and how far noise may have turned it.

    *Hints*: to get an average as well, and to go on until it settles, take *average subtomograms*.
    Scores below 6 are what noise reaches. *Analyze Results* shows them, and the directions.
    """

    _label = "align subtomograms"
    _command = ALIGN_COMMAND
    _fedByProtocol = frozenset(
        {
            "star",
            "pairs",
            "reference",
            "model",
            "mask",
            "pixel_size",
            "tilt_axis",
        }
    )
    _possibleOutputs = {"subtomograms": SetOfSubTomograms}

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addSubtomograms(
            form, "All of one box size. Their poses are used by the local search."
        )
        self._addReference(form, "The map to align to.", important=True)
        self._addSubtomoMask(form)
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="CryoDLModel",
            allowsNull=True,
            label="Network",
            help="Of *train aligner*, for this reference. It proposes the poses that the search "
            "begins with.\nCommand line: *--model*",
        )
        self._addInputGroup(form)
        form.addSection(label="Search")
        forms.addParameters(form, self._command, "Search", skip=self.fedNames(), **LABELS)
        self._addRunParameters(form, threads=2)

    def _inputParameters(self):
        values = super()._inputParameters()
        if self.inputModel.get() is not None:
            values["model"] = self.inputModel.get().getFileName()
        return values

    def createOutputStep(self, fingerprint):
        """Make the set in its new poses."""
        output, left = self.alignedSet()
        self.note([f"{left} subtomograms could not be read." if left else ""])
        pointers = [self.inputSubTomograms, self.inputReference]
        self.define({"subtomograms": output}, pointers)

    def _validate(self):
        errors = super()._validate()
        model = self.inputModel.get()
        if self.getEnumText("mode") == _NET and model is None:
            errors.append("*Network*: found none, expected one for the search *net*; train one.")
        if model is not None and model.getMethod() != "selfalign train":
            errors.append(
                f"*Network*: found one of {model.getMethod()}, expected one of *train aligner*."
            )
        return errors

    def _summaryOf(self, result):
        lines = [f"*{result.get('particles', 0)}* subtomograms aligned."]
        lines += scoreLines(result)
        if result.get("mirror_image_fits_better"):
            lines.append(
                "*The mirror image of the reference fits better*: reference or tilts have the "
                "other hand. Mirror the reference and align again."
            )
        if "median_change_degrees" in result:
            lines.append(f"Turned by a median of {result['median_change_degrees']:.1f} degrees.")
        return [*lines, *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"{result.get('particles', 0)} subtomograms were aligned with cryodl "
            f"{result.get('version', '')} ({self.getEnumText('mode')}, "
            f"{self.symmetry.get()}) by wedge-constrained cross-correlation."
        ]
