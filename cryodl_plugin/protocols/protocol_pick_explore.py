"""A map of what is in tomograms, from which first labels are chosen."""

from pyworkflow.protocol import params
from tomo.objects import SetOfCoordinates3D

from cryodl_plugin import forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.picking import CryoDLProtPicking, diameterErrors


class CryoDLProtPickExplore(CryoDLProtPicking):
    """Explore tomograms: a map of what is in them, without any label.

    Blobs of about a diameter are found in the tomograms, and a small network learns to recognise
    each from two views of it, turned over, moved and with other noise. What looks alike gets
    neighbouring places on a map and is put into the same cluster.

    *Inputs*: tomograms; the diameter of what is looked for.

    *Output*: _coordinates_ of all blobs, the number of the cluster as group, the strength as score.

    *Hints*: *Analyze Results* opens the map. Choose clusters, or draw a line around points, look at
    the pictures beside it and in the tomograms, and save them as new coordinates: the first labels
    for *train picker*.
    """

    _label = "explore tomograms"
    _command = "cet-pick explore"
    _fedByProtocol = frozenset({"tomograms", "bbox", "pixel_size"})
    _possibleOutputs = {"coordinates": SetOfCoordinates3D}

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addTomograms(form, "Tomograms to look through.")
        form.addParam(
            "diameter",
            params.FloatParam,
            default=200.0,
            label="Diameter (Å)",
            validators=[forms.Limits({"gt": 0})],
            help="Of what is looked for, roughly; 6 to 48 voxels.\nCommand line: *--bbox*",
        )
        self._addOnlyTomograms(form)
        labels = {
            "order": {"label": "Thickness along"},
            "contrast": {"label": "Matter in the tomograms"},
            "proposals": {"label": "Most blobs per tomogram"},
            "clusters": {"label": "Number of clusters"},
            "steps": {"label": "Number of steps"},
            "embedding": {"label": "Length of the codes"},
        }
        skip = self.fedNames()
        forms.addParameters(form, self._command, "Input", skip=skip, **labels)
        group = form.addGroup("Exploration")
        forms.addParameters(group, self._command, "Exploration", skip=skip, **labels)
        self._addRunParameters(form, threads=2)

    def _inputParameters(self):
        values = self._tomogramParameters()
        if self.samplingRate() and self.diameter.get():
            values["bbox"] = round(self.diameter.get() / self.samplingRate(), 3)
        return values

    def _ownSettings(self):
        return {"sets": self.setState(self.inputTomograms.get()), "tomograms": self.chosenIds()}

    def createOutputStep(self, fingerprint):
        """Make coordinates of all blobs."""
        tomograms = self.inputTomograms.get()
        table = tomography.readParticles(self.readResult()["map"])
        rows = [{**row, "cdlGroupId": row["rlnClassNumber"]} for row in table.rows]
        sampling = tomograms.getSamplingRate()
        size = max(round(self.diameter.get() / sampling), 1)
        output = self.newCoordinates(self.inputTomograms, sampling, size)
        tomography.appendCoordinates(output, rows, tomograms, sampling)
        self.define({"coordinates": output}, [self.inputTomograms])

    def _validate(self):
        errors = super()._validate() + self._chosenErrors()
        if self.samplingRate() and self.diameter.get():
            errors += diameterErrors(self.diameter.get(), self.samplingRate())
        return errors

    def _summaryOf(self, result):
        count, tomograms = result.get("blobs", 0), len(self.chosenIds())
        return [
            f"*{count}* blobs of about {self.diameter.get():.0f} Å in {tomograms} tomograms, in "
            f"*{result.get('clusters', 0)}* clusters; map by {result.get('map_method', '')}.",
            "Choose labels on the map: *Analyze Results*.",
            *super()._summaryOf(result),
        ]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"{result.get('blobs', 0)} blobs of the tomograms were grouped into "
            f"{result.get('clusters', 0)} clusters by a contrastively trained network with cryodl "
            f"{result.get('version', '')}."
        ]

    def _citations(self):
        return ["Huang2022", "Huang2024"]
