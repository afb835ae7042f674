"""Views of Autoencoder3D and EDSS3D: training, groups to keep by clicking, labels over slices."""

import numpy as np

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtAE3DCluster,
    CryoDLProtAE3DTrain,
    CryoDLProtEDSS3DPredict,
    CryoDLProtEDSS3DTrain,
)
from cryodl_plugin.viewers import autoencoder_figures, figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase
from cryodl_plugin.viewers.class_gallery import classGallery
from cryodl_plugin.viewers.latent_map import LatentModel
from cryodl_plugin.viewers.latent_window import LatentView
from cryodl_plugin.viewers.slices import sets
from cryodl_plugin.viewers.slices.saving import saveSubset
from cryodl_plugin.viewers.viewer_pick import slicesViewer
from cryodl_plugin.viewers.windows import LossView

_SAVED = "Saved: '{}' is running, its output will be the new set."
_NOTHING = "No group is chosen: click on those to keep."


class CryoDLViewerAE3DTrain(CryoDLViewerBase):
    """The training, also while it runs, and the blobs that were proposed."""

    _label = "viewer of autoencoder"
    _targets = [CryoDLProtAE3DTrain]
    _rows = {
        "Training": [
            ("showLoss", "Training curve", "Losses by epoch; works while it runs."),
            (
                "showBlobs",
                "Blobs on slices",
                "Where subvolumes were cut from, if blobs were proposed.",
            ),
            REPORT_ROW,
        ]
    }

    def viewLoss(self):
        """Return the training curve."""
        return [LossView(self.protocol, self.getTkRoot())]

    def viewBlobs(self):
        """Return the slices with the proposed blobs."""
        if not hasattr(self.protocol, "coordinates"):
            return [self.say("No blobs were proposed: the input had subtomograms or coordinates.")]
        return slicesOf(self, self.protocol.inputTomograms.get(), self.protocol.coordinates)


class CryoDLViewerAE3DCluster(CryoDLViewerBase):
    """Groups that are kept or discarded by clicking, how many there are, and the codes."""

    _label = "viewer of groups"
    _targets = [CryoDLProtAE3DCluster]
    _rows = {
        "Groups": [
            (
                "showGallery",
                "Groups",
                "Average (left) and decoded centre (right) of each group. Click on those to keep, "
                "then save their particles as a new set, or go on with the segmentation.",
            ),
            (
                "showSweep",
                "Number of groups",
                "How well groups repeat and how far apart they are, for each number and each kind "
                "of features. The dashed line is what was taken.",
            ),
            (
                "showCodes",
                "Codes",
                "Particles by the principal components of their codes, coloured by group.",
            ),
            ("showPlaces", "Groups on slices", "Where the particles of each group lie."),
            REPORT_ROW,
        ]
    }

    def viewGallery(self):
        """Return the gallery of the groups."""
        from cryodl_plugin.viewers.slices.gallery_window import GalleryView

        prot = self.protocol
        model = classGallery(prot.averageFiles(), prot.centerFiles(), prot.sizes())
        return [
            GalleryView(
                model,
                f"Groups: average and decoded centre - {prot.getRunName()}",
                self.getTkRoot(),
                save=self.saveGroups,
                actions={"Train segmentation": lambda: self.prepareTraining(model.chosen())},
            )
        ]

    def particles(self):
        """Return the set of the output."""
        prot = self.protocol
        return prot.subtomograms if hasattr(prot, "subtomograms") else prot.coordinates

    def saveGroups(self, groups):
        """Launch the protocol that makes a set of the particles of groups; return what to say."""
        if not groups:
            raise ValueError(_NOTHING)
        ids = self.protocol.particleIds()
        keys = sorted(key for group in groups for key in ids.get(group, []))
        made = saveSubset(self._project, self.particles(), keys)
        return _SAVED.format(made.getObjLabel())

    def prepareTraining(self, groups):
        """Make a run of the segmentation's training with each group a class; return it."""
        if not groups:
            self.say(_NOTHING).show()
            return None
        run = self._project.newProtocol(CryoDLProtEDSS3DTrain)
        run.inputGroups.set(self.protocol)
        run.classes.set("; ".join(map(str, groups)))
        self._project.saveProtocol(run)
        refresh = getattr(self.formWindow, "getViewWidget", lambda: None)()
        if hasattr(refresh, "refreshRuns"):
            refresh.refreshRuns()
        self.say(
            f"'{run.getRunName()}' was added to the project with these groups, a class of each. "
            "Open it to join groups of one kind, and execute it."
        ).show()
        return run

    def viewSweep(self):
        """Return the figure of the numbers of groups."""
        result = self.protocol.readResult()
        figure = figures.newFigure(9, 4)
        autoencoder_figures.drawSweep(figure, result["trials"], result["clusters"])
        return self.showFigure(figure, "Number of groups")

    def codes(self):
        """Return the columns of the map: components of the codes, groups, ids."""
        prot = self.protocol
        training = prot.sourceRun().readResult()
        with np.load(training["codes"], allow_pickle=False) as stored:
            codes = autoencoder_figures.principalComponents(stored["codes"])
        columns = {f"pc{i + 1}": values for i, values in enumerate(codes.T)}
        rows = tomography.readParticles(prot.readResult()["star"]).rows
        columns["cluster"] = np.array([int(row["rlnClassNumber"]) for row in rows])
        ids = [row.get(tomography.PARTICLE_ID) for row in rows]
        columns["id"] = np.array([int(key) if key else k for k, key in enumerate(ids, start=1)])
        return columns

    def viewCodes(self):
        """Return the map of the codes."""
        model = LatentModel(self.codes())

        def save(_chosen):
            if not model.count():
                raise ValueError("Nothing is chosen: click on a group or draw around particles.")
            return _SAVED.format(
                saveSubset(self._project, self.particles(), model.ids()).getObjLabel()
            )

        title = f"Codes - {self.protocol.getRunName()}"
        return [LatentView(model, title, self.getTkRoot(), save)]

    def viewPlaces(self):
        """Return the slices with the particles, coloured by group."""
        prot = self.protocol
        if hasattr(prot, "coordinates"):
            return slicesOf(self, prot.sourceRun().inputTomograms.get(), prot.coordinates)
        if not prot.subtomograms.hasCoordinates3D():
            return [self.say("It is not known where these subtomograms lie.")]
        tomograms = prot.subtomograms.getCoordinates3D().getPrecedents()
        points = sets.subtomogramPoints(prot.subtomograms)
        viewer = slicesViewer(self)
        saver = viewer._saver(tomograms=tomograms)
        return [viewer.openSlices(sets.entriesOf(tomograms), points, saver)]


class CryoDLViewerEDSS3DTrain(CryoDLViewerBase):
    """The training of the segmentation, also while it runs."""

    _label = "viewer of segmentation training"
    _targets = [CryoDLProtEDSS3DTrain]
    _rows = {
        "Training": [
            (
                "showLoss",
                "Training curve",
                "Losses, and the overlap (IoU) with labels that were held out; works while it "
                "runs.",
            ),
            REPORT_ROW,
        ]
    }

    def viewLoss(self):
        """Return the training curve."""
        return [LossView(self.protocol, self.getTkRoot())]


class CryoDLViewerEDSS3DPredict(CryoDLViewerBase):
    """Labels and probabilities over slices, with what was found."""

    _label = "viewer of segmentation"
    _targets = [CryoDLProtEDSS3DPredict]
    _rows = {
        "Segmentation": [
            (
                "showLabels",
                "Labels on slices",
                "Labels or probabilities over the slices, with the middle of each thing found, "
                "coloured by class. The slider of the score hides what is unsure.",
            ),
            REPORT_ROW,
        ]
    }

    def viewLabels(self):
        """Return the slices with labels, probabilities and coordinates."""
        prot = self.protocol
        labels, chances = prot.labelFiles(), prot.probabilityFiles()
        overlays = {
            tsId: {
                "labels": path,
                **{f"probability of {k}": file for k, file in chances.get(tsId, {}).items()},
            }
            for tsId, path in labels.items()
        }
        made = getattr(prot, "coordinates", None)
        return slicesOf(self, prot.inputTomograms.get(), made, overlays)


def slicesOf(viewer, tomograms, coordinates, overlays=None):
    """Return the slice window on tomograms with coordinates, if any, and overlays by tsId."""
    slices = slicesViewer(viewer)
    entries = sets.entriesOf(tomograms)
    if overlays is not None:
        entries = [entry for entry in entries if entry.tsId in overlays]
        for entry in entries:
            entry.overlays.update(overlays[entry.tsId])
    if coordinates is None:
        points, source = sets.emptyPoints(entries), {"tomograms": tomograms}
    else:
        points, source = sets.pointsOf(coordinates), {"coordinates": coordinates}
    return [slices.openSlices(entries, points, slices._saver(**source))]
