"""Viewers and wizards of OPUS-TOMO: what they show and what leaves them."""

import json
from unittest import mock

import numpy as np

from cryodl_plugin.protocols.protocol_opus_select import BY_LASSO
from cryodl_plugin.tests.opus_fixtures import CLUSTERS, LATENTS, OpusTest
from cryodl_plugin.viewers import (
    CryoDLViewerOpusAnalyze,
    CryoDLViewerOpusEvalVols,
    CryoDLViewerOpusTrain,
    figures,
    latent_map,
    viewer_opus,
)
from cryodl_plugin.wizards import CryoDLClusterWizard, CryoDLEpochWizard

LEFT = [(-1.1, -1.1), (-0.2, -1.1), (-0.2, 1.1), (-1.1, 1.1)]


class TestViewers(OpusTest):
    """Curves, latents with colours, densities one after the other."""

    def viewerOf(self, viewerClass, prot):
        """Return a viewer of a run and its calls."""
        viewer = viewerClass(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        return viewer, viewer._getVisualizeDict()

    def testTraining(self):
        """Three curves, also when nothing is there yet; latents in the order of the result."""
        prot = self.finishedTraining()
        _, calls = self.viewerOf(CryoDLViewerOpusTrain, prot)
        (view,) = calls["showTraining"]()
        lines = {a.get_title(): [x.get_label() for x in a.lines] for a in view.figure.axes}
        self.assertEqual(lines["Misfit"], ["misfit", "held_out"])
        self.assertEqual(lines["Spread of the densities"], ["spread", "collapse"])
        empty = viewer_opus.drawCurves(figures.newFigure(9, 4), [], {"fraction": 0.1})
        self.assertIn("10 %", empty.get_suptitle())
        (latents,) = calls["showLatents"]()
        model = latents.model
        self.assertEqual((model.x, model.y), ("z1", "z2"))
        self.assertIn("tomogram", model.colorChoices())
        by = dict(zip(model.columns["id"].tolist(), model.columns["z1"]))
        np.testing.assert_allclose([by[k] for k in sorted(by)], LATENTS[:, 0])

    def testLatents(self):
        """Clusters, axes, colours, and the density of what is chosen."""
        _, calls = self.viewerOf(CryoDLViewerOpusAnalyze, self.finishedAnalysis())
        (view,) = calls["showLatents"]()
        model = view.model
        self.assertEqual(model.clusterNumbers(), {1: 2, 2: 3})
        self.assertEqual(model.axisChoices(), ["pc1", "pc2", "linear1", "linear2"])
        self.assertEqual(model.colorChoices()[:2], ["tomogram", "cluster"])
        np.testing.assert_allclose(np.abs(model.places).max(axis=0), 1)
        model.lasso(LEFT)
        expected = [i + 1 for i, cluster in enumerate(CLUSTERS) if cluster == 1]
        self.assertEqual(sorted(model.ids()), expected)
        np.testing.assert_allclose(model.density(), model.volumes[0])
        for name in model.colorChoices():
            model.colorBy = name
            latent_map.drawLatents(view.axes, model)
        self.assertEqual(len(model.colors()[0]), len(LATENTS))
        model.volumes = []
        latent_map.drawChosen(view.pictures, model)
        self.assertIn("2 chosen", view.pictures.get_title())
        model.setAxes("pc2", "pc1")
        self.assertEqual(int(model.places[:, 1].argmax()), int(model.columns["pc1"].argmax()))

    def testWhatLeaves(self):
        """By the line where that is all there is, else by the ids; never nothing."""
        viewer, _ = self.viewerOf(CryoDLViewerOpusAnalyze, self.finishedAnalysis())
        model = viewer.model()
        with self.assertRaisesRegex(ValueError, "Nothing is chosen"):
            viewer.saveChosen(model)
        model.lasso(LEFT)
        with mock.patch("cryodl_plugin.viewers.viewer_opus.saveSubset") as save:
            viewer.saveChosen(model)
        self.assertEqual(sorted(save.call_args.args[2]), [1, 3])
        with mock.patch.object(self.proj, "launchProtocol") as launch:
            viewer.saveChosen(model, LEFT)
        (select,) = launch.call_args.args
        self.assertEqual(select.selectBy.get(), BY_LASSO)
        self.assertEqual(select.validate(), [])
        with open(select.lasso.get(), encoding="utf-8") as file:
            lasso = json.load(file)
        self.assertEqual((lasso["x"], lasso["y"]), ("pc1", "pc2"))
        low, high = np.min(lasso["points"], axis=0)[0], np.max(lasso["points"], axis=0)[0]
        self.assertTrue(low < -1 and -0.8 < high < 0.9)

    def testSeries(self):
        """To and fro, with one range of grey; a message where there is none."""
        prot = self.finishedVolumes()
        viewer, calls = self.viewerOf(CryoDLViewerOpusEvalVols, prot)
        (view,) = calls["showSeries"]()
        self.assertEqual(view.names, ["pc1_01", "pc1_02", "pc1_03"])
        seen = []
        for _ in range(5):
            seen.append(view.number)
            view.step()
        self.assertEqual(seen, [0, 1, 2, 1, 0])
        self.assertIn("pc1_02", view.figure.get_suptitle())
        (message,) = viewer_opus.seriesViews(viewer, [])
        self.assertFalse(hasattr(message, "figure"))
        self.assertEqual(len(calls["showChimera"]()), 1)


class TestWizards(OpusTest):
    """Each puts into the form what was chosen in its list."""

    def testClusters(self):
        """Numbers with commas, from the list with their sizes."""
        form = mock.Mock(protocol=self.selection(self.finishedAnalysis()))
        picked = ["1: 2 particles", "2: 3 particles"]
        with mock.patch("cryodl_plugin.wizards.opus.chooseFrom", return_value=picked) as choose:
            CryoDLClusterWizard().show(form)
        self.assertEqual(choose.call_args.args[3], picked)
        form.setVar.assert_called_once_with("clusters", "1,2")

    def testEpochs(self):
        """Those that were kept, and the last."""
        form = mock.Mock(protocol=self.analysis(self.finishedTraining()))
        with mock.patch("cryodl_plugin.wizards.opus.chooseFrom", return_value=["4"]) as choose:
            CryoDLEpochWizard().show(form)
        self.assertEqual(choose.call_args.args[3], ["4", "8"])
        form.setVar.assert_called_once_with("epoch", 4)
