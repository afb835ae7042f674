"""The mask of a form: none of one's own, a volume, or a sphere; and the file the engine gets."""

from pyworkflow.protocol import params

from cryodl_plugin import convert
from cryodl_plugin.constants import MASK_AUTOMATIC, MASK_SPHERE, MASK_VOLUME


class MaskInput:
    """Mixin of protocols with a mask; they know `boxSize()`, `samplingRate()`, `inputFile()`."""

    _automaticMask = "automatic"

    def _addMask(self, form, words, volumeWords, radiusWords):
        """Add the choice of a mask, with what its three parameters say of themselves."""
        form.addParam(
            "maskFrom",
            params.EnumParam,
            choices=[self._automaticMask, "volume mask", "sphere"],
            default=MASK_AUTOMATIC,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Mask",
            help=words,
        )
        form.addParam(
            "inputMask",
            params.PointerParam,
            pointerClass="VolumeMask",
            condition=f"maskFrom=={MASK_VOLUME}",
            label="Volume mask",
            help=f"Values from 0 to 1 with a soft edge, {volumeWords}.",
        )
        form.addParam(
            "maskRadius",
            params.IntParam,
            default=-1,
            condition=f"maskFrom=={MASK_SPHERE}",
            label="Mask radius (px)",
            help="Radius of the sphere in voxels of the input; the soft edge lies outside. The "
            f"wand shows it on the map. -1 takes {radiusWords}.",
        )

    def maskVolume(self):
        """Return the volume that serves as mask, or None."""
        if not self.hasAttribute("maskFrom") or self.maskFrom != MASK_VOLUME:
            return None
        return self.inputMask.get()

    def hasSphere(self):
        """Return whether a sphere serves as mask."""
        return self.hasAttribute("maskFrom") and self.maskFrom == MASK_SPHERE

    def sphereRadius(self):
        """Return the radius of the sphere in voxels."""
        radius, box = self.maskRadius.get(), self.boxSize()
        if radius is None or radius < 0:
            return self._usualRadius(box)
        return min(radius, box // 2 - 1)

    @staticmethod
    def _usualRadius(box):
        return box // 2 - 1

    def sphereFile(self):
        """Return where the sphere is written."""
        return self.inputFile("sphere_mask.mrc")

    def writeMask(self):
        """Write the sphere, or the volume where the engine does not read it as it is."""
        if self.hasSphere():
            mask = convert.sphereMask(self.boxSize(), self.sphereRadius())
            convert.writeMap(self.sphereFile(), mask, self.samplingRate())
        elif self.maskVolume() is not None:
            convert.engineMap(self.maskVolume().getFileName(), self.inputFolder())

    def maskParameters(self):
        """Return the engine's parameter, nothing without a mask."""
        if self.hasSphere():
            return {"mask": self.sphereFile()}
        if self.maskVolume() is not None:
            name = self.maskVolume().getFileName()
            return {"mask": convert.engineMapName(name, self.inputFolder())}
        return {}

    def maskSettings(self):
        """Return what changes the sphere without changing a parameter of the engine."""
        return {"maskRadius": self.maskRadius.get()} if self.hasSphere() else {}
