"""Clusters and main directions among the latents of a training."""

from pyworkflow.protocol import params
from tomo.objects import SetOfClassesSubTomograms, SetOfSubTomograms

from cryodl_plugin import engine, forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.opus import (
    ANALYZE_COMMAND,
    VOLUMES_COMMAND,
    CryoDLProtOpus,
    keptEpochs,
)

_SERIES = "clusters"


class CryoDLProtOpusAnalyze(CryoDLProtOpus):
    """Find clusters and main directions among the latents of a training (OPUS-TOMO).

    Latents are scaled by what the decoder makes of them, so that distances are differences of
    densities. They are cut into clusters, and the directions of the largest variation are found.

    *Input*: a run of *train states*.

    *Outputs*: _classes_, a class for each cluster, with the density decoded at its middle;
    _subtomograms_, all of them with the number of their cluster.

    *Hints*: *Analyze Results* shows the latents, coloured by cluster, class, direction, defocus or
    tomogram; draw around some to make a set of them. Clusters come in the number that is asked for,
    whether they are there or not: average their particles before you believe them.
    """

    _label = "analyze states"
    _command = ANALYZE_COMMAND
    _runParam = "inputTraining"
    _fedByProtocol = frozenset({"run"})
    _possibleOutputs = {"classes": SetOfClassesSubTomograms, "subtomograms": SetOfSubTomograms}

    def _defineParams(self, form):
        form.addSection(label="Input")
        self._addRun(form, "CryoDLProtOpusTrain", "Training", "A finished run of *train states*.")
        labels = {
            "epoch": {"label": "Networks after epoch"},
            "clusters": {"label": "Number of clusters"},
            "pcs": {"label": "Principal components"},
            "umap": {"label": "UMAP"},
            "space": {"label": "Distances between"},
            "zd": {"label": "Latents of the poses instead"},
        }
        for name in ("Input", "Analysis"):
            forms.addParameters(form, self._command, name, skip=self.fedNames(), **labels)
        form.addParam(
            "decodeClusters",
            params.BooleanParam,
            default=True,
            condition="not zd",
            label="Decode the clusters",
            help="Make the density at the middle of each cluster, as the picture of its class.",
        )
        self._addRunParameters(form, threads=2)

    def _machineParameters(self):
        return {"devices": "cpu"}

    def _ownSettings(self):
        return {**super()._ownSettings(), "decode": self._decodes()}

    def _decodes(self):
        return self.decodeClusters.get() and not self.zd.get()

    def runEngineStep(self, fingerprint):
        """Analyse, and decode the clusters into a folder of their own."""
        super().runEngineStep(fingerprint)
        if self._decodes():
            values = {"run": self.engineFolder(), "kind": "kmeans", "devices": "cpu"}
            engine.removeRun(self.seriesFolder())
            self.getPlugin().runEngine(self, VOLUMES_COMMAND, values, self.seriesFolder())

    def seriesFolder(self):
        """Return where the densities of the clusters are."""
        return self._getExtraPath(_SERIES)

    def seriesFiles(self):
        """Return the densities of the clusters in their order; empty where none were made."""
        try:
            result = engine.readResult(self.seriesFolder())
        except engine.EngineError:
            return []
        return [result[f"volume_{i + 1}"] for i in range(len(result["volumes"]))]

    def particles(self):
        """Return the subtomograms of the training."""
        return self.sourceRun().subtomograms

    def createOutputStep(self, fingerprint):
        """Make a class of each cluster, and the set with the numbers."""
        source = self.particles()
        table = tomography.readParticles(self.readResult()["star"])
        output = self.newSubtomograms(source.getSamplingRate())
        output.copyInfo(source)
        tomography.updateSubtomograms(source, output, table)
        self.define({"subtomograms": output}, [self.inputTraining])
        classes = SetOfClassesSubTomograms.create(self._getPath(), prefix="classes")
        classes.setImages(self._pointer("subtomograms"))
        assignment = {key: int(row["rlnClassNumber"]) for key, row in table.byId().items()}
        files = dict(enumerate(self.seriesFiles(), start=1))
        tomography.fillClasses(classes, assignment, files)
        self.define({"classes": classes}, [self.inputTraining])

    # --- information -----------------------------------------------------------------------

    def clusterSizes(self):
        """Return the number of particles of each cluster."""
        return self.readResult().get("clusters", [])

    def _validate(self):
        errors = super()._validate()
        source = self.sourceRun()
        if source is None or errors:
            return errors
        size = source.subtomograms.getSize()
        if (self.clusters.get() or 0) > size:
            errors.append(
                f"*Number of clusters*: found {self.clusters.get()}, expected at most {size}, one "
                "a particle."
            )
        epoch, kept = self.epoch.get(), keptEpochs(source.engineFolder())
        last = source.model.getEpoch()
        if epoch is not None and epoch not in (*kept, last):
            words = ", ".join(map(str, (*kept, last)))
            errors.append(f"*Networks after epoch*: found {epoch}, expected one of {words}.")
        return errors

    def _summaryOf(self, result):
        lines = [
            f"*{len(self.clusterSizes())}* clusters of "
            f"{', '.join(map(str, self.clusterSizes()))} particles; silhouette "
            f"*{result.get('silhouette', 0):.2f}*."
        ]
        if "agreement_with_linear" in result:
            lines.append(
                "Agreement with what a linear method finds (adjusted Rand index): "
                f"{result['agreement_with_linear']:.2f}."
            )
        lines.append(
            f"Viewing direction in the latents: {result.get('direction_leakage', 0):+.2f} above "
            "chance."
        )
        return [*lines, *super()._summaryOf(result)]

    def _methods(self):
        if not self.readResult():
            return []
        return [f"Latents were cut into {len(self.clusterSizes())} clusters by k-means (cryodl)."]
