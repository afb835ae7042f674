"""Resolution by direction: the 3DFSC of two half maps."""

import numpy as np
from pwem.objects import SetOfFSCs, Volume, VolumeMask
from pyworkflow.object import Float

from cryodl_plugin import convert, forms
from cryodl_plugin.constants import (
    FSC_THRESHOLD,
    INPUT_CHOICES,
    MEAN_COSINE_THRESHOLD,
)
from cryodl_plugin.protocols.half_maps import CryoDLProtHalfMaps

_MEAN_COSINE = 0
_AXES = {"along x": (1, 0, 0), "along y": (0, 1, 0), "along z": (0, 0, 1)}
NUMBER_OF_DIRECTIONS = 500
"""Directions for the best, the worst and the histogram: about 9 degrees from one to the next."""


class CryoDLProtFsc3D(CryoDLProtHalfMaps):
    """Fourier shell correlation of two half maps by direction (3DFSC).

    Preferred orientation leaves a map with directions of lower resolution than the FSC tells. This
    protocol averages the agreement of two half maps over a narrow cone about each direction of
    Fourier space.

    *Inputs*: a volume with its half maps, or two half maps; a mask.

    *Outputs*: _volume_, the 3DFSC with the zero frequency in the middle of the box, 1 where the
    halves agree, which *correct anisotropy* takes as input; _fscs_, the curves over all
    directions, along the three axes, and of the best and worst direction; _resolution_ at FSC
    0.143, and _sphericity_, which is 1 for a map of the same resolution in all directions.

    *Hints*: give the mask of the refinement. A sphericity below 0.9, or a worst direction far from
    the best in the histogram, tells of preferred orientation.
    """

    _label = "directional resolution (3DFSC)"
    _command = "spisonet fsc3d"
    _possibleOutputs = {
        "volume": Volume,
        "fscs": SetOfFSCs,
        "resolution": Float,
        "sphericity": Float,
        "mask": VolumeMask,
    }
    _inputChoices = INPUT_CHOICES[:2]
    _automaticMask = "none, whole box"

    def _defineParams(self, form):
        self._addHalfMapParameters(form)
        self._addMaskParameters(form)
        form.addSection(label="3DFSC")
        forms.addParameters(form, self._command, "3DFSC", skip=self.fedNames())
        self._addRunParameters(form)

    @classmethod
    def fedNames(cls):
        """Return the parameters that are not on the form; nothing is random or trained here."""
        return super().fedNames() | {"precision", "seed"}

    # --- steps -----------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the 3DFSC volume, the curves and the numbers."""
        result = self.readResult()
        volume = Volume(objLabel="3DFSC")
        volume.setFileName(result["fsc3d"])
        volume.setSamplingRate(self.samplingRate())
        outputs = {
            "volume": volume,
            "fscs": self._makeFscs(self._curves(result)),
            "resolution": Float(result["resolution"]),
            "sphericity": Float(result["sphericity"]),
        }
        if self.hasSphere():
            outputs["mask"] = self._makeMask(self.sphereFile())
        self._defineAll(outputs, [*self._halfMapPointers(), self.inputMask])

    def _curves(self, result):
        volume = convert.readMap(result["fsc3d"])
        directions = directionsOf(volume, self.samplingRate(), self.threshold())
        return {"all directions": self.inputFsc(), **directions}

    def threshold(self):
        """Return the value of the 3DFSC that stands for an FSC of 0.143."""
        return MEAN_COSINE_THRESHOLD if self.isMeanCosine() else FSC_THRESHOLD

    def isMeanCosine(self):
        """Tell whether the 3DFSC holds mean cosines of phase differences, or correlations."""
        return self.estimator == _MEAN_COSINE

    # --- information -----------------------------------------------------------------------

    def _summaryOf(self, result):
        return [
            f"Resolution at FSC 0.143: *{result['resolution']:.2f} Å*.",
            f"Sphericity: *{result['sphericity']:.2f}* (1 is isotropic).",
            *self._rangeWords(),
            *super()._summaryOf(result),
        ]

    def _rangeWords(self):
        if not hasattr(self, "fscs"):
            return []
        found = convert.readFscs(self.fscs)
        words = []
        for label in ("best direction", "worst direction"):
            if label in found:
                resolution = convert.resolutionAt(*found[label], self.threshold())
                words.append(f"{label.capitalize()}: {resolution:.2f} Å.")
        return words

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        return [
            "The directional Fourier shell correlation (3DFSC) of the half maps was computed with "
            f"cryodl {result.get('version', '')} over cones of {self.coneAngle.get():g} degrees. "
            f"The overall resolution at FSC 0.143 was {result['resolution']:.2f} Å and the "
            f"sphericity {result['sphericity']:.2f}."
        ]

    def _citations(self):
        return ["Tan2017", "Liu2025"]


def directionsOf(volume, samplingRate, threshold):
    """Return curves of a 3DFSC along the axes and in its best and worst direction."""
    box = volume.shape[0]
    chosen = convert.directionalCurves(volume, np.array(list(_AXES.values()), dtype=float))
    curves = dict(zip(_AXES, chosen))
    around = convert.directionalCurves(volume, convert.hemisphere(NUMBER_OF_DIRECTIONS))
    reached = convert.directionalResolutions(around, box, samplingRate, threshold)
    # Many directions may reach the limit of the 3DFSC: the higher curve is then the better one.
    order = np.lexsort((-around.sum(axis=1), reached))
    curves["best direction"], curves["worst direction"] = around[order[0]], around[order[-1]]
    frequency = convert.frequencies(around.shape[1], box, samplingRate)
    return {label: (frequency, curve) for label, curve in curves.items()}
