"""Tomograms and subtomograms with known truth, to try and to teach the other protocols."""

import glob

import numpy as np
from pwem.objects import SetOfVolumes, Volume
from pyworkflow.protocol import params
from tomo.objects import SetOfCoordinates3D, SetOfSubTomograms, SetOfTomograms

from cryodl_plugin import convert, engine, forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.tomography import CryoDLProtTomography


class CryoDLProtSimulation(CryoDLProtTomography):
    """Base of the simulations: the engine's groups on two tabs, no input."""

    _recording = ("Tilt series", "Optics", "Noise", "Grey values")

    def _defineParams(self, form):
        shown = dict.fromkeys(p["group"] for p in forms.schemaParameters(self._command))
        shown.pop(forms.RUN_GROUP, None)
        tabs = {
            "Specimen": [name for name in shown if name not in self._recording],
            "Recording": self._recording,
        }
        for tab, names in tabs.items():
            form.addSection(label=tab)
            for name in filter(self._shownOf, names):
                forms.addParameters(
                    form.addGroup(name),
                    self._command,
                    name,
                    skip=self.fedNames(),
                    **self._overrides(),
                )
        self._addRunParameters(form, threads=0)

    def _shownOf(self, group):
        names = [p["name"] for p in forms.schemaParameters(self._command, group)]
        return [name for name in names if name not in self.fedNames()]

    @classmethod
    def _overrides(cls):
        """Return labels and conditions of the form by parameter."""
        return {
            "boxSizePx": {"label": "Box size (px)"},
            "snr": {"label": "Signal to noise ratio"},
            "ctf": {"label": "CTF"},
            "proportion": {"label": "Shares of the structures"},
            "defocus": {"condition": "ctf"},
            "voltage": {"label": "Voltage (kV)"},
            "sphericalAberration": {"label": "Spherical aberration (mm)"},
            "bfactor": {"label": "B-factor (Å²)"},
            "motionSteps": {"condition": "motion > 0"},
        }

    _fedByProtocol = frozenset({"precision"})

    def _machineParameters(self):
        return {}

    def acquisition(self):
        """Return how the simulated data were recorded."""
        values = self.engineParameters()
        return tomography.makeAcquisition(
            values["tilt_min"],
            values["tilt_max"],
            values["tilt_increment"],
            values["voltage"],
            sphericalAberration=values["spherical_aberration"],
            amplitudeContrast=values["amplitude_contrast"],
        )

    def _structureWords(self):
        return ", ".join(self.engineParameters()["structure"])

    def _validate(self):
        errors = super()._validate()
        if self.hasAttribute("tiltMin"):
            errors += self._tiltErrors()
        if not self.engineParameters()["structure"]:
            errors.append("*Structure*: found none, expected the name of a density, or a file.")
        return errors

    def _methods(self):
        if not self.readResult():
            return []
        return [f"Data were simulated from {self._structureWords()} with cryodl."]

    def _citations(self):
        return []


class CryoDLProtSimulateSubtomograms(CryoDLProtSimulation):
    """Simulate subtomograms whose poses, classes and states are known.

    Each particle is turned, projected along all tilts, gets contrast transfer function, dose
    damping and noise there, and is put together again by back-projection, as in a microscope: the
    missing wedge comes from the tilts and not from a mask.

    *Outputs*: _subtomograms_ with the poses that you let be known; _truth_, the same images with
    their true poses and classes; _references_, the densities without noise, one for each class and
    state.

    *Hints*: the defaults take a minute on a processor. Two structures and some junk make a test for
    classification, a motion one for heterogeneity.
    """

    _label = "simulate subtomograms"
    _command = "simulate subtomograms"
    _possibleOutputs = {
        "subtomograms": SetOfSubTomograms,
        "truth": SetOfSubTomograms,
        "references": SetOfVolumes,
    }

    def createOutputStep(self, fingerprint):
        """Make the sets of what was simulated and of what is true."""
        result = self.readResult()
        outputs = {
            "subtomograms": self._particles("subtomograms", result["star"]),
            "truth": self._particles("truth", result["truth_star"]),
            "references": self._references(result),
        }
        self.define(outputs)

    def _particles(self, name, star):
        table = tomography.nameInProject(tomography.readParticles(star))
        output = SetOfSubTomograms.create(self._getPath(), prefix=f"{name}")
        output.setSamplingRate(table.samplingRate)
        acquisition = self.acquisition()
        output.setAcquisition(acquisition)
        tomography.appendSubtomograms(output, table, acquisition=acquisition)
        return output

    def _references(self, result):
        output = SetOfVolumes.create(self._getPath(), prefix="references")
        output.setSamplingRate(result["pixel_size_angstrom"])
        for key in sorted(key for key in result if key.startswith("reference_")):
            volume = Volume(objLabel=key.replace("_", " "))
            volume.setFileName(result[key])
            volume.setSamplingRate(result["pixel_size_angstrom"])
            output.append(volume)
        return output

    def _summaryOf(self, result):
        snr = result.get("snr")
        noise = f"SNR {snr:.3g}" if snr else "no noise"
        return [
            f"*{result['number']}* subtomograms of {self._structureWords()}: box "
            f"*{result['box_size_px']} px* of *{result['pixel_size_angstrom']:.2f} Å*, {noise}.",
            *super()._summaryOf(result),
        ]


class CryoDLProtSimulateTomograms(CryoDLProtSimulation):
    """Simulate crowded tomograms with the place, pose and class of every particle known.

    Particles, things that only look like them, membranes, gold beads and uneven ice are projected
    along all tilts, get contrast transfer function, dose damping and noise there, and are put
    together again by back-projection, as in a microscope.

    *Outputs*: _tomograms_; _coordinates_ of the particles with their true poses, the class number
    as group; _labels_, if asked for, a share of these, as a person would label some; _clean_, the
    same tomograms without noise.

    *Hints*: the defaults take a minute for each tomogram on a processor. Tomograms differ in
    their seed and in nothing else.
    """

    _label = "simulate tomograms"
    _command = "simulate tomogram"
    _possibleOutputs = {
        "tomograms": SetOfTomograms,
        "coordinates": SetOfCoordinates3D,
        "labels": SetOfCoordinates3D,
        "clean": SetOfTomograms,
    }

    def _defineParams(self, form):
        super()._defineParams(form)
        form.addParam(
            "tomogramCount",
            params.IntParam,
            default=2,
            label="Number of tomograms",
            validators=[params.Range(1, 100, error="should be from 1 to 100")],
            help="Each with a seed one higher than that of the one before.",
        )
        form.addParam(
            "labelledPercent",
            params.FloatParam,
            default=0.0,
            label="Labelled particles (%)",
            validators=[params.Range(0, 100, error="should be from 0 to 100")],
            help="Share of the particles that a further output holds, to try picking from sparse "
            "labels; 0 for no such output.",
        )

    @classmethod
    def _overrides(cls):
        return {**super()._overrides(), "boxSizePx": {"label": "Extent in x and y (px)"}}

    def runEngineStep(self, fingerprint):
        """Run the engine once for each tomogram, in a folder of its own; those done stay."""
        seed = self.engineParameters()["seed"]
        if not engine.belongsTo(self.engineFolder(), fingerprint):
            for folder in glob.glob(f"{self.engineFolder()}*/"):
                engine.removeRun(folder)
            engine.noteFingerprint(self.engineFolder(), fingerprint)
        for index in range(self.tomogramCount.get()):
            values = {**self.engineParameters(), "seed": seed + index}
            self.getPlugin().runEngine(self, self._command, values, self._folderOf(index))

    def _folderOf(self, index):
        return self.engineFolder() if index == 0 else f"{self.engineFolder()}_{index + 1}"

    def _ownSettings(self):
        return {
            "tomogramCount": self.tomogramCount.get(),
            "labelledPercent": self.labelledPercent.get(),
        }

    def createOutputStep(self, fingerprint):
        """Make the tomograms and the coordinates of what is in them."""
        sampling = self.readResult()["pixel_size_angstrom"]
        acquisition = self.acquisition()
        tomograms = self.newTomograms(sampling, acquisition)
        clean = SetOfTomograms.create(self._getPath(), prefix="clean")
        clean.setSamplingRate(sampling)
        rows = []
        for index in range(self.tomogramCount.get()):
            result, tsId = engine.readResult(self._folderOf(index)), f"sim_{index + 1:02d}"
            for output, key in ((tomograms, "data"), (clean, "clean")):
                output.append(tomography.makeTomogram(result[key], tsId, sampling, acquisition))
            rows += self._rowsOf(result, tsId)
        coordinates = self.newCoordinates("tomograms", sampling, self._diameter())
        tomography.appendCoordinates(coordinates, rows, tomograms, sampling)
        outputs = {"tomograms": tomograms, "coordinates": coordinates, "clean": clean}
        if self.labelledPercent.get() > 0:
            labels = self.newCoordinates("tomograms", sampling, self._diameter(), "labels")
            tomography.appendCoordinates(labels, self._someOf(rows), tomograms, sampling)
            outputs["labels"] = labels
        self.define(outputs)

    def _someOf(self, rows):
        """Return a share of the rows, chosen by the seed."""
        count = max(1, round(self.labelledPercent.get() / 100 * len(rows)))
        random = np.random.default_rng(self.engineParameters()["seed"])
        return [rows[i] for i in sorted(random.permutation(len(rows))[:count])]

    def _rowsOf(self, result, tsId):
        if "truth_star" not in result:
            return []
        table = tomography.readParticles(result["truth_star"])
        return [
            {**row, "rlnTomoName": tsId, "cdlGroupId": row["rlnClassNumber"]} for row in table.rows
        ]

    def _diameter(self):
        """Return the box of the first reference in voxels, as that of the coordinates."""
        result = self.readResult()
        names = sorted(key for key in result if key.startswith("reference_"))
        return convert.mapDimensions(result[names[0]])[0] if names else 0

    def _summaryOf(self, result):
        count = self.coordinates.getSize() if hasattr(self, "coordinates") else result["number"]
        return [
            f"*{count}* particles of {self._structureWords()} in *{self.tomogramCount.get()}* "
            f"tomograms of *{result['pixel_size_angstrom']:.2f} Å*.",
            *super()._summaryOf(result),
        ]
