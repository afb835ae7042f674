"""Learn what differs between aligned subtomograms."""

import os

from pwem.objects import SetOfVolumes, Volume
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED
from tomo.objects import AverageSubTomogram, SetOfSubTomograms

from cryodl_plugin import convert, forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols.opus import TRAIN_COMMAND
from cryodl_plugin.protocols.tomography import CryoDLProtTomography

_FEW = 50
_SLOW_BOX_PX = 64
_POSE = ("rlnAngle", "rlnOrigin", "rlnTomoSubtomogram")


class CryoDLProtOpusTrain(CryoDLProtTomography):
    """Learn what differs between aligned subtomograms (OPUS-TOMO).

    An encoder turns what is left of a particle after the average was taken away into a few numbers,
    its latent; a decoder turns these into a density, which is compared with the particle through
    its CTF and missing wedge. Particles of one state get similar numbers.

    *Inputs*: aligned subtomograms, in C1, not cut off by a tight mask; a solvent mask, if you have
    one.

    *Outputs*: _subtomograms_ with their latents and, if asked for, corrected poses; _average_, the
    average in these poses; _model_, the networks; _motion_, where sub-units are named, how they
    move.

    *Hints*: go on with *analyze states*. Correct the poses nearly always: their errors are the
    largest difference between particles. The preset *demo* takes minutes without a GPU for boxes up
    to 32 px. *Analyze Results* shows the curves and latents while it runs.
    """

    _label = "train states"
    _command = TRAIN_COMMAND
    _onGpu = True
    _fedByProtocol = frozenset(
        {
            "star",
            "folder",
            "tomograms",
            "pixel_size",
            "box_size",
            "mask",
            "bodies",
            "split",
            "tmp_prefix",
            "enc_input",
            "guards",
        }
    )
    _possibleOutputs = {
        "subtomograms": SetOfSubTomograms,
        "average": AverageSubTomogram,
        "model": CryoDLModel,
        "motion": SetOfVolumes,
    }

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addSubtomograms(
            form,
            "Aligned, all of one box size. Symmetry may have been expanded, not applied.",
        )
        form.addParam(
            "inputMask",
            params.PointerParam,
            pointerClass="VolumeMask",
            allowsNull=True,
            label="Solvent mask",
            help="Of the box of the subtomograms; it must hold all that may differ. Found from "
            "the average when there is none.\nCommand line: *--mask*",
        )
        form.addParam(
            "inputBodies",
            params.MultiPointerParam,
            pointerClass="VolumeMask",
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Sub-units that move",
            help="Soft masks of parts that move as rigid bodies, in the box of the subtomograms. "
            "After the training their turns and shifts are learned from the latents.\n"
            "Command line: *--bodies*",
        )
        self._addTiltRange(form)
        skip = self.fedNames() | {"tilt_min", "tilt_max"}
        labels = {
            "transfer": {"label": "Seen through"},
            "tiltAxis": {"label": "Tilt axis (°)"},
            "contrast": {"label": "Matter in the subtomograms"},
            "preset": {"label": "Networks"},
            "zdim": {"label": "Latent dimensions"},
            "epochs": {"label": "Number of epochs"},
            "keepEvery": {"label": "Keep networks every (epochs)"},
            "lr": {"label": "Learning rate"},
            "valfrac": {"label": "Share held out"},
            "downfrac": {"label": "Fraction of the voxels kept"},
            "templateres": {"label": "Decoded box (px)"},
            "betaControl": {"label": "Weight of the latent prior"},
            "beta": {"label": "Rise of the prior"},
            "lamb": {"label": "Disentanglement (lamb)"},
            "bfactor": {"label": "B-factor (published units)"},
            "estpose": {"label": "Correct the poses"},
        }
        forms.addParameters(form, self._command, "Input", skip=skip, **labels)
        form.addSection(label="Training")
        forms.addParameters(form, self._command, "Training", skip=skip, **labels)
        self._addPoses(form.addGroup("Poses"), skip, labels)
        form.addSection(label="Network")
        for name in ("Boxes", "Losses"):
            group = form.addGroup(name)
            forms.addParameters(group, self._command, name, skip=skip, **labels)
        self._addRunParameters(form, threads=2)

    def _addPoses(self, group, skip, labels):
        only = {"condition": "estpose"}
        names = ("poseMethod", "poseRounds", "sigmaRotation", "sigmaShift")
        own = dict.fromkeys(names, only)
        forms.addParameters(group, self._command, "Poses", skip=skip, **{**labels, **own})
        group.addParam(
            "writePoses",
            params.BooleanParam,
            default=True,
            condition="estpose",
            label="Corrected poses in the output",
            help="Choose *No* to give the output the poses of the input: the corrections then "
            "serve the training only.",
        )

    # --- inputs ----------------------------------------------------------------------------

    def convertInputStep(self, fingerprint):
        """Write the particles, and the mask as MRC."""
        self.writeParticles(self.inputSubTomograms.get(), self._starFile())
        mask = self.inputMask.get()
        if mask is not None:
            data = convert.readMap(mask.getFileName())
            convert.writeMap(self._maskFile(), data, mask.getSamplingRate())
        for body, path in zip(self.bodies(), self._bodyFiles()):
            convert.writeMap(path, convert.readMap(body.getFileName()), body.getSamplingRate())

    def bodies(self):
        """Return the masks of sub-units."""
        return [pointer.get() for pointer in self.inputBodies if pointer.get() is not None]

    def _bodyFiles(self):
        return [self.inputFile(f"body{i + 1}.mrc") for i in range(len(self.bodies()))]

    def _starFile(self):
        return self.inputFile("particles.star")

    def _maskFile(self):
        return self.inputFile("mask.mrc")

    def _inputParameters(self):
        subtomograms = self.inputSubTomograms.get()
        if subtomograms is None:
            return {}
        values = {"star": self._starFile(), "pixel_size": subtomograms.getSamplingRate()}
        known = tomography.tiltRange(subtomograms) or self.givenTiltRange()
        if known:
            values.update(tilt_min=known[0], tilt_max=known[1])
        if self.inputMask.get() is not None:
            values["mask"] = self._maskFile()
        if self.bodies():
            values["bodies"] = self._bodyFiles()
        return values

    def _ownSettings(self):
        mask = self.inputMask.get()
        state = [] if mask is None else [mask.getFileName(), *forms.fileState(mask.getFileName())]
        bodies = [
            [body.getFileName(), *forms.fileState(body.getFileName())] for body in self.bodies()
        ]
        return {
            "sets": self.setState(self.inputSubTomograms.get()),
            "mask": state,
            "bodies": bodies,
        }

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the particles with their latents, the average, and the networks."""
        result, source = self.readResult(), self.inputSubTomograms.get()
        table = tomography.readParticles(result["star"])
        if not (self.estpose.get() and self.writePoses.get()):
            keepPoses(table, tomography.readParticles(self._starFile()))
        output = self.newSubtomograms(source.getSamplingRate())
        output.copyInfo(self.wholeSet(source))
        left = tomography.updateSubtomograms(source, output, table)
        average = AverageSubTomogram()
        average.setFileName(result["consensus"])
        average.setSamplingRate(source.getSamplingRate())
        model = CryoDLModel(fileName=result["model"], method=self._command)
        box = convert.mapDimensions(result["consensus"])
        rows = self.readMetrics()
        model.setTraining(
            version=result.get("version"),
            boxSize=box[0] if box else None,
            samplingRate=source.getSamplingRate(),
            epoch=len(rows),
            loss=rows[-1].get("loss") if rows else None,
        )
        self.note([f"{left} particles were left out." if left else ""])
        outputs = {"subtomograms": output, "average": average, "model": model}
        if result.get("bodies_series"):
            outputs["motion"] = self._motion(result, source.getSamplingRate())
        self.define(outputs, [self.inputSubTomograms, self.inputMask])

    def _motion(self, result, sampling):
        """Return the densities along the motion of the sub-units, in order."""
        output = SetOfVolumes.create(self._getPath(), prefix="motion")
        output.setSamplingRate(sampling)
        for number in range(1, len(result["bodies_series"]) + 1):
            volume = Volume(objLabel=f"motion {number}")
            volume.setFileName(result[f"bodies_{number}"])
            volume.setSamplingRate(sampling)
            output.append(volume)
        return output

    def latentsFile(self):
        """Return the file of the latents; it is there once the run has ended."""
        return self.readResult().get("latents", self.enginePath("latents.npz"))

    def livePicture(self):
        """Return the picture that is drawn after each epoch, or None."""
        path = self.enginePath("tmp.png")
        return path if os.path.exists(path) else None

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._tiltErrors()
        subtomograms, mask = self.inputSubTomograms.get(), self.inputMask.get()
        if subtomograms is None:
            return errors
        first = subtomograms.getFirstItem()
        box = convert.mapDimensions(first.getFileName()) if first is not None else None
        if first is not None and not subtomograms.hasAlignment3D() and not first.hasTransform():
            errors.append("*Subtomograms*: found no poses, expected aligned subtomograms.")
        if box and (len(set(box)) > 1 or box[0] % 2):
            words = " x ".join(map(str, box))
            errors.append(f"*Subtomograms*: found {words} voxels, expected even cubes.")
        for name, one in [
            ("Solvent mask", mask),
            *(("Sub-units that move", body) for body in self.bodies()),
        ]:
            size = convert.mapDimensions(one.getFileName()) if one is not None else None
            if one is not None and box and size != box:
                errors.append(
                    f"*{name}*: found {size[0] if size else '?'} px, expected {box[0]} px as "
                    "the subtomograms have; make it from their average."
                )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        subtomograms = self.inputSubTomograms.get()
        if subtomograms is None:
            return warnings
        first = subtomograms.getFirstItem()
        if 0 < subtomograms.getSize() < _FEW:
            warnings.append(
                f"There are only {subtomograms.getSize()} subtomograms; states are found among "
                "hundreds."
            )
        known = tomography.tiltRange(subtomograms) or self.givenTiltRange()
        if first is not None and not first.hasAttribute("_rlnCtfImage") and not known:
            warnings.append(
                "Neither CTF nor tilts are known: clusters may be clusters of missing wedges. "
                "Give the *Tilt range* at least."
            )
        box = convert.mapDimensions(first.getFileName()) if first is not None else None
        small = self.getEnumText("preset") in ("demo", "small")
        if box and box[0] > _SLOW_BOX_PX and not self.usesGpu() and not small:
            warnings.append(
                f"Boxes of {box[0]} px with these networks take days on a processor: use a GPU, or "
                "the preset *small*."
            )
        return warnings

    def _summaryOf(self, result):
        lines = [
            f"*{result.get('particles', 0)}* subtomograms; densities vary by "
            f"*{100 * result.get('spread', 0):.1f} %* of the average"
            + (
                ": the latents have *collapsed* and mean nothing."
                if result.get("collapsed")
                else "."
            )
        ]
        leak = result.get("direction_leakage")
        if leak is not None:
            lines.append(f"Viewing direction in the latents: {leak:+.2f} above chance.")
        if "median_turn_degrees" in result:
            lines.append(
                f"Poses corrected by {result['median_turn_degrees']:.2f}° and "
                f"{result['median_move_px']:.2f} px in the median"
                + ("." if self.writePoses.get() else ", not in the output.")
            )
        for number, turned in enumerate(result.get("bodies_range_degrees", []), start=1):
            lines.append(f"Sub-unit {number} turns by {turned:.0f}° between the extremes.")
        return [*lines, *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"The heterogeneity of {result.get('particles', 0)} subtomograms was learned with "
            f"cryodl {result.get('version', '')} (OPUS-TOMO, {self.getEnumText('preset')} "
            "networks)."
        ]

    def _citations(self):
        return ["Luo2023"]


def keepPoses(table, before):
    """Give the rows of a table the poses that the same particles had before."""
    known = before.byId()
    for key, row in table.byId().items():
        own = known[key]
        for label in [name for name in row if name.startswith(_POSE)]:
            del row[label]
        row.update({name: value for name, value in own.items() if name.startswith(_POSE)})
