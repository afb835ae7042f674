"""What the protocols of the picker share: tomograms in, how many and which points."""

from pyworkflow.protocol import params

from cryodl_plugin.convert import picking, tomography
from cryodl_plugin.protocols.tomography import CryoDLProtTomography

TRAIN_COMMAND = "cet-pick train"
LEAST_DIAMETER_PX, MOST_DIAMETER_PX = 6, 48


class CryoDLProtPicking(CryoDLProtTomography):
    """Base of the picker's protocols."""

    _onGpu = True

    @staticmethod
    def _addTomograms(form, words):
        form.addParam(
            "inputTomograms",
            params.PointerParam,
            pointerClass="SetOfTomograms",
            important=True,
            label="Tomograms",
            help=words,
        )

    @staticmethod
    def _addOnlyTomograms(form):
        form.addParam(
            "onlyTomograms",
            params.StringParam,
            default="",
            label="Only these tomograms",
            help="Ids with blanks between; the wand lists them. Empty: all.",
        )

    def tomogramIds(self):
        """Return the ids of all tomograms of the input."""
        tomograms = self.inputTomograms.get()
        return sorted(tomography.tomogramsById(tomograms)) if tomograms is not None else []

    def chosenIds(self):
        """Return the ids of the tomograms to use."""
        return (self.onlyTomograms.get() or "").replace(",", " ").split() or self.tomogramIds()

    def samplingRate(self):
        """Return that of the tomograms in Å, or None."""
        tomograms = self.inputTomograms.get()
        return tomograms.getSamplingRate() if tomograms is not None else None

    def convertInputStep(self, fingerprint):
        """Link the tomograms under their ids."""
        tomography.linkTomograms(self.inputTomograms.get(), self._linkFolder(), self.chosenIds())

    def _linkFolder(self):
        return self.inputFile("tomograms")

    def _tomogramParameters(self):
        tomograms = self.inputTomograms.get()
        if tomograms is None:
            return {}
        ids = tomography.linkNames(tomography.tomogramsById(tomograms), self.chosenIds())
        return {
            "tomograms": [tomography.tomogramLink(tsId, self._linkFolder()) for tsId in ids],
            "pixel_size": tomograms.getSamplingRate(),
        }

    def _chosenErrors(self):
        unknown = set(self.chosenIds()) - set(self.tomogramIds())
        if not unknown or self.inputTomograms.get() is None:
            return []
        return [
            f"*Only these tomograms*: found {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join(self.tomogramIds())}."
        ]


class CryoDLProtPredict(CryoDLProtPicking):
    """Base of the protocols that apply a trained network to tomograms."""

    def _addInputs(self, form, words, label, modelWords):
        """Add machine and inputs: the tomograms, the network, which tomograms."""
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addTomograms(form, words)
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="CryoDLModel",
            important=True,
            label=label,
            help=modelWords,
        )
        self._addOnlyTomograms(form)

    def modelDescription(self):
        """Return what the network says of itself.

        Raises
        ------
        ModelError
            It is no network of the engine.
        """
        return picking.readModelDescription(self.inputModel.get().getFileName())

    def _inputParameters(self):
        values = self._tomogramParameters()
        if self.inputModel.get() is not None:
            values["model"] = self.inputModel.get().getFileName()
        return values

    def _ownSettings(self):
        return {"sets": self.setState(self.inputTomograms.get()), "tomograms": self.chosenIds()}


def diameterErrors(diameter, sampling):
    """Return what is wrong with a diameter in Å for tomograms of a sampling, and what would do."""
    size = diameter / sampling
    if size < LEAST_DIAMETER_PX:
        return [
            f"*Diameter*: found {diameter:.0f} Å, which is {size:.1f} voxels, expected at least "
            f"{LEAST_DIAMETER_PX}. Use tomograms of at most {diameter / LEAST_DIAMETER_PX:.1f} Å "
            "per voxel, binned less."
        ]
    if size > MOST_DIAMETER_PX:
        binning = -(-size // (MOST_DIAMETER_PX / 2))
        return [
            f"*Diameter*: found {diameter:.0f} Å, which is {size:.0f} voxels, expected at most "
            f"{MOST_DIAMETER_PX}. Bin the tomograms by {binning:.0f}, which makes it "
            f"{size / binning:.0f} voxels; labels may stay as they are."
        ]
    return []
