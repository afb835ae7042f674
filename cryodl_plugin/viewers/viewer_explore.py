"""Views of an exploration: the map, and the blobs in their tomograms."""

import numpy as np

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import CryoDLProtPickExplore
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.feature_map import MapModel
from cryodl_plugin.viewers.map_window import MapView
from cryodl_plugin.viewers.slices import sets
from cryodl_plugin.viewers.slices.model import COLOR_GROUP
from cryodl_plugin.viewers.slices.saving import saveCoordinates
from cryodl_plugin.viewers.viewer_pick import slicesViewer
from cryodl_plugin.viewers.windows import LossView


class CryoDLViewerPickExplore(CryoDLViewerBase):
    """A map of blobs on which labels are chosen."""

    _label = "viewer of exploration"
    _targets = [CryoDLProtPickExplore]
    _rows = {
        "Exploration": [
            (
                "showMap",
                "Map with pictures",
                "What looks alike lies side by side. Choose clusters, or draw a line around "
                "points, and save them as coordinates.",
            ),
            (
                "showSlices",
                "Blobs on slices",
                "All blobs in their tomograms, coloured by cluster.",
            ),
            ("showLoss", "Training", "How well boxes are told apart; works during the run."),
            REPORT_ROW,
        ]
    }

    def mapModel(self):
        """Return places, clusters and pictures of a finished run."""
        result = self.protocol.readResult()
        rows = tomography.readParticles(result["map"]).rows
        places = [[float(row["cdlMapX"]), float(row["cdlMapY"])] for row in rows]
        with np.load(result["codes"], allow_pickle=False) as stored:
            images = stored["images"]
        return MapModel(places, [int(row["rlnClassNumber"]) for row in rows], images)

    def viewMap(self):
        """Return the window of the map."""
        title = f"Map - {self.protocol.getRunName()}"
        return [MapView(self.mapModel(), title, self.getTkRoot(), self.saveChosen, self.showChosen)]

    def viewSlices(self):
        """Return the slice viewer on all blobs."""
        return [self._slices(sets.pointsOf(self.protocol.coordinates))]

    def viewLoss(self):
        """Return the training curve."""
        return [LossView(self.protocol, self.getTkRoot())]

    def saveChosen(self, chosen):
        """Launch the protocol that makes coordinates of what is chosen; return what to say."""
        if not chosen.any():
            raise ValueError("Nothing is chosen: click on a cluster or draw around points.")
        points = sets.pointsOf(self.protocol.coordinates)
        for number in np.flatnonzero(~chosen):
            points.remove(int(number))
        made = saveCoordinates(self._project, points, coordinates=self.protocol.coordinates)
        return slicesViewer(self)._launched(made)

    def showChosen(self, chosen):
        """Open the slice viewer on what is chosen."""
        points = sets.pointsOf(self.protocol.coordinates)
        for number in np.flatnonzero(~chosen):
            points.remove(int(number))
        self._slices(points).show()

    def _slices(self, points):
        viewer = slicesViewer(self)
        entries = sets.entriesOf(self.protocol.inputTomograms.get())
        save = viewer._saver(coordinates=self.protocol.coordinates)
        view = viewer.openSlices(entries, points, save)
        if COLOR_GROUP in view.model.colorChoices():
            view.model.colorBy = COLOR_GROUP
        return view
