"""Forms, wizards and viewers of Autoencoder3D on a virtual screen."""

import pytest

from cryodl_plugin.tests import test_gui
from cryodl_plugin.tests.autoencoder_fixtures import AutoencoderTest

pytestmark = pytest.mark.gui


class TestAutoencoderWindows(AutoencoderTest, test_gui.TestWindows):
    """The same windows, of these protocols."""

    testTomographyForms = None

    def testForms(self):
        """The forms at expert level, with all their parameters."""
        found = self.finishedSegmentation(expertLevel=1)
        network = found.inputModel.getObjValue()
        grouping = network.sourceRun()
        runs = [grouping.sourceRun(), grouping, network, found]
        counts = self.open([["form", prot.getObjId()] for prot in runs])
        for count, least in zip(counts, (25, 8, 10, 7)):
            self.assertGreaterEqual(count, least)

    def testWizards(self):
        """The first group as a class; the probability that it started with."""
        network = self.finishedSegmentTraining(classes="2")
        found = self.finishedSegmentation(network)
        answers = self.open(
            [
                ["wizard", network.getObjId(), "classes"],
                ["wizard", found.getObjId(), "threshold"],
            ]
        )
        self.assertEqual([str(answer) for answer in answers], ["2; 1", "0.50"])

    def testViewers(self):
        """All windows, with their buttons."""
        grouping = self.finishedGrouping()
        titles = self.open(
            [
                ["viewer", grouping.sourceRun().getObjId(), "CryoDLViewerAE3DTrain"],
                ["viewer", grouping.getObjId(), "CryoDLViewerAE3DCluster"],
            ]
        )
        self.assertEqual([len(found) for found in titles], [1, 3])
