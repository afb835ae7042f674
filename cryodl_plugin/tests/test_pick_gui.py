"""Forms, wizards and viewers of the picker on a virtual screen."""

import pytest

from cryodl_plugin.protocols import CryoDLProtImportModel
from cryodl_plugin.tests import test_gui
from cryodl_plugin.tests.pick_fixtures import BBOX, THRESHOLD, PickTest
from cryodl_plugin.tests.tomography_fixtures import TOMOGRAM_SAMPLING

pytestmark = pytest.mark.gui


class TestPickWindows(PickTest, test_gui.TestWindows):
    """The same windows, of these protocols."""

    testTomographyForms = None

    def testForms(self):
        """The forms at expert level, with all their parameters."""
        training = self.finishedTraining(expertLevel=1)
        runs = [
            training,
            self.store(self.prediction(training, expertLevel=1)),
            self.finishedExploration(expertLevel=1),
            self.store(self.newProtocol(CryoDLProtImportModel, objLabel="import")),
        ]
        counts = self.open([["form", prot.getObjId()] for prot in runs])
        for count, least in zip(counts, (28, 14, 10, 2)):
            self.assertGreaterEqual(count, least)

    def testWizards(self):
        """Select gives what they started with; the first tomogram is chosen."""
        training = self.finishedTraining()
        prediction = self.finishedPrediction(training)
        answers = self.open(
            [
                ["wizard", training.getObjId(), "diameter"],
                ["wizard", training.getObjId(), "onlyTomograms"],
                ["wizard", prediction.getObjId(), "outThresh"],
            ]
        )
        self.assertEqual(float(answers[0]), BBOX * TOMOGRAM_SAMPLING)
        self.assertEqual(answers[1], "TS_01")
        self.assertEqual(float(answers[2]), THRESHOLD)

    def testViewers(self):
        """All windows, with their sliders and buttons."""
        training = self.finishedTraining()
        titles = self.open(
            [
                ["viewer", training.getObjId(), "CryoDLViewerPickTrain"],
                ["viewer", self.finishedPrediction(training).getObjId(), "CryoDLViewerPickPredict"],
                ["viewer", self.finishedExploration().getObjId(), "CryoDLViewerPickExplore"],
            ]
        )
        self.assertEqual([len(found) for found in titles], [2, 2, 3])
