"""Particles of RELION, Warp and M into Scipion."""

import os

from pyworkflow.object import String
from pyworkflow.protocol import params
from tomo.objects import SetOfCoordinates3D, SetOfSubTomograms

from cryodl_plugin import forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.tomography import CryoDLProtTomography, samplingWords

_DIALECT = "relion31"


class CryoDLProtImportParticlesStar(CryoDLProtTomography):
    """Import particles from a STAR file of RELION 3.0 to 5, Warp or M.

    Reads particle files and optimisation sets. Poses of RELION 5 that come in two parts are made
    one, origins in pixels become origins in Å, and columns that Scipion has no place for are kept
    with each particle, so that they are there again after an export.

    *Outputs*: _subtomograms_, where the file names images; _coordinates_, where you give the
    tomograms that the particles lie in. A coordinate is where the pose says that the particle is;
    the coordinate inside a subtomogram is the middle of its box.

    *Hints*: tomograms are known by their names, *TS_01.tomostar* being *TS_01*. Particles of
    tomograms that are not in the set are left out and named in the summary. Images stay where they
    are unless you ask for copies.
    """

    _label = "import particles from STAR"
    _command = "particles convert"
    _fedByProtocol = frozenset({"to", "precision", "seed"})
    _possibleOutputs = {"subtomograms": SetOfSubTomograms, "coordinates": SetOfCoordinates3D}

    def _defineParams(self, form):
        form.addSection(label="Input")
        text = {"condition": "not (star or '.star').endswith('.star')"}
        forms.addParameters(
            form,
            self._command,
            "Input",
            skip=self.fedNames(),
            star={"label": "STAR file", "important": True},
            imageFolder={"label": "Folder of the images"},
            tomograms={"label": "Tilt series (tomograms.star)"},
            checkImages={"label": "Leave out missing images"},
            order=text,
            firstVoxel=text,
            tomogram={"label": "Name of the tomogram", **text},
        )
        form.addParam(
            "inputTomograms",
            params.PointerParam,
            pointerClass="SetOfTomograms",
            allowsNull=True,
            label="Tomograms",
            help="The tomograms that the particles lie in, of any sampling. Without them there are "
            "no coordinates.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=None,
            allowsNull=True,
            label="Box size of the coordinates (px)",
            validators=[forms.Limits({"ge": 2}, optional=True)],
            help="In voxels of the tomograms. Empty: as large as the images are.",
        )
        form.addParam(
            "copyImages",
            params.BooleanParam,
            default=False,
            label="Copy the images",
            help="Copy them into the project instead of linking to them.",
        )
        self._addTiltRange(form)

    def _machineParameters(self):
        return {}

    def _inputParameters(self):
        return {"to": _DIALECT}

    def createOutputStep(self, fingerprint):
        """Make the sets of what the engine has read."""
        table = tomography.readParticles(self.readResult()["star"], withOptics=True)
        tomograms = self.inputTomograms.get()
        outputs, missing = {}, []
        if tomograms is not None and table.hasPlaces():
            outputs["coordinates"], missing = self._coordinates(table, tomograms)
        if table.hasImages():
            outputs["subtomograms"] = self._subtomograms(table, "coordinates" in outputs)
        if not outputs:
            raise tomography.StarError(
                f"{self.star.get()}: found no images, expected some; give the tomograms, to get "
                "coordinates"
            )
        empty = [name for name, output in outputs.items() if output.getSize() == 0]
        if empty:
            raise tomography.StarError(
                f"{self.star.get()}: found particles of {', '.join(missing)}, expected "
                f"{', '.join(tomograms.getTSIds())}; give the tomograms of these particles"
            )
        words = [f"Left out: particles of {', '.join(missing)}."] if missing else []
        words.append(samplingWords(tomograms=self._tomogramSampling(), images=table.samplingRate))
        self.note(words)
        self.define(outputs, [self.inputTomograms])

    def _tomogramSampling(self):
        tomograms = self.inputTomograms.get()
        return tomograms.getSamplingRate() if tomograms is not None else None

    def _coordinates(self, table, tomograms):
        sampling = tomograms.getSamplingRate()
        output = self.newCoordinates(self.inputTomograms, sampling, self._box(table, sampling))
        missing = tomography.appendCoordinates(
            output, table.rows, tomograms, table.coordinateSamplingRate
        )
        return output, missing

    def _box(self, table, sampling):
        given = self.boxSize.get()
        if given:
            return given
        return round(table.boxSize * table.samplingRate / sampling)

    def _subtomograms(self, table, located):
        copy = self.copyImages.get()
        tomography.linkImages(table, self._getExtraPath("images"), copy)
        tomography.linkImages(table, self._getExtraPath("ctf"), copy, label=tomography.CTF)
        tomograms = self.inputTomograms.get() if located else None
        known = tomography.tiltRange(tomograms) if tomograms is not None else None
        acquisition = tomograms.getAcquisition().clone() if known else None
        if acquisition is None and self.givenTiltRange():
            acquisition = tomography.makeAcquisition(*self.givenTiltRange())
        output = self.newSubtomograms(
            table.samplingRate, "coordinates" if located else None, acquisition
        )
        tomography.appendSubtomograms(
            output, table, tomograms, self._tomogramSampling(), acquisition
        )
        tilts = self.readResult().get("optimisation_set")
        if tilts:
            output._cryodlOptimisationSet = String(tilts)
        return output

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._tiltErrors()
        path = self.star.get()
        if path and not os.path.isfile(path):
            errors.append(f"*STAR file*: {path} does not exist.")
        return errors

    def _warnings(self):
        if self.inputTomograms.get() is None:
            return ["Without tomograms the particles have no coordinates in Scipion."]
        return super()._warnings()

    def _summaryOf(self, result):
        lines = [f"*{result.get('read', 0)}* particles read, *{result.get('kept', 0)}* kept."]
        dropped = result.get("dropped") or {}
        if isinstance(dropped, dict):
            lines += [f"{count} dropped: {reason}." for reason, count in dropped.items()]
        return lines + self.notes()

    def _methods(self):
        if not self.readResult():
            return []
        return [f"Particles were read from {os.path.basename(self.star.get())} with cryodl."]

    def _citations(self):
        return []
