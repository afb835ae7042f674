"""What the protocols that align subtomograms share: particles, references, masks, poses out."""

from pyworkflow.protocol import params

from cryodl_plugin import convert, forms
from cryodl_plugin.convert import alignment, tomography
from cryodl_plugin.protocols.masks import MaskInput
from cryodl_plugin.protocols.tomography import CryoDLProtTomography

ALIGN_COMMAND = "selfalign align"
REFINE_COMMAND = "selfalign refine"
SUBTOMO_TRAIN_COMMAND = "selfalign train"
ONE_MAP = "Volume, AverageSubTomogram"
_TOLERANCE = 0.02
_EVIDENT_SCORE = 6.0

LABELS = {
    "transfer": {"label": "Seen through"},
    "contrast": {"label": "Matter in the subtomograms"},
    "symmetry": {"label": "Symmetry"},
    "maxShiftPx": {"label": "Largest shift (px)"},
    "rotations": {"label": "Rotations of the search"},
    "coarseShell": {"label": "Band of the coarse search (px)"},
    "batchSize": {"label": "Particles of one pass"},
    "mode": {"label": "Search"},
    "resolution": {"label": "Finest detail (Å)"},
    "localDegrees": {"label": "Reach of a local search (°)"},
    "classes": {"label": "Classes"},
    "initialLowpass": {"label": "Low-pass of the start (Å)"},
    "iterations": {"label": "Rounds"},
    "globalIterations": {"label": "Rounds over all rotations"},
    "keep": {"label": "Share that is averaged"},
    "trainSteps": {"label": "Training steps of a network"},
    "startTemplates": {"label": "Particles tried as start"},
    "startParticles": {"label": "Particles of the start"},
    "preset": {"label": "Network"},
    "source": {"label": "Densities from"},
    "cone": {"label": "Largest rotation (°)"},
    "snrMin": {"label": "Lowest SNR"},
    "snrMax": {"label": "Highest SNR"},
}


class CryoDLProtSubtomos(MaskInput, CryoDLProtTomography):
    """Base of the protocols of SelfAlign."""

    _onGpu = True

    # --- form ------------------------------------------------------------------------------

    @staticmethod
    def _addReference(form, words, classes=ONE_MAP, **arguments):
        form.addParam(
            "inputReference",
            params.PointerParam,
            pointerClass=classes,
            label="Reference",
            help=f"{words} In a box and at a pixel size like those of the subtomograms, matter "
            "bright.",
            **arguments,
        )

    def _addSubtomoMask(self, form):
        self._addMask(
            form,
            "What lies outside is not compared. Automatic: a sphere that leaves out the rim of the "
            "box.",
            "in the box of the subtomograms",
            "0.4 of the box",
        )

    def _addInputGroup(self, form):
        self._addTiltRange(form)
        skip = self.fedNames() | {"tilt_min", "tilt_max"}
        forms.addParameters(form, self._command, "Input", skip=skip, **LABELS)

    # --- inputs ----------------------------------------------------------------------------

    def boxSize(self):
        """Return that of the subtomograms in px, or None."""
        particles = self.inputSubTomograms.get()
        first = particles.getFirstItem() if particles is not None else None
        size = convert.mapDimensions(first.getFileName()) if first is not None else None
        return size[0] if size else None

    def samplingRate(self):
        """Return that of the subtomograms in Å, or None."""
        particles = self.inputSubTomograms.get()
        return particles.getSamplingRate() if particles is not None else None

    def referenceVolumes(self):
        """Return the references that were given."""
        found = self.inputReference.get() if self.hasAttribute("inputReference") else None
        return [] if found is None else [found]

    def referenceFiles(self):
        """Return the references as files for the engine."""
        return [
            convert.engineMapName(one.getFileName(), self.inputFolder())
            for one in self.referenceVolumes()
        ]

    def convertInputStep(self, fingerprint):
        """Write the particles, and the maps that are no MRC files."""
        particles = self.inputSubTomograms.get()
        self.writeParticles(particles, self.inputFile("particles.star"))
        alignment.writeOptimisationSet(particles, self.inputFolder())
        for one in self.referenceVolumes():
            convert.engineMap(one.getFileName(), self.inputFolder())
        self.writeMask()

    @staticmethod
    def _usualRadius(box):
        return round(0.4 * box)

    def _inputParameters(self):
        particles = self.inputSubTomograms.get()
        if particles is None:
            return {}
        values = {
            "star": alignment.particleFile(particles, self.inputFolder()),
            "pixel_size": particles.getSamplingRate(),
        }
        known = tomography.tiltRange(particles) or self.givenTiltRange()
        if known:
            values.update(tilt_min=known[0], tilt_max=known[1])
        if self.referenceFiles():
            values["reference"] = self.referenceFiles()[0]
        values.update(self.maskParameters())
        return values

    def _ownSettings(self):
        particles = self.inputSubTomograms.get()
        return {"sets": self.setState(particles), **self.maskSettings()}

    # --- outputs ---------------------------------------------------------------------------

    def alignedSet(self):
        """Return the subtomograms with the poses that the engine has found, and how many it left.

        Each item also gets score, margin, confidence and spread of its pose.
        """
        particles = self.inputSubTomograms.get()
        whole = self.wholeSet(particles)
        coordinates = whole._coordsPointer if whole.hasCoordinates3D() else None
        output = self.newSubtomograms(particles.getSamplingRate(), coordinates)
        output.copyInfo(whole)
        output.setSamplingRate(particles.getSamplingRate())
        alignment.keepOptimisationSet(particles, output)
        table = alignment.readAligned(self.readResult()["star"])
        left = tomography.updateSubtomograms(particles, output, table)
        output.setAlignment3D()
        return output, left

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._tiltErrors()
        box, sampling = self.boxSize(), self.samplingRate()
        if box is None:
            return errors
        for one in self.referenceVolumes():
            errors += _gridErrors("Reference", one, box, sampling)
        if self.maskVolume() is not None:
            errors += _gridErrors("Volume mask", self.maskVolume(), box, sampling)
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        particles = self.inputSubTomograms.get()
        if particles is None or self.givenTiltRange() or alignment.hasTilts(particles):
            return warnings
        if not tomography.tiltRange(particles):
            warnings.append(
                "The subtomograms do not know their tilts, so no missing wedge is taken into "
                "account. Give the *tilt range*."
            )
        return warnings

    def _citations(self):
        return ["Zeng2020"]


def scoreLines(result):
    """Return the lines of a summary on scores and confidence."""
    median = result.get("median_score", 0)
    lines = [
        f"Median score *{median:.1f}* in units of the noise, *{result.get('confident', 0):.0%}* "
        "surer of their pose than 0.9."
    ]
    spread = result.get("median_spread_degrees")
    if spread is not None:
        lines.append(f"Angles are known to about {spread:.1f} degrees about each axis.")
    if median < _EVIDENT_SCORE:
        lines.append("Scores below 6 are what noise reaches: do not trust single poses.")
    return lines


def _gridErrors(name, volume, box, sampling):
    found = convert.mapDimensions(volume.getFileName())
    if found is None:
        return [f"*{name}*: {volume.getFileName()} cannot be read."]
    errors = []
    if set(found) != {box}:
        errors.append(
            f"*{name}*: found a box of {' x '.join(map(str, found))}, expected {box} px as of the "
            "subtomograms; crop or pad it."
        )
    rate = volume.getSamplingRate()
    if rate and sampling and abs(rate / sampling - 1) > _TOLERANCE:
        errors.append(
            f"*{name}*: found {rate:.2f} Å/px, expected {sampling:.2f} as of the subtomograms; "
            "rescale it."
        )
    return errors
