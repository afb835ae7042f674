"""Subtomograms out of tomograms."""

from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED
from tomo.objects import SetOfSubTomograms

from cryodl_plugin import convert, forms
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.tomography import CryoDLProtTomography, samplingWords


class CryoDLProtExtractSubtomos(CryoDLProtTomography):
    """Cut subtomograms out of tomograms at coordinates.

    The middle of each box is exactly at its coordinate, at any fraction of a voxel. Boxes come from
    the tomograms of the coordinates, or from others of the same specimen with another pixel size,
    for example unbinned ones: coordinates are scaled. Coarser boxes are low-passed first. Tomograms
    are read piece by piece, so their size does not matter.

    *Output*: _subtomograms_ with the poses, scores and further columns of the coordinates; each has
    the id of its coordinate.

    *Hints*: the wand beside the box size shows it in Å. How many boxes touch the border is in the
    summary.
    """

    _label = "extract subtomograms"
    _command = "particles extract"
    _fedByProtocol = frozenset(
        {
            "tomograms",
            "coordinates",
            "order",
            "coordinate_pixel_size",
            "tomogram_pixel_size",
            "first_voxel",
            "precision",
        }
    )
    _possibleOutputs = {"subtomograms": SetOfSubTomograms}

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates3D",
            important=True,
            label="Coordinates",
            help="Where to cut. Poses that come with them are kept.",
        )
        form.addParam(
            "inputTomograms",
            params.PointerParam,
            pointerClass="SetOfTomograms",
            allowsNull=True,
            label="Other tomograms",
            help="Cut from these instead of those that were picked in, for example from unbinned "
            "ones. They are told apart by their ids; the pixel size may be another.",
        )
        form.addParam(
            "onlyTomograms",
            params.StringParam,
            default="",
            expertLevel=LEVEL_ADVANCED,
            label="Only these tomograms",
            help="Ids with blanks between, see the wand. Empty: all.",
        )
        labels = {
            "contrast": "Matter in the tomograms",
            "boxSizePx": "Box size (px)",
            "border": "Boxes at the border",
            "normalise": "Grey values",
            "recentre": "Recentre by the poses",
            "tiltMin": "Lowest tilt (°)",
            "tiltMax": "Highest tilt (°)",
        }
        arguments = {name: {"label": label} for name, label in labels.items()}
        forms.addParameters(form, self._command, "Input", skip=self.fedNames(), **arguments)
        for name in ("Boxes", "Missing wedge"):
            group = form.addGroup(name)
            forms.addParameters(group, self._command, name, skip=self.fedNames(), **arguments)
        self._addRunParameters(form, threads=2)

    # --- inputs ----------------------------------------------------------------------------

    def tomogramsToCut(self):
        """Return the tomograms to cut from, or None."""
        if self.inputTomograms.get() is not None:
            return self.inputTomograms.get()
        coordinates = self.inputCoordinates.get()
        return coordinates.getPrecedents() if coordinates is not None else None

    def tomogramIds(self):
        """Return the ids of the tomograms that hold coordinates."""
        coordinates = self.inputCoordinates.get()
        return sorted(coordinates.getTSIds()) if coordinates is not None else []

    def chosenIds(self):
        """Return the ids of the tomograms that are asked for."""
        return (self.onlyTomograms.get() or "").replace(",", " ").split() or self.tomogramIds()

    def outputSampling(self):
        """Return the pixel size of the boxes in Å, or None while it is unknown."""
        tomograms = self.tomogramsToCut()
        if tomograms is None:
            return None
        return tomograms.getSamplingRate() * (self.getAttributeValue("binning") or 1)

    def pickedBoxAngstrom(self):
        """Return how large the picked boxes are in Å, or None where nobody said."""
        coordinates = self.inputCoordinates.get()
        if coordinates is None or not coordinates.getBoxSize():
            return None
        return coordinates.getBoxSize() * coordinates.getSamplingRate()

    def convertInputStep(self, fingerprint):
        """Write coordinates and tomograms, the former in voxels of the latter."""
        tomograms, coordinates = self.tomogramsToCut(), self.inputCoordinates.get()
        tomography.linkTomograms(tomograms, self._linkFolder(), self.chosenIds())
        tomography.writeCoordinates(
            coordinates, self._coordinatesFile(), tomograms.getSamplingRate(), self.chosenIds()
        )

    def _linkFolder(self):
        return self.inputFile("tomograms")

    def _coordinatesFile(self):
        return self.inputFile("coordinates.star")

    def _inputParameters(self):
        tomograms = self.tomogramsToCut()
        if tomograms is None:
            return {}
        ids = tomography.linkNames(tomograms.getTSIds(), self.chosenIds())
        values = {
            "tomograms": [tomography.tomogramLink(tsId, self._linkFolder()) for tsId in ids],
            "coordinates": [self._coordinatesFile()],
            "tomogram_pixel_size": tomograms.getSamplingRate(),
        }
        known = tomography.tiltRange(tomograms)
        if known:
            values.update(tilt_min=known[0], tilt_max=known[1])
        return values

    def _ownSettings(self):
        state = self.setState(self.inputCoordinates.get(), self.tomogramsToCut())
        return {"sets": state, "tomograms": self.chosenIds()}

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the set of boxes; each has the id of its coordinate."""
        table = tomography.readParticles(self.readResult()["star"])
        coordinates, tomograms = self.inputCoordinates.get(), self.tomogramsToCut()
        output = self.newSubtomograms(table.samplingRate, self.inputCoordinates)
        output.setAcquisition(self._acquisition(tomograms))
        tomography.appendExtracted(output, coordinates, table, tomograms)
        words = samplingWords(
            coordinates=coordinates.getSamplingRate(),
            tomograms=tomograms.getSamplingRate(),
            subtomograms=table.samplingRate,
        )
        self.note([words])
        self.define({"subtomograms": output}, [self.inputCoordinates, self.inputTomograms])

    def _acquisition(self, tomograms):
        """Return how the tomograms were recorded, the tilts from the form where they do not say."""
        acquisition = tomograms.getAcquisition().clone()
        if not tomography.tiltRange(tomograms) and self.givenTiltRange():
            low, high = self.givenTiltRange()
            acquisition.setAngleMin(low)
            acquisition.setAngleMax(high)
        return acquisition

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate() + self._tiltErrors()
        coordinates, tomograms = self.inputCoordinates.get(), self.tomogramsToCut()
        if coordinates is None or tomograms is None:
            return errors
        known, needed = set(tomograms.getTSIds()), set(self.chosenIds())
        unknown = needed - set(self.tomogramIds())
        if unknown:
            errors.append(
                f"*Only these tomograms*: found {', '.join(sorted(unknown))}, expected some of "
                f"{', '.join(self.tomogramIds())}."
            )
        if needed - unknown - known:
            errors.append(
                f"*Other tomograms*: found none named {', '.join(sorted(needed - unknown - known))}"
                ", expected one for each tomogram that holds coordinates."
            )
        return errors + self._boxErrors(tomograms)

    def _boxErrors(self, tomograms):
        size = convert.mapDimensions(tomograms.getFirstItem().getFileName())
        binning = self.getAttributeValue("binning") or 1
        box = (self.boxSizePx.get() or 0) * binning
        if size is not None and box > max(size[0], size[1]):
            return [
                f"*Box size*: found {self.boxSizePx.get()} px, which is {box:g} voxels of the "
                f"tomogram, expected at most {max(size[0], size[1])}."
            ]
        return []

    def _summaryOf(self, result):
        return [
            f"*{result.get('kept', 0)}* of {result.get('read', 0)} boxes of "
            f"*{self.boxSizePx.get()} px*.",
            *_atTheBorder(result),
            *self.notes(),
            *super()._summaryOf(result),
        ]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            f"{result.get('kept', 0)} subtomograms of {self.boxSizePx.get()} voxels "
            f"({self.outputSampling():.2f} Å/px) were extracted with cryodl."
        ]

    def _citations(self):
        return []


def _atTheBorder(result):
    """Return what became of the boxes that are not whole, or of points without a box."""
    lines = [f"{count} left out: {why}." for why, count in (result.get("dropped") or {}).items()]
    if result.get("filled"):
        lines.append(f"{result['filled']} reach beyond their tomogram and were filled.")
    return lines
