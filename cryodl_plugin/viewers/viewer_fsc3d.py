"""Views of a 3DFSC."""

from cryodl_plugin import convert
from cryodl_plugin.protocols import CryoDLProtFsc3D
from cryodl_plugin.viewers import figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.windows import chimeraView


class CryoDLViewerFsc3D(CryoDLViewerBase):
    """Curves, directional histogram and central slices of a 3DFSC."""

    _label = "viewer of directional resolution"
    _targets = [CryoDLProtFsc3D]
    _rows = {
        "3DFSC": [
            (
                "showFscs",
                "FSC curves",
                "Over all directions, along the axes, in the best and in the worst direction.",
            ),
            (
                "showDirections",
                "Directional histogram",
                "How many directions reach which resolution, and where they are. A narrow "
                "histogram is an isotropic map.",
            ),
            (
                "showSlices",
                "3DFSC central slices",
                "The 3DFSC across x, y and z, zero frequency in the middle: bright is well "
                "measured, dark is missing.",
            ),
            (
                "showChimera",
                "3DFSC in ChimeraX",
                "The surface of the 3DFSC, a ball for an isotropic map. Needs ChimeraX.",
            ),
            REPORT_ROW,
        ]
    }

    def viewFscs(self):
        """Return the curves."""
        curves = convert.readFscs(self.protocol.fscs)
        # A 3DFSC of mean cosines is lower than an FSC: its curves have a threshold of their own.
        thresholds = {label: self.protocol.threshold() for label in list(curves)[1:]}
        figure = figures.fscFigure(curves, "FSC of the half maps", thresholds)
        return self.showFigure(figure, "FSC")

    def viewDirections(self):
        """Return the histogram and the map of directions."""
        volume = self.protocol.volume
        data = convert.readMap(volume.getFileName())
        figure = figures.directionFigure(data, volume.getSamplingRate(), self.protocol.threshold())
        return self.showFigure(figure, "Directional resolution")

    def viewSlices(self):
        """Return the central slices."""
        data = convert.readMap(self.protocol.volume.getFileName())
        return self.showFigure(figures.fourierFigure(data, "3DFSC, central slices"), "3DFSC")

    def viewChimera(self):
        """Return ChimeraX with the 3DFSC, or a message."""
        return [chimeraView([self.protocol.volume.getFileName()], self.getTkRoot())]
