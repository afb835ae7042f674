"""Inputs that the protocols on half maps share: the maps, and the mask."""

from pwem.objects import SetOfFSCs, VolumeMask
from pyworkflow.protocol import params

from cryodl_plugin import convert
from cryodl_plugin.constants import (
    INPUT_CHOICES,
    INPUT_ONE_MAP,
    INPUT_TWO_HALVES,
    INPUT_VOLUME,
)
from cryodl_plugin.protocols.base import CryoDLProtBase
from cryodl_plugin.protocols.masks import MaskInput

_SAMPLING_TOLERANCE = 1e-3


class CryoDLProtHalfMaps(MaskInput, CryoDLProtBase):
    """Base of the protocols whose input is a pair of half maps and perhaps a mask."""

    _fedByProtocol = frozenset({"half1", "half2", "mask", "pixel_size"})
    _inputChoices = INPUT_CHOICES

    # --- form ------------------------------------------------------------------------------

    def _addHalfMapParameters(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputFrom",
            params.EnumParam,
            choices=self._inputChoices,
            default=INPUT_VOLUME,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Half maps from",
            help="Refinement protocols give a volume that knows its half maps. Maps that were "
            "imported one by one are given as two volumes.",
        )
        form.addParam(
            "inputVolume",
            params.PointerParam,
            pointerClass="Volume",
            condition=f"inputFrom=={INPUT_VOLUME}",
            important=True,
            label="Volume with half maps",
            help="The unfiltered, unmasked half maps of this volume are used, not the volume.",
        )
        form.addParam(
            "inputHalf1",
            params.PointerParam,
            pointerClass="Volume",
            condition=f"inputFrom!={INPUT_VOLUME}",
            important=True,
            label="Half map 1",
            help="Unfiltered and unmasked, cubic. In *one map alone*: the map.",
        )
        form.addParam(
            "inputHalf2",
            params.PointerParam,
            pointerClass="Volume",
            condition=f"inputFrom=={INPUT_TWO_HALVES}",
            important=True,
            label="Half map 2",
            help="Of the same refinement as half map 1: same box, same sampling.",
        )

    def _addMaskParameters(self, form):
        self._addMask(
            form,
            "The soft solvent mask of the refinement is best. Everything outside is taken for "
            "solvent.",
            "on the grid of the half maps",
            "the largest that fits in the box",
        )

    # --- inputs as files -------------------------------------------------------------------

    def halfMapFiles(self):
        """Return the files of half map 1 and 2; the second None for a map alone, or both None."""
        if self.inputFrom == INPUT_VOLUME:
            volume = self.inputVolume.get()
            halves = list(volume.getHalfMaps(asList=True)) if volume is not None else []
            return (halves[0], halves[1]) if len(halves) == 2 else (None, None)
        first, second = self.inputHalf1.get(), self.inputHalf2.get()
        one = first.getFileName() if first is not None else None
        if self.inputFrom == INPUT_ONE_MAP:
            return one, None
        return one, second.getFileName() if second is not None else None

    def inputReferenceVolume(self):
        """Return the volume that sampling and origin are taken from, or None."""
        pointer = self.inputVolume if self.inputFrom == INPUT_VOLUME else self.inputHalf1
        return pointer.get()

    def samplingRate(self):
        """Return the pixel size in Å."""
        return self.inputReferenceVolume().getSamplingRate()

    def boxSize(self):
        """Return that of the half maps in px, or None."""
        first = self.halfMapFiles()[0]
        size = convert.mapDimensions(first) if first else None
        return size[0] if size else None

    def convertInputStep(self, fingerprint):
        """Write the mask, and maps in formats that the engine does not read as MRC."""
        self.writeMask()
        for name in self._inputMaps().values():
            convert.engineMap(name, self.inputFolder())

    def _inputMaps(self):
        """Return the input maps by engine parameter, as Scipion names them."""
        first, second = self.halfMapFiles()
        maps = {"half1": first, "half2": second}
        if self.maskVolume() is not None:
            maps["mask"] = self.maskVolume().getFileName()
        return {name: path for name, path in maps.items() if path}

    def _inputParameters(self):
        values = {
            name: convert.engineMapName(path, self.inputFolder())
            for name, path in self._inputMaps().items()
        }
        values.update(self.maskParameters())
        # The sampling that Scipion shows and lets people mend wins over that of the headers.
        if self.inputReferenceVolume() is not None:
            values["pixel_size"] = self.samplingRate()
        return values

    def _ownSettings(self):
        return self.maskSettings()

    # --- outputs ---------------------------------------------------------------------------

    def inputFsc(self):
        """Return frequencies in 1/Å and the FSC of the masked input half maps."""
        values = self._inputParameters()
        return self.fscOf(values["half1"], values["half2"], values.get("mask"))

    def fscOf(self, first, second, mask=None):
        """Return frequencies in 1/Å and the FSC of two maps, masked if there is a mask."""
        one, two = convert.readMap(first), convert.readMap(second)
        if mask:
            weight = convert.readMap(mask)
            one, two = one * weight, two * weight
        curve = convert.fourierShellCorrelation(one, two)
        return convert.frequencies(len(curve), len(one), self.samplingRate()), curve

    def _makeMask(self, fileName):
        mask = VolumeMask(objLabel="mask")
        mask.setFileName(fileName)
        mask.setSamplingRate(self.samplingRate())
        return mask

    def _makeFscs(self, curves):
        """Return a set of the curves: label -> (frequency, values)."""
        fscs = SetOfFSCs.create(self._getPath())
        for label, (frequency, values) in curves.items():
            fscs.append(convert.makeFsc(label, frequency, values))
        return fscs

    def _copyOrigin(self, volume):
        """Give an output the origin of the input, where the input has one."""
        reference = self.inputReferenceVolume()
        if reference.hasOrigin():
            volume.setOrigin(reference.getOrigin())

    def _defineAll(self, outputs, pointers):
        self._defineOutputs(**outputs)
        for output in outputs.values():
            for pointer in pointers:
                if pointer.get() is not None:
                    self._defineSourceRelation(pointer, output)

    def _halfMapPointers(self):
        if self.inputFrom == INPUT_VOLUME:
            return [self.inputVolume]
        if self.inputFrom == INPUT_ONE_MAP:
            return [self.inputHalf1]
        return [self.inputHalf1, self.inputHalf2]

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate()
        volume = self.inputVolume.get()
        if self.inputFrom == INPUT_VOLUME and volume is not None and None in self.halfMapFiles():
            errors.append(
                "*Volume with half maps*: found none with this volume, expected two; give them as "
                "*two half maps*."
            )
        errors += self._samplingErrors()
        errors += self._boxErrors()
        return errors

    def _samplingErrors(self):
        if self.inputFrom != INPUT_TWO_HALVES:
            return []
        first, second = self.inputHalf1.get(), self.inputHalf2.get()
        if first is None or second is None:
            return []
        one, two = first.getSamplingRate(), second.getSamplingRate()
        if one and two and abs(one - two) > _SAMPLING_TOLERANCE * one:
            return [
                f"*Half map 2*: found {two:g} Å/px, expected {one:g} as in half map 1; give half "
                "maps of one refinement."
            ]
        return []

    def _boxErrors(self):
        first, others = self.halfMapFiles()[0], dict(self._inputMaps())
        if first is None:
            return []
        box = convert.mapDimensions(first)
        if box is None:
            return [f"*Half map 1*: {first} cannot be read."]
        errors = []
        if len(set(box)) > 1:
            errors.append(f"*Half map 1*: found a box of {_box(box)}, expected a cube.")
        others.pop("half1")
        for name, path in others.items():
            found = convert.mapDimensions(path)
            if found is None:
                errors.append(f"*{self._wordFor(name)}*: {path} cannot be read.")
            elif found != box:
                errors.append(
                    f"*{self._wordFor(name)}*: found a box of {_box(found)}, expected {_box(box)} "
                    "as in half map 1; give maps on one grid."
                )
        if self.hasSphere() and not (-1 <= self.maskRadius.get() <= box[0] // 2):
            errors.append(
                f"*Mask radius*: found {self.maskRadius.get()} px, expected at most half the box, "
                f"{box[0] // 2}, or -1."
            )
        return errors

    @staticmethod
    def _wordFor(name):
        words = {"half2": "Half map 2", "mask": "Volume mask", "aniso_file": "3DFSC"}
        return words.get(name, name.replace("_", " ").capitalize())


def _box(dimensions):
    return " x ".join(map(str, dimensions))
