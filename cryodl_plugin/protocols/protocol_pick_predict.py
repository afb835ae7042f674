"""Pick particles with a trained picker."""

from pyworkflow.protocol import params
from tomo.objects import SetOfCoordinates3D, SetOfTomoMasks

from cryodl_plugin import forms
from cryodl_plugin.convert import picking, tomography
from cryodl_plugin.protocols.picking import TRAIN_COMMAND, CryoDLProtPredict
from cryodl_plugin.protocols.tomography import samplingWords

_SAME_SAMPLING = 0.1
_SCORE = "rlnAutopickFigureOfMerit"


class CryoDLProtPickPredict(CryoDLProtPredict):
    """Pick particles in tomograms with a trained picker (cet_pick).

    How tomograms are prepared is stored in the picker. The threshold is the one that the held-out
    labels of the training chose, unless you give another. Tomograms of any size are read piece by
    piece.

    *Inputs*: tomograms of about the pixel size of the training; a picker from *train picker* or
    *import network*.

    *Outputs*: _coordinates_ with their scores, the number of the kind as group; _scoreMaps_, if
    asked for: how sure the network is of each voxel, at half the size of the tomograms.

    *Hints*: to change the threshold afterwards, open the picks in the slice viewer (*Analyze
    Results*), move the slider, which counts them, and save them as a new set: nothing is computed
    again. The wand beside the threshold shows the scores of a finished run.
    """

    _label = "pick particles"
    _command = "cet-pick predict"
    _fedByProtocol = frozenset({"tomograms", "model", "pixel_size", "with_score", "imod_order"})
    _possibleOutputs = {"coordinates": SetOfCoordinates3D, "scoreMaps": SetOfTomoMasks}

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        self._addInputs(
            form,
            "Tomograms to pick in, of about the training's pixel size.",
            "Picker",
            "Of a training, or imported from a file.",
        )
        labels = {
            "order": {"label": "Thickness along"},
            "contrast": {"label": "Matter in the tomograms"},
            "outThresh": {"label": "Lowest score"},
            "nmsPx": {"label": "Least distance (px)"},
            "K": {"label": "Most picks per tomogram"},
            "border": {"label": "Margin in the plane (px)"},
            "cutoffZ": {"label": "Slices left out at each end"},
            "flips": {"label": "Average over mirror images"},
        }
        skip = self.fedNames()
        forms.addParameters(form, self._command, "Input", skip=skip, **labels)
        group = form.addGroup("Picks")
        forms.addParameters(group, self._command, "Picks", skip=skip, **labels)
        group.addParam(
            "makeScoreMaps",
            params.BooleanParam,
            default=True,
            label="Score maps as output",
            help="The viewer of this protocol shows them either way; as an output other protocols "
            "can use them.",
        )
        self._addRunParameters(form, threads=2)

    # --- outputs ---------------------------------------------------------------------------

    def heatMaps(self):
        """Return the heat maps of a finished run: tsId -> {kind: file}, in voxels twice as large.

        With one kind it has the empty name.
        """
        result, found = self.readResult(), {}
        for tsId in self.chosenIds():
            for key, path in result.items():
                stem = f"heatmap_{tsId}"
                if key == stem:
                    found.setdefault(tsId, {})[""] = path
                elif key.startswith(f"{stem}_") and key[len(stem) + 1 :] in self._kinds():
                    found.setdefault(tsId, {})[key[len(stem) + 1 :]] = path
        return found

    def _kinds(self):
        try:
            return self.modelDescription().get("kinds", [])
        except (picking.ModelError, AttributeError):
            return []

    def createOutputStep(self, fingerprint):
        """Make the picks, and the score maps if asked for."""
        result, tomograms = self.readResult(), self.inputTomograms.get()
        if self.makeScoreMaps.get():
            pointers = [self.inputTomograms, self.inputModel]
            self.define({"scoreMaps": self._scoreMaps(tomograms)}, pointers)
        if "star" not in result:
            raise picking.ModelError(
                f"found no score above {result.get('threshold', 0):.2f} in "
                f"{len(self.chosenIds())} tomograms, expected some; look at the score histogram "
                "and give a lower score"
            )
        self.define(
            {"coordinates": self._coordinates(result, tomograms)},
            [self.inputTomograms, self.inputModel],
        )

    def _coordinates(self, result, tomograms):
        description = self.modelDescription()
        table = tomography.readParticles(result["star"])
        kinds = description.get("kinds", [])
        rows = []
        for row in table.rows:
            kind = row.get(picking.KIND, kinds[0] if len(kinds) == 1 else "")
            rows.append({**row, "cdlGroupId": picking.groupOf(kind, kinds)})
        sampling = tomograms.getSamplingRate()
        output = self.newCoordinates(self.inputTomograms, sampling, round(description["bbox_px"]))
        tomography.appendCoordinates(output, rows, tomograms, sampling)
        self.note(
            [samplingWords(tomograms=sampling, training=description.get("pixel_size_angstrom"))]
        )
        return output

    def _scoreMaps(self, tomograms):
        known = tomography.tomogramsById(tomograms)
        output = SetOfTomoMasks.create(self._getPath(), prefix="scoreMaps")
        output.setSamplingRate(2 * tomograms.getSamplingRate())
        for tsId, maps in self.heatMaps().items():
            for path in maps.values():
                mask = tomography.makeTomoMask(path, known[tsId])
                mask.setSamplingRate(2 * tomograms.getSamplingRate())
                output.append(mask)
        return output

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._chosenErrors()
        text = (self.outThresh.get() or "").strip()
        if text != "auto" and not _isScore(text):
            errors.append(
                f"*Lowest score*: found '{text}', expected auto or a number from 0 to below 1."
            )
        if self.inputModel.get() is None:
            return errors
        try:
            method = self.modelDescription().get("method")
        except picking.ModelError as error:
            return [*errors, f"*Picker*: {error}."]
        if method != "cet_pick":
            errors.append(
                f"*Picker*: found a network of {method}, expected one of *{TRAIN_COMMAND}*."
            )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        if self.inputModel.get() is None or not self.samplingRate():
            return warnings
        try:
            trained = self.modelDescription().get("pixel_size_angstrom")
        except picking.ModelError:
            return warnings
        if trained and abs(self.samplingRate() / trained - 1) > _SAME_SAMPLING:
            warnings.append(
                f"The tomograms have {self.samplingRate():.2f} Å per voxel, the picker was trained "
                f"at {trained:.2f} Å: particles will look {trained / self.samplingRate():.2g} "
                "times as large to it. Bin the tomograms alike."
            )
        return warnings

    def _summaryOf(self, result):
        counts = {tsId: sum(kinds.values()) for tsId, kinds in result.get("counts", {}).items()}
        whose = "the picker's own" if self.outThresh.get() == "auto" else "as asked for"
        lines = [
            f"*{sum(counts.values())}* picks in {len(counts)} {_tomograms(counts)} with a score "
            f"above *{result.get('threshold', 0):.2f}* ({whose})."
        ]
        if len(counts) > 1:
            few, many = min(counts, key=counts.get), max(counts, key=counts.get)
            lines.append(f"From {counts[few]} in {few} to {counts[many]} in {many}.")
        return [*lines, *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        count = sum(sum(kinds.values()) for kinds in result.get("counts", {}).values())
        return [
            f"{count} particles were picked with cryodl {result.get('version', '')} (cet_pick), "
            f"with scores above {result.get('threshold', 0):.2f}."
        ]

    def _citations(self):
        return ["Huang2022"]


def _tomograms(counts):
    return "tomogram" if len(counts) == 1 else "tomograms"


def _isScore(text):
    try:
        return 0 <= float(text) < 1
    except ValueError:
        return False
