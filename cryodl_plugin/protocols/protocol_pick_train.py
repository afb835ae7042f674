"""Train a particle picker from a few labelled particles."""

from pyworkflow.protocol import params

from cryodl_plugin import forms
from cryodl_plugin.convert import picking
from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols.picking import TRAIN_COMMAND, CryoDLProtPicking, diameterErrors
from cryodl_plugin.protocols.tomography import samplingWords

_FEW_LABELS = 20


class CryoDLProtPickTrain(CryoDLProtPicking):
    """Train a picker from a few labelled particles (cet_pick).

    Labels may be sparse: what is not labelled counts as unknown, not as empty. Thirty labelled
    particles of one tomogram are a good start. A part of the labels is held out, to choose the
    threshold and to say how good the picks will be.

    *Inputs*: tomograms; some of their particles as coordinates, which may have been picked on
    tomograms of another binning; the diameter of the particle. Groups of the coordinates can be
    several kinds of particles.

    *Output*: _model_, for *pick particles*.

    *Hints*: label all over the tomograms rather than in one corner. The preset *cpu* takes minutes
    without a GPU. Loss and expected recall can be watched while it runs (*Analyze Results*). To get
    labels, pick some particles in the slice viewer, or let *explore tomograms* propose them.
    """

    _label = "train picker"
    _command = TRAIN_COMMAND
    _fedByProtocol = frozenset(
        {"tomograms", "coordinates", "bbox", "pixel_size", "coordinate_pixel_size"}
    )
    _possibleOutputs = {"model": CryoDLModel}

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addTomograms(form, "Tomograms to train on; those without labels are used as well.")
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates3D",
            important=True,
            label="Labelled particles",
            help="Some of the particles, by their middles. They may belong to tomograms of the "
            "same names with another pixel size: positions are scaled.",
        )
        form.addParam(
            "diameter",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Diameter (Å)",
            validators=[forms.Limits({"gt": 0}, optional=True)],
            help="Of the particle. Empty: the box size of the labels. It should be 6 to 48 voxels; "
            "the wand shows it in voxels.\nCommand line: *--bbox*",
        )
        form.addParam(
            "kindsByGroup",
            params.BooleanParam,
            default=False,
            label="Groups are kinds",
            help="Choose *Yes* if the groups of the labels are several kinds of particles, to be "
            "told apart by one network.",
        )
        self._addOnlyTomograms(form)
        labels = {
            "order": {"label": "Thickness along"},
            "contrast": {"label": "Matter in the tomograms"},
            "fullyLabelled": {"label": "Every particle is labelled"},
            "numEpochs": {"label": "Number of epochs"},
            "steps": {"label": "Number of steps"},
            "preset": {"label": "Network"},
            "cropSlices": {"label": "Slices of crops"},
            "valFraction": {"label": "Share of labels held out"},
            "tau": {"label": "Share of particle centres (tau)"},
            "crWeight": {"label": "Weight of the contrastive loss"},
            "temp": {"label": "Temperature"},
            "thresh": {"label": "Positives above"},
            "compress": {"label": "Merge slices by"},
            "gauss": {"label": "Gaussian filter (px)"},
            "quantise": {"label": "256 grey levels"},
        }
        skip = self.fedNames()
        forms.addParameters(form, self._command, "Input", skip=skip, **labels)
        form.addSection(label="Training")
        forms.addParameters(form, self._command, "Training", skip=skip, **labels)
        for name in ("Losses", "Preparation"):
            group = form.addGroup(name)
            forms.addParameters(group, self._command, name, skip=skip, **labels)
        self._addRunParameters(form, threads=2)

    # --- inputs ----------------------------------------------------------------------------

    def diameterAngstrom(self):
        """Return the diameter in Å, by default the box of the labels; None where nobody said."""
        if self.diameter.get():
            return self.diameter.get()
        labels = self.inputCoordinates.get()
        if labels is None or not labels.getBoxSize():
            return None
        return labels.getBoxSize() * labels.getSamplingRate()

    def diameterPx(self):
        """Return the diameter in voxels of the tomograms, or None."""
        if self.diameterAngstrom() is None or not self.samplingRate():
            return None
        return self.diameterAngstrom() / self.samplingRate()

    def convertInputStep(self, fingerprint):
        """Link the tomograms, and write the labels in their voxels."""
        super().convertInputStep(fingerprint)
        picking.writeLabels(
            self.inputCoordinates.get(),
            self._labelFile(),
            self.samplingRate(),
            self.chosenIds(),
            self.kindsByGroup.get(),
        )

    def _labelFile(self):
        return self.inputFile("labels.star")

    def _inputParameters(self):
        values = self._tomogramParameters()
        if values and self.inputCoordinates.get() is not None:
            values["coordinates"] = [self._labelFile()]
            values["coordinate_pixel_size"] = self.samplingRate()
        if self.diameterPx():
            values["bbox"] = round(self.diameterPx(), 3)
        return values

    def _ownSettings(self):
        return {
            "sets": self.setState(self.inputTomograms.get(), self.inputCoordinates.get()),
            "tomograms": self.chosenIds(),
            "kinds": self.kindsByGroup.get(),
        }

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the network."""
        result = self.readResult()
        rows = self.readMetrics()
        model = CryoDLModel(fileName=result["model"], method=self._command)
        model.setTraining(
            version=result.get("version"),
            boxSize=round(self.diameterPx()),
            samplingRate=self.samplingRate(),
            epoch=rows[-1].get("epoch") if rows else None,
            loss=rows[-1].get("loss") if rows else None,
        )
        labels = self.inputCoordinates.get()
        self.note([samplingWords(tomograms=self.samplingRate(), labels=labels.getSamplingRate())])
        self.define({"model": model}, [self.inputTomograms, self.inputCoordinates])

    # --- information -----------------------------------------------------------------------

    def labelsHere(self):
        """Return the number of labels by tomogram, in those to use."""
        labels = self.inputCoordinates.get()
        counts = dict.fromkeys(self.chosenIds(), 0)
        for item in labels.iterItems() if labels is not None else ():
            if item.getTomoId() in counts and item.isEnabled():
                counts[item.getTomoId()] += 1
        return counts

    def _validate(self):
        errors = super()._validate() + self._chosenErrors()
        tomograms, labels = self.inputTomograms.get(), self.inputCoordinates.get()
        if self.numEpochs.get() is not None and self.steps.get() is not None:
            errors.append("*Number of epochs* and *steps*: found both, expected one of them.")
        if tomograms is None or labels is None:
            return errors
        if not sum(self.labelsHere().values()):
            names = ", ".join(sorted(labels.getTSIds())[:4]) or "no tomogram"
            errors.append(
                f"*Labelled particles*: found none in {', '.join(self.chosenIds()[:4])}, only in "
                f"{names}; expected labels in at least one of the tomograms. Check the names."
            )
        for tsId, (outside, count, size) in picking.pointsOutside(labels, tomograms).items():
            extent = " x ".join(map(str, size))
            errors.append(
                f"*Labelled particles*: found {outside} of {count} outside {tsId} ({extent} "
                f"voxels of {tomograms.getSamplingRate():.2f} Å; labels count in "
                f"{labels.getSamplingRate():.2f} Å), expected all inside. Check pixel sizes and "
                "axes."
            )
        if self.diameterAngstrom() is None:
            errors.append("*Diameter*: found none, and the labels have no box size; give it.")
        else:
            errors += diameterErrors(self.diameterAngstrom(), tomograms.getSamplingRate())
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        count = sum(self.labelsHere().values())
        if 0 < count < _FEW_LABELS:
            warnings.append(
                f"There are only {count} labelled particles: threshold and expected recall will be "
                f"uncertain. {_FEW_LABELS} and more are better; with fewer than 50 raise the "
                "weight of the contrastive loss to 0.5."
            )
        return warnings

    def _summaryOf(self, result):
        lines = [
            f"*{sum(self.labelsHere().values())}* labels, diameter *{self.diameterAngstrom():.0f} "
            f"Å* = {self.diameterPx():.1f} voxels."
        ]
        for kind, found in (result.get("validation") or {}).items():
            threshold = (result.get("thresholds") or {}).get(kind, result.get("threshold", 0))
            if not found.get("held_out"):
                lines.append(f"{kind}: threshold {threshold:.2f}, a guess: no labels held out.")
                continue
            lines.append(
                f"{kind}: expected F1 *{found['f1']:.2f}* (recall {found['recall']:.2f}, "
                f"precision {found['precision']:.2f}) at score {threshold:.2f}, from "
                f"{found['held_out']} held-out labels."
            )
        return [*lines, *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"A picker was trained with cryodl {result.get('version', '')} (cet_pick, "
            f"{self.getEnumText('preset')}) from {sum(self.labelsHere().values())} labelled "
            f"particles of {self.diameterAngstrom():.0f} Å diameter."
        ]

    def _citations(self):
        return ["Huang2022"]
