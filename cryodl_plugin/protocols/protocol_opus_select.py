"""Some of the particles, by the clusters of their latents or by a line drawn around these."""

import os

from pyworkflow.protocol import params
from tomo.objects import SetOfSubTomograms

from cryodl_plugin import forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.opus import SELECT_COMMAND, CryoDLProtOpus

BY_CLUSTER, BY_LASSO = range(2)


class CryoDLProtOpusSelect(CryoDLProtOpus):
    """Take the particles of some states (OPUS-TOMO).

    *Input*: a run of *analyze states*, and which of its clusters; or a line that was drawn around
    latents in its viewer.

    *Output*: _subtomograms_, the chosen ones, with poses and latents.

    *Hints*: the wand lists the clusters. Refine the chosen particles on their own: what differs in
    their average is there, what differs only in decoded densities need not be.
    """

    _label = "select states"
    _command = SELECT_COMMAND
    _runParam = "inputAnalysis"
    _fedByProtocol = frozenset({"run"})
    _possibleOutputs = {"subtomograms": SetOfSubTomograms}

    def _defineParams(self, form):
        form.addSection(label="Input")
        self._addRun(form, "CryoDLProtOpusAnalyze", "Analysis", "A run of *analyze states*.")
        form.addParam(
            "selectBy",
            params.EnumParam,
            choices=["clusters", "a drawn line"],
            display=params.EnumParam.DISPLAY_HLIST,
            default=BY_CLUSTER,
            label="Choose by",
            help="Numbers of clusters, or the line that the viewer of the latents has saved.",
        )
        form.addParam(
            "clusters",
            params.StringParam,
            default="",
            condition=f"selectBy == {BY_CLUSTER}",
            label="Clusters",
            help="Numbers with commas, such as *1,3*; the wand lists them.\n"
            "Command line: *--clusters*",
        )
        form.addParam(
            "lasso",
            params.FileParam,
            default="",
            condition=f"selectBy == {BY_LASSO}",
            label="Drawn line",
            help="A file that *Save as new set* of the viewer has written.\n"
            "Command line: *--lasso*",
        )
        forms.addParameters(
            form,
            self._command,
            "Selection",
            skip=self.fedNames() | {"clusters", "lasso"},
            invert={"label": "Take the others"},
        )
        self._addRunParameters(form, threads=0)

    def _machineParameters(self):
        return {"devices": "cpu"}

    def engineParameters(self):
        """Return the engine's parameters, of clusters and line only what was chosen by."""
        values = super().engineParameters()
        values.pop("lasso" if self.selectBy.get() == BY_CLUSTER else "clusters", None)
        return values

    def createOutputStep(self, fingerprint):
        """Make the set of what was chosen."""
        source = self.sourceRun().subtomograms
        table = tomography.readParticles(self.readResult()["star"])
        output = self.newSubtomograms(source.getSamplingRate())
        output.copyInfo(source)
        tomography.updateSubtomograms(source, output, table)
        self.define({"subtomograms": output}, [self.inputAnalysis])

    def _validate(self):
        errors = super()._validate()
        if self.selectBy.get() == BY_LASSO:
            path = self.lasso.get() or ""
            if not os.path.isfile(path):
                errors.append(f"*Drawn line*: found no file {path or '(empty)'}, expected one.")
            return errors
        words = (self.clusters.get() or "").replace(" ", "")
        parts = [part for part in words.split(",") if part]
        if not parts or not all(part.isdigit() for part in parts):
            errors.append(f"*Clusters*: found '{words}', expected numbers such as 1,3.")
            return errors
        source = self.sourceRun()
        count = len(source.clusterSizes()) if source is not None else 0
        unknown = [part for part in parts if count and not 1 <= int(part) <= count]
        if unknown:
            errors.append(f"*Clusters*: found {unknown[0]}, expected numbers from 1 to {count}.")
        return errors

    def _summaryOf(self, result):
        return [
            f"*{result.get('selected', 0)}* of {result.get('of', 0)} subtomograms.",
            *super()._summaryOf(result),
        ]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [f"{result.get('selected', 0)} subtomograms were chosen by their latents (cryodl)."]
