"""Views of simulated half maps and particles."""

from cryodl_plugin import convert
from cryodl_plugin.protocols import CryoDLProtSimulateHalfMaps, CryoDLProtSimulateParticles
from cryodl_plugin.viewers import figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.windows import SlicesView


class CryoDLViewerSimulate(CryoDLViewerBase):
    """Truth beside the simulated map, and the sampling of Fourier space."""

    _label = "viewer of simulated half maps"
    _targets = [CryoDLProtSimulateHalfMaps]
    _rows = {
        "Simulation": [
            (
                "showMaps",
                "Truth and simulated map",
                "Slices of the density and of the mean of the half maps.",
            ),
            (
                "showSampling",
                "Sampling of Fourier space",
                "Central slices, zero frequency in the middle: bright is measured, dark is not.",
            ),
            REPORT_ROW,
        ]
    }

    def viewMaps(self):
        """Return slices of truth and simulation."""
        maps = {
            "truth": convert.readMap(self.protocol.truth.getFileName()),
            "simulated": convert.readMap(self.protocol.volume.getFileName()),
        }
        return [SlicesView(maps, f"Maps - {self.protocol.getRunName()}", self.getTkRoot())]

    def viewSampling(self):
        """Return the sampling."""
        data = convert.readMap(self.protocol.sampling.getFileName())
        return self.showFigure(figures.fourierFigure(data, "Relative sampling"), "Sampling")


class CryoDLViewerSimulateParticles(CryoDLViewerBase):
    """The density that was projected, and the report with images and views."""

    _label = "viewer of simulated particles"
    _targets = [CryoDLProtSimulateParticles]
    _rows = {
        "Simulation": [
            ("showTruth", "Truth", "Slices of the density that was projected."),
            REPORT_ROW,
        ]
    }

    def viewTruth(self):
        """Return slices of the density."""
        maps = {"truth": convert.readMap(self.protocol.truth.getFileName())}
        return [SlicesView(maps, f"Truth - {self.protocol.getRunName()}", self.getTkRoot())]
