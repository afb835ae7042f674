"""From a few labels to picks in a real project: simulated, trained for a few steps, picked."""

import numpy as np
from tomo.constants import BOTTOM_LEFT_CORNER

from cryodl_plugin.protocols import (
    CryoDLProtPickPredict,
    CryoDLProtPickTrain,
)
from cryodl_plugin.tests.tomography_fixtures import SimulatedTest
from cryodl_plugin.viewers import viewer_pick

LOWEST = 0.03


class TestLabelsToPicks(SimulatedTest):
    """The engine is really run; what it learns in four steps is nothing to speak of."""

    simulated = {"number": 8, "beads": 0, "labelledPercent": 50.0}

    def testTrainAndPick(self):
        """Outputs of both, with places inside the tomogram, scores, and maps beside them."""
        self.assertEqual(self.source.labels.getSize(), round(self.source.coordinates.getSize() / 2))
        tomograms = {"inputTomograms": (self.source, "tomograms")}
        train = self.make(
            CryoDLProtPickTrain,
            {**tomograms, "inputCoordinates": (self.source, "labels")},
            useGpu=False,
            numberOfThreads=1,
            diameter=240.0,
            steps=4,
            batchSize=2,
            crWeight=0.0,
        )
        self.launchProtocol(train)
        self.assertEqual(len(train.readMetrics()), train.model.getEpoch())
        pick = self.make(
            CryoDLProtPickPredict,
            {**tomograms, "inputModel": (train, "model")},
            useGpu=False,
            numberOfThreads=1,
            outThresh=str(LOWEST),
        )
        self.launchProtocol(pick)
        scores = [item.getScore() for item in pick.coordinates.iterItems()]
        self.assertTrue(all(LOWEST < score <= 1 for score in scores))
        tomogram = pick.coordinates.getPrecedents().getFirstItem()
        for item in pick.coordinates.iterCoordinates(tomogram):
            place = np.array(item.getPosition(BOTTOM_LEFT_CORNER))
            self.assertTrue((place >= -0.5).all() and (place < np.array((96, 96, 40))).all())
        self.assertEqual(pick.scoreMaps.getFirstItem().getDim(), (48, 48, 20))
        (found,) = viewer_pick.scoresByKind(pick).values()
        self.assertGreaterEqual(len(found), len(scores))
