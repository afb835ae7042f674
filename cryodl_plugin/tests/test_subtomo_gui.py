"""Forms, wizards and viewers of SelfAlign on a virtual screen."""

import pytest

from cryodl_plugin.constants import MASK_SPHERE
from cryodl_plugin.tests import test_gui
from cryodl_plugin.tests.subtomo_fixtures import SubtomoTest

pytestmark = pytest.mark.gui


class TestSubtomoWindows(SubtomoTest, test_gui.TestWindows):
    """The same windows, of these protocols."""

    testTomographyForms = None

    def testForms(self):
        """The forms at expert level, with all their parameters."""
        runs = [
            self.finishedAlign(expertLevel=1, maskFrom=MASK_SPHERE),
            self.finishedRefine(expertLevel=1),
            self.finishedTrain(expertLevel=1),
        ]
        counts = self.open([["form", prot.getObjId()] for prot in runs])
        for count, least in zip(counts, (16, 22, 14)):
            self.assertGreaterEqual(count, least)

    def testWizards(self):
        """Select gives what they started with."""
        prot = self.finishedRefine(maskFrom=MASK_SPHERE, maskRadius=9)
        answers = self.open(
            [
                ["wizard", prot.getObjId(), "maskRadius"],
                ["wizard", prot.getObjId(), "initialLowpass"],
            ]
        )
        self.assertEqual(float(answers[0]), 9)
        self.assertGreater(float(answers[1]), 20)

    def testViewers(self):
        """All windows, with their sliders and buttons."""
        titles = self.open(
            [
                ["viewer", self.finishedAlign().getObjId(), "CryoDLViewerSubtomoAlign"],
                ["viewer", self.finishedRefine(2).getObjId(), "CryoDLViewerSubtomoRefine"],
                ["viewer", self.finishedTrain().getObjId(), "CryoDLViewerSubtomoTrain"],
            ]
        )
        self.assertEqual([len(found) for found in titles], [4, 8, 1])
