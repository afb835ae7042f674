"""Views of an anisotropy correction."""

from cryodl_plugin import convert
from cryodl_plugin.constants import MEAN_COSINE_THRESHOLD
from cryodl_plugin.protocols import CryoDLProtAnisoCorrect
from cryodl_plugin.viewers import figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.windows import LossView, SlicesView, chimeraView


class CryoDLViewerAnisoCorrect(CryoDLViewerBase):
    """Training curve while it runs; slices, curves and 3DFSC before and after."""

    _label = "viewer of anisotropy correction"
    _targets = [CryoDLProtAnisoCorrect]
    _rows = {
        "Results": [
            (
                "showLoss",
                "Training curve (live)",
                "The loss so far. The window follows the run as long as both are open.",
            ),
            (
                "showMaps",
                "Slices before and after",
                "The mean of the half maps, of the corrected ones, and of these without the "
                "input's noise beyond the limit. *Power in Fourier space* shows what was filled.",
            ),
            (
                "showFscs",
                "FSC before and after",
                "FSC of the half maps inside the mask. Unless the halves were corrected "
                "independently, the second is no measure of resolution.",
            ),
            (
                "showFsc3D",
                "3DFSC of the input",
                "Central slices of the weight by direction that was used.",
            ),
            (
                "showDirections",
                "Directional histogram",
                "How many directions of the input reach which resolution, and where they are.",
            ),
            (
                "showChimera",
                "Before and after in ChimeraX",
                "The input and the corrected map. Needs ChimeraX.",
            ),
            REPORT_ROW,
        ],
    }

    def viewLoss(self):
        """Return the live training curve."""
        return [LossView(self.protocol, self.getTkRoot())]

    def viewMaps(self):
        """Return slices of the maps before and after."""
        title = f"Before and after - {self.protocol.getRunName()}"
        return [SlicesView(self._maps(), title, self.getTkRoot())]

    def _maps(self):
        first, second = self.protocol.halfMapFiles()
        before = convert.readMap(first)
        if second:
            before = (before + convert.readMap(second)) / 2
        maps = {"before": before, "after": convert.readMap(self.protocol.volume.getFileName())}
        filtered = self._filtered()
        if filtered:
            maps["after, up to the limit"] = sum(map(convert.readMap, filtered)) / len(filtered)
        return maps

    def _filtered(self):
        result = self.protocol.readResult()
        names = [result.get(f"corrected_half{number}_filtered") for number in (1, 2)]
        return [name for name in names if name]

    def viewFscs(self):
        """Return the curves before and after."""
        curves = convert.readFscs(self.protocol.fscs)
        return self.showFigure(figures.fscFigure(curves, "FSC of the half maps"), "FSC")

    def _weight(self):
        name = self.protocol.fsc3DFile() or self.protocol.readResult()["fsc3d"]
        return convert.readMap(name)

    def viewFsc3D(self):
        """Return the central slices of the directional weight."""
        figure = figures.fourierFigure(self._weight(), "3DFSC of the input, central slices")
        return self.showFigure(figure, "3DFSC")

    def viewDirections(self):
        """Return the directional histogram of the input."""
        figure = figures.directionFigure(
            self._weight(), self.protocol.samplingRate(), MEAN_COSINE_THRESHOLD
        )
        return self.showFigure(figure, "Directional resolution")

    def viewChimera(self):
        """Return ChimeraX with the maps, or a message."""
        first, _ = self.protocol.halfMapFiles()
        files = [first, self.protocol.volume.getFileName()]
        return [chimeraView(files, self.getTkRoot())]
