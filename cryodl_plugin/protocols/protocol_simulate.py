"""Half maps with uneven sampling and known truth, to try and to teach the other protocols."""

from pwem.objects import Volume, VolumeMask

from cryodl_plugin import convert, forms
from cryodl_plugin.protocols.base import CryoDLProtBase

_MODE_CONE, _MODE_PREFERRED = range(2)


class CryoDLProtSimulateHalfMaps(CryoDLProtBase):
    """Simulate half maps with a missing cone or with preferred orientation.

    Takes a density that comes with cryodl, computed from atoms, or a map of yours, samples its
    Fourier space unevenly and adds noise, different for each half map. What is true is known, so
    the outcome of a correction can be judged.

    *Outputs*: _volume_ with its half maps; _mask_; _truth_, the density without noise; _sampling_,
    how well each direction of Fourier space was measured, and _cone_, the badly measured part of
    it, both with the zero frequency in the middle.

    *Hints*: a box of 64 and SNR 1 suit a processor. Real data are harder: there are no errors of
    alignment or CTF here.
    """

    _label = "simulate half maps"
    _command = "simulate half-maps"
    _possibleOutputs = {
        "volume": Volume,
        "mask": VolumeMask,
        "truth": Volume,
        "sampling": Volume,
        "cone": Volume,
    }

    def _defineParams(self, form):
        cone = {"condition": f"mode=={_MODE_CONE}"}
        preferred = {"condition": f"mode=={_MODE_PREFERRED}"}
        conditions = {
            "attenuation": cone,
            "views": preferred,
            "number": {**preferred, "label": "Number of views"},
            "viewSpread": preferred,
            "uniformFraction": preferred,
            "boxSizePx": {"label": "Box size (px)"},
            "snr": {"label": "Signal to noise ratio"},
        }
        form.addSection(label="Input")
        shown = {p["group"]: None for p in forms.schemaParameters(self._command)}
        shown.pop(forms.RUN_GROUP)
        for name in shown:
            group = form.addGroup(name)
            forms.addParameters(group, self._command, name, skip=self.fedNames(), **conditions)
        self._addRunParameters(form, threads=0)

    def _machineParameters(self):
        return {}

    @classmethod
    def fedNames(cls):
        """Return the parameters that are not on the form; nothing is trained here."""
        return super().fedNames() | {"precision"}

    def createOutputStep(self, fingerprint):
        """Make the volume with its halves, the mask and what is true."""
        result = self.readResult()
        sampling = result["pixel_size_angstrom"]
        mean = self._getExtraPath("simulated.mrc")
        convert.averageMaps(result["half1"], result["half2"], mean)
        simulated, mask = Volume(objLabel="simulated"), VolumeMask(objLabel="mask")
        simulated.setFileName(mean)
        simulated.setHalfMaps([result["half1"], result["half2"]])
        mask.setFileName(result["mask"])
        outputs = {"volume": simulated, "mask": mask}
        for name in ("truth", "sampling", "cone"):
            volume = Volume(objLabel=name)
            volume.setFileName(result[name])
            outputs[name] = volume
        for output in outputs.values():
            output.setSamplingRate(sampling)
        self._defineOutputs(**outputs)

    def _summaryOf(self, result):
        return [
            f"{self.structure.get()}: box *{result['box_size_px']} px* of "
            f"*{result['pixel_size_angstrom']:.2f} Å*.",
            f"{self._samplingWords()}, SNR {self.snr.get():g}.",
            *super()._summaryOf(result),
        ]

    def _samplingWords(self):
        if self.mode == _MODE_CONE:
            return (
                f"{100 * self.attenuation.get():g} % sampling within {self.coneAngle.get():g}° of "
                f"{self.axis.get()}"
            )
        return f"{self.number.get()} {self.getEnumText('views')} views about {self.axis.get()}"

    def _methods(self):
        return [f"Half maps were simulated from {self.structure.get()} with cryodl."]

    def _citations(self):
        return ["Liu2025"]
