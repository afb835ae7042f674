"""Learn codes of subvolumes without any label."""

from pyworkflow.protocol import params
from tomo.objects import SetOfCoordinates3D

from cryodl_plugin import convert, forms
from cryodl_plugin.convert import picking, tomography
from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols.autoencoder import TRAIN_COMMAND
from cryodl_plugin.protocols.picking import CryoDLProtPicking

FROM_SUBTOMOGRAMS, FROM_COORDINATES, FROM_TOMOGRAMS = range(3)
_FEW = 50
_LEAST_BOX_PX = 8
_ROOM = 2.5  # of a blob in its box


class CryoDLProtAE3DTrain(CryoDLProtPicking):
    """Learn what kinds of things there are, without any label (Autoencoder3D).

    A network learns to put a small volume through a code of few numbers. Codes, invariants of
    rotation and the volumes themselves are then sorted into groups by *group subvolumes*.

    *Inputs*: subtomograms in any orientation; or coordinates and the tomograms that they lie in; or
    tomograms alone, in which blobs of about a diameter are proposed.

    *Outputs*: _model_, the network; _coordinates_ of the proposed blobs where there were tomograms
    alone.

    *Hints*: to segment tomograms later, start from tomograms (with or without coordinates): the
    network then learns from their background as well. Neither gain nor offset of the data matters.
    The preset *tiny* takes a minute or two without a GPU.
    """

    _label = "train autoencoder"
    _command = TRAIN_COMMAND
    _fedByProtocol = frozenset({"inputs", "coordinates", "tomograms", "pixel_size", "diameter"})
    _possibleOutputs = {"model": CryoDLModel, "coordinates": SetOfCoordinates3D}

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addSource(form)
        self._addTiltRange(form)
        labels = {
            "boxSizePx": {"label": "Box size (px)", "condition": f"source != {FROM_SUBTOMOGRAMS}"},
            "proposals": {
                "label": "Most blobs per tomogram",
                "condition": f"source == {FROM_TOMOGRAMS}",
            },
            "proposalsBy": {
                "label": "Propose",
                "condition": f"source == {FROM_TOMOGRAMS}",
            },
            "border": {
                "label": "Boxes that leave the tomogram",
                "condition": f"source != {FROM_SUBTOMOGRAMS}",
            },
            "contrast": {"label": "Matter in the data"},
            "wedgeLoss": {"label": "Compare only what was measured"},
            "pose": {"label": "Normalise poses"},
            "threshold": {"label": "Matter above"},
            "poseSmooth": {"label": "Smoothing before the threshold (px)"},
            "keepAll": {"label": "All pieces of matter"},
            "membrane": {"label": "Membranes"},
            "preset": {"label": "Network"},
            "networkBoxPx": {"label": "Box of the network (px)"},
            "epochs": {"label": "Number of epochs"},
            "rotinv": {"label": "Weight of rotation invariance"},
            "valFraction": {"label": "Share held out"},
        }
        skip = self.fedNames() | {"tilt_min", "tilt_max"}
        forms.addParameters(form, self._command, "Input", skip=skip, **labels)
        for name, title in (("Wedge", "Missing wedge"), ("Pose", "Poses")):
            group = form.addGroup(title)
            forms.addParameters(group, self._command, name, skip=skip, **labels)
        form.addSection(label="Training")
        forms.addParameters(form, self._command, "Training", skip=skip, **labels)
        self._addRunParameters(form, threads=2)

    def _addSource(self, form):
        form.addParam(
            "source",
            params.EnumParam,
            choices=["subtomograms", "coordinates", "tomograms alone"],
            display=params.EnumParam.DISPLAY_HLIST,
            default=FROM_SUBTOMOGRAMS,
            label="Start from",
            help="Subtomograms; coordinates, whose boxes are cut here; or tomograms alone, where "
            "dense blobs, or whatever has more detail than its surroundings, are proposed.",
        )
        form.addParam(
            "inputSubTomograms",
            params.PointerParam,
            pointerClass="SetOfSubTomograms",
            allowsNull=True,
            condition=f"source == {FROM_SUBTOMOGRAMS}",
            important=True,
            label="Subtomograms",
            help="All of one box size, in any orientation; their poses are not used.",
        )
        form.addParam(
            "inputTomograms",
            params.PointerParam,
            pointerClass="SetOfTomograms",
            allowsNull=True,
            condition=f"source != {FROM_SUBTOMOGRAMS}",
            important=True,
            label="Tomograms",
            help="All of one pixel size.",
        )
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates3D",
            allowsNull=True,
            condition=f"source == {FROM_COORDINATES}",
            important=True,
            label="Coordinates",
            help="In tomograms of these names; positions are scaled to their pixel size.",
        )
        form.addParam(
            "blobDiameter",
            params.FloatParam,
            default=200.0,
            condition=f"source == {FROM_TOMOGRAMS}",
            label="Diameter of the blobs (Å)",
            validators=[forms.Limits({"gt": 0})],
            help="Of what is looked for, roughly.\nCommand line: *--diameter*, in voxels",
        )
        form.addParam(
            "onlyTomograms",
            params.StringParam,
            default="",
            condition=f"source != {FROM_SUBTOMOGRAMS}",
            label="Only these tomograms",
            help="Ids with blanks between; the wand lists them. Empty: all.",
        )

    # --- inputs ----------------------------------------------------------------------------

    def fromSubtomograms(self):
        """Tell whether subtomograms are the input."""
        return self.source.get() == FROM_SUBTOMOGRAMS

    def particles(self):
        """Return the subtomograms, or None."""
        return self.inputSubTomograms.get() if self.fromSubtomograms() else None

    def dataSampling(self):
        """Return the sampling of what is learned from, Å, or None."""
        if not self.fromSubtomograms():
            return self.samplingRate()
        return self.particles().getSamplingRate() if self.particles() is not None else None

    def convertInputStep(self, fingerprint):
        """Write the subtomograms, or link the tomograms and write the points."""
        if self.fromSubtomograms():
            self.writeParticles(self.particles(), self._starFile())
            return
        super().convertInputStep(fingerprint)
        if self.source.get() == FROM_COORDINATES:
            ids = self.chosenIds()
            points = self.inputCoordinates.get()
            picking.writeLabels(points, self._pointsFile(), self.samplingRate(), ids)

    def _starFile(self):
        return self.inputFile("particles.star")

    def _pointsFile(self):
        return self.inputFile("points.star")

    def _inputParameters(self):
        if self.dataSampling() is None:
            return {}
        values = {"pixel_size": self.dataSampling()}
        data = self.particles() if self.fromSubtomograms() else self.inputTomograms.get()
        known = tomography.tiltRange(data) or self.givenTiltRange()
        if known:
            values.update(tilt_min=known[0], tilt_max=known[1])
        if self.fromSubtomograms():
            return {**values, "inputs": [self._starFile()]}
        values["inputs"] = self._tomogramParameters()["tomograms"]
        if self.source.get() == FROM_COORDINATES:
            values["coordinates"] = [self._pointsFile()]
        else:
            values["diameter"] = round(self.blobDiameter.get() / self.samplingRate(), 3)
        return values

    def _ownSettings(self):
        state = self.setState(
            self.particles(), self.inputTomograms.get(), self.inputCoordinates.get()
        )
        return {"sets": state, "source": self.source.get(), "tomograms": self.chosenIds()}

    # --- outputs ---------------------------------------------------------------------------

    def blobSizePx(self):
        """Return the size of boxes in voxels of the tomograms."""
        if self.source.get() == FROM_COORDINATES:
            points = self.inputCoordinates.get()
            if points.getBoxSize():
                return round(points.getBoxSize() * points.getSamplingRate() / self.samplingRate())
            return self.boxSizePx.get()
        return max(round(self.blobDiameter.get() / self.samplingRate()), 1)

    def createOutputStep(self, fingerprint):
        """Make the network, and coordinates of proposed blobs."""
        result, rows = self.readResult(), self.readMetrics()
        model = CryoDLModel(fileName=result["model"], method=self._command)
        box = self.particles().getDim()[0] if self.fromSubtomograms() else self.boxSizePx.get()
        model.setTraining(
            version=result.get("version"),
            boxSize=box,
            samplingRate=self.dataSampling(),
            epoch=len(rows),
            loss=rows[-1].get("loss") if rows else None,
        )
        inputs = [self.inputSubTomograms, self.inputTomograms, self.inputCoordinates]
        self.define({"model": model}, inputs)
        if self.source.get() == FROM_TOMOGRAMS:
            table = tomography.readParticles(result["star"])
            sampling = self.samplingRate()
            output = self.newCoordinates(self.inputTomograms, sampling, self.blobSizePx())
            tomography.appendCoordinates(output, table.rows, self.inputTomograms.get(), sampling)
            self.define({"coordinates": output}, [self.inputTomograms])

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._tiltErrors()
        wanted = [
            [("inputSubTomograms", "Subtomograms")],
            [("inputTomograms", "Tomograms"), ("inputCoordinates", "Coordinates")],
            [("inputTomograms", "Tomograms")],
        ][self.source.get()]
        missing = [label for name, label in wanted if getattr(self, name).get() is None]
        if missing:
            return [*errors, *(f"*{label}*: found none, expected a set." for label in missing)]
        if self.fromSubtomograms():
            first = self.particles().getFirstItem()
            box = convert.mapDimensions(first.getFileName()) if first is not None else None
            if box and (len(set(box)) > 1 or box[0] < _LEAST_BOX_PX):
                words = " x ".join(map(str, box))
                errors.append(
                    f"*Subtomograms*: found {words} voxels, expected cubes of {_LEAST_BOX_PX} or "
                    "more."
                )
            return errors
        errors += self._chosenErrors()
        if self.source.get() == FROM_TOMOGRAMS:
            size = self.blobDiameter.get() / self.samplingRate()
            if not 2 < size <= self.boxSizePx.get():
                errors.append(
                    f"*Diameter of the blobs*: found {size:.1f} voxels, expected more than 2 and "
                    f"at most the box of {self.boxSizePx.get()}; {_ROOM:g} diameters make a good "
                    "box."
                )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        count = self.particles().getSize() if self.particles() is not None else None
        if count is not None and 0 < count < _FEW:
            warnings.append(f"There are only {count} subtomograms; groups need hundreds.")
        data = self.particles() if self.fromSubtomograms() else self.inputTomograms.get()
        if data is not None and not (tomography.tiltRange(data) or self.givenTiltRange()):
            warnings.append(
                "The tilts are not known: groups may follow the missing wedge. Give the *Tilt "
                "range*."
            )
        if self.getEnumText("preset") == "paper" and not self.usesGpu():
            warnings.append("The published network takes hours on a processor; *base* does not.")
        return warnings

    def _summaryOf(self, result):
        lines = [
            f"*{result.get('particles', 0)}* subvolumes, {self.getEnumText('preset')} network."
        ]
        if "active_units" in result:
            lines.append(f"Numbers of the code in use: {result['active_units']}.")
        lines.append("Go on with *group subvolumes*.")
        return [*lines, *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"A 3D autoencoder was trained on {result.get('particles', 0)} subvolumes with cryodl "
            f"{result.get('version', '')}."
        ]

    def _citations(self):
        return ["Zeng2018"]
