"""Train a network that segments tomograms, from groups chosen by eye."""

import json

from pyworkflow.protocol import params

from cryodl_plugin import engine, forms
from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols.autoencoder import (
    SEGMENT_TRAIN_COMMAND,
    SELECT_COMMAND,
    CryoDLProtAE3D,
    readGroups,
)


class CryoDLProtEDSS3DTrain(CryoDLProtAE3D):
    """Train a network that segments whole tomograms, from groups chosen by eye (EDSS3D).

    The voxels of a class come from the averages of its groups, turned into the pose of every
    particle; background from other groups and from places away from all particles. Averages in
    other directions are laid into empty places, too, so that few particles will do.

    *Inputs*: a run of *group subvolumes*, and which of its groups make which class.

    *Output*: _model_, for *segment tomograms*.

    *Hints*: the gallery of the groups (*Analyze Results* there) opens this form with the groups
    that were clicked on. Groups of a run that started from tomograms make better networks than
    those of subtomograms alone.
    """

    _label = "train segmentation"
    _command = SEGMENT_TRAIN_COMMAND
    _onGpu = True
    _runParam = "inputGroups"
    _fedByProtocol = frozenset({"run"})
    _possibleOutputs = {"model": CryoDLModel}

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addRun(form, "CryoDLProtAE3DCluster", "Groups", "A run of *group subvolumes*.")
        form.addParam(
            "classes",
            params.StringParam,
            default="",
            important=True,
            label="Groups of each class",
            help="Numbers of groups with blanks between, classes with semicolons between: *1 3; 2* "
            "makes a class of groups 1 and 3, and another of group 2. The wand lists them.",
        )
        labels = {
            "labelFrom": {"label": "Labels from"},
            "threshold": {"label": "Matter above"},
            "growPx": {"label": "Grow labels by (px)"},
            "synthesis": {"label": "Averages in other directions, too"},
            "background": {"label": "Background boxes for each"},
            "preset": {"label": "Network"},
            "epochs": {"label": "Number of epochs"},
        }
        skip = self.fedNames()
        forms.addParameters(form, self._command, "Labels", skip=skip, **labels)
        form.addSection(label="Training")
        forms.addParameters(form, self._command, "Training", skip=skip, **labels)
        self._addRunParameters(form, threads=2)

    # --- the two commands ------------------------------------------------------------------

    def selectionFolder(self):
        """Return where the chosen particles are."""
        return self._getExtraPath("selection")

    def _classesFile(self):
        return self.inputFile("classes.json")

    def convertInputStep(self, fingerprint):
        """Write which groups make which class, counted from 0 as the engine does."""
        classes = readGroups(self.classes.get())
        with open(self._classesFile(), "w", encoding="utf-8") as file:
            json.dump(
                {str(k): [g - 1 for g in groups] for k, groups in enumerate(classes, 1)}, file
            )

    def runEngineStep(self, fingerprint):
        """Select the particles, then train; a stopped training goes on."""
        values = {"run": self.sourceRun().engineFolder(), "classes": self._classesFile()}
        folder = self.selectionFolder()
        if not engine.belongsTo(self.engineFolder(), fingerprint):
            engine.removeRun(folder)
        try:
            engine.readResult(folder)
        except engine.EngineError:
            engine.removeRun(folder)
            self.getPlugin().runEngine(self, SELECT_COMMAND, {**values, "devices": "cpu"}, folder)
        super().runEngineStep(fingerprint)

    def _inputParameters(self):
        return {"run": self.selectionFolder()}

    def _ownSettings(self):
        return {**super()._ownSettings(), "classes": self.classes.get()}

    def createOutputStep(self, fingerprint):
        """Make the network."""
        result, rows = self.readResult(), self.readMetrics()
        model = CryoDLModel(fileName=result["model"], method=self._command)
        training = self.sourceRun().sourceRun()
        model.setTraining(
            version=result.get("version"),
            boxSize=training.model._boxSize.get(),
            samplingRate=training.dataSampling(),
            epoch=len(rows),
            loss=rows[-1].get("loss") if rows else None,
        )
        self.define({"model": model}, [self.inputGroups])

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate()
        source = self.sourceRun()
        try:
            classes = readGroups(self.classes.get())
        except ValueError as error:
            return [*errors, f"*Groups of each class*: {error}."]
        if source is not None and source.sizes():
            most = max(max(groups) for groups in classes)
            if most > len(source.sizes()):
                errors.append(
                    f"*Groups of each class*: found {most}, expected numbers from 1 to "
                    f"{len(source.sizes())}."
                )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        source = self.sourceRun()
        if source is not None and source.sourceRun().fromSubtomograms():
            warnings.append(
                "The groups are of subtomograms: the network will not see the background between "
                "particles. Start *train autoencoder* from tomograms for better segmentations."
            )
        return warnings

    def _summaryOf(self, result):
        lines = [
            f"*{len(result.get('classes', []))}* classes; overlap with labels that were held out "
            f"(IoU): *{result.get('iou', 0):.2f}*."
        ]
        return [*lines, *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"A segmentation network of {len(result.get('classes', []))} classes was trained with "
            f"cryodl {result.get('version', '')} (EDSS3D) from averages of groups."
        ]
