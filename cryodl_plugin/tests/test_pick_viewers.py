"""Viewers and wizards of the picker: what they show and what leaves them."""

import json
import os
from unittest import mock

import numpy as np

from cryodl_plugin.protocols.protocol_edit_coordinates import CryoDLProtEditCoordinates
from cryodl_plugin.tests.pick_fixtures import BELOW, PICKS, THRESHOLD, PickTest
from cryodl_plugin.tests.tomography_fixtures import TOMOGRAM_SAMPLING
from cryodl_plugin.viewers import (
    CryoDLViewerPickExplore,
    CryoDLViewerPickPredict,
    CryoDLViewerPickTrain,
    feature_map,
    figures,
    pick_figures,
    viewer_pick,
)
from cryodl_plugin.wizards import (
    CryoDLDiameterWizard,
    CryoDLThresholdWizard,
    CryoDLTomogramWizard,
)


class TestViewers(PickTest):
    """Curves, picks with what lies below the threshold, the map."""

    def viewerOf(self, viewerClass, prot):
        """Return a viewer of a run and its calls."""
        viewer = viewerClass(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        return viewer, viewer._getVisualizeDict()

    def testTraining(self):
        """Losses apart from what the held-out labels say; a run that has just begun."""
        prot = self.finishedTraining()
        _, calls = self.viewerOf(CryoDLViewerPickTrain, prot)
        (view,) = calls["showTraining"]()
        axes = {a.get_title(): a for a in view.figure.axes}
        labels = [line.get_label() for line in axes["Expected on held-out labels"].lines]
        self.assertEqual(labels, ["recall", "precision", "threshold"])
        self.assertEqual([line.get_label() for line in axes["Training"].lines], ["loss"])
        terms = {line.get_label() for line in axes["Terms"].lines}
        self.assertEqual(terms, {"contrast", "heat_map"})
        (slices,) = calls["showLabels"]()
        self.assertEqual(len(slices.model.points), 5)
        figure = pick_figures.drawTraining(figures.newFigure(9, 4), [], {"fraction": 0.1})
        self.assertIn("10 %", figure.get_suptitle())

    def testPicks(self):
        """The slider starts at the picks; lower, maxima of the score maps appear."""
        prot = self.finishedPrediction()
        _, calls = self.viewerOf(CryoDLViewerPickPredict, prot)
        (view,) = calls["showPicks"]()
        model = view.model
        self.assertEqual(model.counts()[1:], (3, 5))
        self.assertEqual(model.entry.overlays, {"score": prot.heatMaps()[model.entry.tsId][""]})
        self.assertIsNotNone(model.overlay(0))
        model.setThreshold(0.35)
        self.assertEqual(model.counts()[1], 4)
        hidden = model.points.ids < 0
        expected = {tuple(np.round(p[:3], 1)) for places in BELOW.values() for p in places}
        found = {tuple(map(float, np.round(p, 1))) for p in model.points.xyz[hidden]}
        self.assertEqual(found, expected)

    def testRecutIsSaved(self):
        """What a lower threshold lets in goes into the new set with its score."""
        prot = self.finishedPrediction()
        points = viewer_pick.pointsWithCandidates(prot)
        points.threshold = 0.35
        points.remove(0)
        path = self.temporary("changes.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(points.changes(), file)
        edit = self.make(
            CryoDLProtEditCoordinates,
            {"inputCoordinates": (prot, "coordinates")},
            changesFile=path,
            minimumScore=0.35,
        )
        self.store(edit)
        edit.createOutputStep(json.dumps(edit.readChanges()), 0.35, None)
        scores = sorted(round(c.getScore(), 2) for c in edit.coordinates.iterItems())
        self.assertEqual(scores, [0.4, 0.7, 0.8])
        self.assertEqual(points.changes()["removed"], [1])

    def testSeveralKinds(self):
        """The slider starts with all picks of all kinds, though their thresholds differ."""
        prot = self.finishedPrediction()
        maps = {tsId: {"a": m[""], "b": m[""]} for tsId, m in prot.heatMaps().items()}
        with (
            mock.patch.object(prot, "heatMaps", return_value=maps),
            mock.patch.object(prot, "_kinds", return_value=["a", "b"]),
            mock.patch.object(viewer_pick, "thresholdsOf", return_value={"a": 0.5, "b": 0.35}),
        ):
            points = viewer_pick.pointsWithCandidates(prot)
            self.assertEqual((points.threshold, len(points.shown())), (0.35, 3))
            points.threshold = 0.1
            self.assertEqual(sorted(points.groups[points.shown()]), [1, 1, 1, 1, 2])
            scores = viewer_pick.scoresByKind(prot)
        self.assertEqual({kind: len(found) for kind, found in scores.items()}, {"a": 5, "b": 1})

    def testScores(self):
        """The histogram counts the picks above the threshold."""
        prot = self.finishedPrediction()
        _, calls = self.viewerOf(CryoDLViewerPickPredict, prot)
        (view,) = calls["showScores"]()
        (text,) = view.figure.axes[0].get_legend().get_texts()
        self.assertEqual(text.get_text(), f"3 of 5 above {THRESHOLD:.2f}")

    def testMap(self):
        """Clusters, lasso, and coordinates of what was chosen."""
        prot = self.finishedExploration()
        viewer, calls = self.viewerOf(CryoDLViewerPickExplore, prot)
        (view,) = calls["showMap"]()
        model = view.model
        self.assertEqual(model.clusterNumbers(), {1: 4, 2: 4, 3: 4})
        model.setCluster(2, True)
        self.assertTrue(model.isChosen(2))
        corners = [(-1, -1), (-0.4, -1), (-0.4, 1), (-1, 1)]
        self.assertEqual(model.lasso(corners), 4)  # cluster 1, on the left
        self.assertEqual(model.count(), 8)
        model.lasso(corners, False)
        self.assertEqual(model.clusterAt(model.places[1], 0.1), 2)
        self.assertIsNone(model.clusterAt((5, 5), 0.1))
        with mock.patch("cryodl_plugin.viewers.viewer_explore.saveCoordinates") as save:
            viewer.saveChosen(model.chosen)
        points = save.call_args.args[1]
        self.assertEqual(sorted(points.ids[points.shown()]), [2, 5, 8, 11])
        with self.assertRaisesRegex(ValueError, "Nothing is chosen"):
            viewer.saveChosen(np.zeros(12, bool))
        feature_map.drawPictures(view.pictures, model, 8)
        self.assertIn("4 chosen", view.pictures.get_title())
        (slices,) = calls["showSlices"]()
        self.assertEqual(slices.model.colorBy, "group")


class TestWizards(PickTest):
    """Each puts into the form what was chosen in its window."""

    def testDiameter(self):
        """The circle, in Å; the mean of the labels is about their places."""
        prot = self.training()
        form = mock.Mock(protocol=prot)
        with mock.patch("cryodl_plugin.wizards.picking.DiameterDialog") as window:
            window.return_value.resultYes.return_value = True
            window.return_value.value = 10
            CryoDLDiameterWizard().show(form)
        form.setVar.assert_called_once_with("diameter", 10 * TOMOGRAM_SAMPLING)
        _, box, count, sampling, size = window.call_args.args
        self.assertEqual((box.shape, count), ((17, 17, 17), 5))
        self.assertEqual((sampling, size), (TOMOGRAM_SAMPLING, 8))

    def testMeanBox(self):
        """A voxel stays in the middle, also beside the border."""
        from cryodl_plugin import convert

        data = np.zeros((9, 12, 15), np.float32)
        data[2, 3, 1] = data[5, 6, 7] = 1
        path = self.temporary("voxels.mrc")
        convert.writeMap(path, data, 1.0)
        box, count = pick_figures.meanBox({"a": [(1, 3, 2), (7, 6, 5)]}, {"a": path}, 3)
        self.assertEqual((count, float(box[3, 3, 3])), (2, 1.0))

    def testThreshold(self):
        """Scores of a finished run of the same network, also from a new run."""
        training = self.finishedTraining()
        finished = self.finishedPrediction(training)
        new = self.store(self.prediction(training))
        form = mock.Mock(protocol=new)
        with (
            mock.patch.object(new, "getProject", return_value=mock.Mock()) as project,
            mock.patch("cryodl_plugin.wizards.picking.ThresholdDialog") as window,
        ):
            project.return_value.getRuns.return_value = [new, finished]
            window.return_value.resultYes.return_value = True
            window.return_value.value = 0.35
            CryoDLThresholdWizard().show(form)
        form.setVar.assert_called_once_with("outThresh", "0.350")
        _, scores, tomograms, start = window.call_args.args
        every = [p[3] for places in (*PICKS.values(), *BELOW.values()) for p in places]
        np.testing.assert_allclose(sorted(scores[""]), sorted(every), atol=1e-5)
        self.assertEqual((tomograms, start), (2, THRESHOLD))

    def testThresholdWithoutRun(self):
        """Nothing to show yet: a message, and the form stays."""
        prot = self.store(self.prediction(self.finishedTraining()))
        form = mock.Mock(protocol=prot)
        with (
            mock.patch.object(prot, "getProject", return_value=None),
            mock.patch("cryodl_plugin.wizards.picking.dialog.showWarning") as warning,
        ):
            CryoDLThresholdWizard().show(form)
        self.assertIn("Run it once", warning.call_args.args[1])
        form.setVar.assert_not_called()

    def testTomograms(self):
        """The chooser lists the tomograms of the input."""
        prot = self.training()
        form = mock.Mock(protocol=prot)
        with mock.patch(
            "cryodl_plugin.wizards.tomography.chooseFrom", return_value=["TS_02"]
        ) as choose:
            CryoDLTomogramWizard().show(form, "onlyTomograms")
        self.assertEqual(choose.call_args.args[3], ["TS_01", "TS_02"])
        form.setVar.assert_called_once_with("onlyTomograms", "TS_02")
        self.assertTrue(os.path.exists(self.source.tomograms.getFileName()))
