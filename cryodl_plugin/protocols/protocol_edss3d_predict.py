"""Segment tomograms with a trained network."""

from tomo.objects import SetOfCoordinates3D, SetOfTomoMasks

from cryodl_plugin import forms
from cryodl_plugin.convert import picking, tomography
from cryodl_plugin.protocols.autoencoder import METHOD, SEGMENT_COMMAND
from cryodl_plugin.protocols.picking import CryoDLProtPredict
from cryodl_plugin.protocols.tomography import samplingWords


class CryoDLProtEDSS3DPredict(CryoDLProtPredict):
    """Segment tomograms with a trained network, and list what is found (EDSS3D).

    Tomograms may have another pixel size, tilt range, gain and contrast than those of the training:
    they are brought to its voxels and scale.

    *Inputs*: tomograms; a network from *train segmentation*.

    *Outputs*: _tomoMasks_, the number of the class in each voxel; _coordinates_, the middle of each
    thing found, the class as group and how sure the network is as score.

    *Hints*: *Analyze Results* lays the labels over the slices, with the coordinates.
    """

    _label = "segment tomograms"
    _command = SEGMENT_COMMAND
    _fedByProtocol = frozenset({"tomograms", "model", "pixel_size"})
    _possibleOutputs = {"tomoMasks": SetOfTomoMasks, "coordinates": SetOfCoordinates3D}

    def _defineParams(self, form):
        self._addInputs(
            form,
            "Tomograms to segment.",
            "Network",
            "Of *train segmentation*, or imported from a file.",
        )
        labels = {
            "contrast": {"label": "Matter in the tomograms"},
            "threshold": {"label": "Lowest probability"},
            "views": {"label": "Views of the tomogram"},
            "outlines": {"label": "Outlines"},
            "minVolume": {"label": "Smallest thing (share of its class)"},
            "probabilities": {"label": "Maps of probability"},
        }
        skip = self.fedNames()
        forms.addParameters(form, self._command, "Input", skip=skip, **labels)
        group = form.addGroup("What is found")
        forms.addParameters(group, self._command, "Components", skip=skip, **labels)
        self._addRunParameters(form, threads=2)

    def labelFiles(self):
        """Return the labels of each tomogram: tsId -> file."""
        return dict(zip(self.linkedIds(), self.readResult().get("labels", [])))

    def probabilityFiles(self):
        """Return the maps of probability: tsId -> {class: file}."""
        files, ids = self.readResult().get("probabilities", []), self.linkedIds()
        each = len(files) // max(len(ids), 1)
        return {
            tsId: {k + 1: files[i * each + k] for k in range(each)} for i, tsId in enumerate(ids)
        }

    def linkedIds(self):
        """Return the ids of the tomograms in the order of the engine's input."""
        return list(
            tomography.linkNames(
                tomography.tomogramsById(self.inputTomograms.get()), self.chosenIds()
            )
        )

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the labels, and the coordinates of what was found."""
        result, tomograms = self.readResult(), self.inputTomograms.get()
        pointers, sampling = [self.inputTomograms, self.inputModel], tomograms.getSamplingRate()
        known = tomography.tomogramsById(tomograms)
        masks = SetOfTomoMasks.create(self._getPath(), prefix="tomoMasks")
        masks.setSamplingRate(sampling)
        for tsId, path in self.labelFiles().items():
            masks.append(tomography.makeTomoMask(path, known[tsId]))
        self.define({"tomoMasks": masks}, pointers)
        description = self.modelDescription()
        trained = description.get("pixel_size_angstrom")
        self.note([samplingWords(tomograms=sampling, network=trained)])
        if "star" not in result:
            return  # nothing was found, which the summary says
        table = tomography.readParticles(result["star"])
        rows = [{**row, "cdlGroupId": row["rlnClassNumber"]} for row in table.rows]
        box = max(round(description["box_px"] * trained / sampling), 1)
        output = self.newCoordinates(self.inputTomograms, sampling, box)
        tomography.appendCoordinates(output, rows, tomograms, sampling)
        self.define({"coordinates": output}, pointers)

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._chosenErrors()
        if self.inputModel.get() is None:
            return errors
        try:
            description = self.modelDescription()
        except picking.ModelError as error:
            return [*errors, f"*Network*: {error}."]
        found = description.get("method"), description.get("kind")
        if found != (METHOD, "segmentation"):
            errors.append(
                f"*Network*: found one of {found[0]} ({found[1]}), expected one of *train "
                "segmentation*."
            )
        return errors

    def _summaryOf(self, result):
        counts = result.get("counts", {})
        total = sum(counts.values())
        lines = [f"*{total}* things in {len(counts)} tomogram{'s' if len(counts) > 1 else ''}."]
        if not total:
            lines.append("Nothing was found: is the contrast right?")
        return [*lines, *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"Tomograms were segmented with cryodl {result.get('version', '')} (EDSS3D); "
            f"{sum(result.get('counts', {}).values())} things were found."
        ]

    def _citations(self):
        return ["Zeng2018"]
