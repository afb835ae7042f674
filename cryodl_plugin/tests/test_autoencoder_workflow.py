"""From simulated tomograms to groups and a segmentation in a real project, quickly."""

from cryodl_plugin.protocols import (
    CryoDLProtAE3DCluster,
    CryoDLProtAE3DTrain,
    CryoDLProtEDSS3DPredict,
    CryoDLProtEDSS3DTrain,
)
from cryodl_plugin.protocols.protocol_ae3d_train import FROM_COORDINATES
from cryodl_plugin.tests.tomography_fixtures import SimulatedTest

_TINY = 2


class TestTomogramsToSegmentation(SimulatedTest):
    """The engine is really run; what it learns in one epoch is nothing to speak of."""

    simulated = {
        "structure": "proteasome_20s groel_groes",
        "pixelSize": 14.0,
        "number": 24,
        "boxSizePx": 112,
        "snr": 1.0,
        "iceTexture": 0.2,
    }

    def testSegmentation(self):
        """Outputs of all four, of the places of particles."""
        places = self.source.particles if hasattr(self.source, "particles") else None
        places = places or self.source.coordinates
        train = self.make(
            CryoDLProtAE3DTrain,
            {
                "inputTomograms": (self.source, "tomograms"),
                "inputCoordinates": (self.source, places.getLastName() or "coordinates"),
            },
            source=FROM_COORDINATES,
            boxSizePx=16,
            border=1,
            preset=_TINY,
            epochs=1,
            useGpu=False,
            numberOfThreads=1,
        )
        self.launchProtocol(train)
        group = self.make(
            CryoDLProtAE3DCluster,
            {"inputTraining": (train, None)},
            clusters=2,
            alignRounds=1,
            rotations=300,
            features=1,
        )
        self.launchProtocol(group)
        self.assertEqual(group.coordinates.getSize(), sum(group.sizes()))
        network = self.make(
            CryoDLProtEDSS3DTrain,
            {"inputGroups": (group, None)},
            classes="1; 2",
            preset=_TINY,
            epochs=2,
            useGpu=False,
            numberOfThreads=1,
        )
        self.launchProtocol(network)
        self.assertEqual(network.readResult()["classes"], [1, 2])
        found = self.make(
            CryoDLProtEDSS3DPredict,
            {"inputTomograms": (self.source, "tomograms"), "inputModel": (network, "model")},
            useGpu=False,
            numberOfThreads=1,
        )
        self.launchProtocol(found)
        self.assertEqual(found.tomoMasks.getSize(), 1)
        mask = found.tomoMasks.getFirstItem()
        self.assertEqual(mask.getDim(), self.source.tomograms.getFirstItem().getDim())
        self.assertTrue(found.labelFiles() and found.probabilityFiles())
