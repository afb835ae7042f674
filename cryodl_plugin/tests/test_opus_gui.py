"""Forms, wizards and viewers of OPUS-TOMO on a virtual screen."""

import pytest

from cryodl_plugin.tests import test_gui
from cryodl_plugin.tests.opus_fixtures import OpusTest

pytestmark = pytest.mark.gui


class TestOpusWindows(OpusTest, test_gui.TestWindows):
    """The same windows, of these protocols."""

    testTomographyForms = None

    def testForms(self):
        """The forms at expert level, with all their parameters."""
        analysis = self.finishedAnalysis(self.finishedTraining(expertLevel=1), expertLevel=1)
        runs = [
            analysis.sourceRun(),
            analysis,
            self.finishedVolumes(analysis, expertLevel=1),
            self.finishedSelection(analysis, expertLevel=1),
        ]
        counts = self.open([["form", prot.getObjId()] for prot in runs])
        for count, least in zip(counts, (30, 8, 11, 4)):
            self.assertGreaterEqual(count, least)

    def testWizards(self):
        """The first of each list."""
        analysis = self.finishedAnalysis()
        selection = self.finishedSelection(analysis)
        answers = self.open(
            [
                ["wizard", selection.getObjId(), "clusters"],
                ["wizard", analysis.getObjId(), "epoch"],
            ]
        )
        self.assertEqual([str(answer) for answer in answers], ["1", "4"])

    def testViewers(self):
        """All windows, with their buttons."""
        analysis = self.finishedAnalysis()
        titles = self.open(
            [
                ["viewer", analysis.sourceRun().getObjId(), "CryoDLViewerOpusTrain"],
                ["viewer", analysis.getObjId(), "CryoDLViewerOpusAnalyze"],
                ["viewer", self.finishedVolumes(analysis).getObjId(), "CryoDLViewerOpusEvalVols"],
                ["viewer", self.finishedSelection(analysis).getObjId(), "CryoDLViewerOpusSelect"],
            ]
        )
        self.assertEqual([len(found) for found in titles], [2, 2, 1, 2])
