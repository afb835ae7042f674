"""Every training is stopped in the project, and goes on where it was when continued."""

import json
import os
import time

import pytest
from pyworkflow.protocol.constants import MODE_RESUME, STATUS_ABORTED, STATUS_FINISHED

from cryodl_plugin.protocols import (
    CryoDLProtAE3DCluster,
    CryoDLProtAE3DTrain,
    CryoDLProtAnisoCorrect,
    CryoDLProtEDSS3DTrain,
    CryoDLProtOpusTrain,
    CryoDLProtPickTrain,
    CryoDLProtSimulateHalfMaps,
    CryoDLProtSimulateSubtomograms,
    CryoDLProtSubtomoTrain,
)
from cryodl_plugin.tests.test_workflow import TINY
from cryodl_plugin.tests.tomography_fixtures import SimulatedTest

LONG_SECONDS = 300
DEMO, TINY_NETWORK = 0, 2


@pytest.mark.slow
class TestStopAndContinue(SimulatedTest):
    """Each training, long enough to be met while it runs."""

    simulated = {"number": 8, "beads": 0, "labelledPercent": 50.0}

    @classmethod
    def makeSource(cls, **_):
        """Simulate a tomogram, subtomograms and half maps."""
        source = super().makeSource()
        cls.particles = cls.newProtocol(
            CryoDLProtSimulateSubtomograms,
            structure="groel_ring_cis groel_ring_trans",
            pixelSize=10.0,
            boxSizePx=20,
            number=24,
            snr=1.0,
        )
        cls.launchProtocol(cls.particles)
        cls.halves = cls.newProtocol(CryoDLProtSimulateHalfMaps, boxSizePx=32)
        cls.launchProtocol(cls.halves)
        return source

    def stopAndContinue(self, cls, pointers, **values):
        """Stop a training after its first epoch, continue it, and look at what it wrote."""
        values = {"useGpu": False, "numberOfThreads": 1, **values}
        prot = self.make(cls, pointers, **values)
        self.proj.launchProtocol(prot, wait=False)
        self.waitFor(prot, lambda run: any("epoch" in row for row in run.readMetrics()))
        self.proj.stopProtocol(prot)
        self.assertEqual(prot.getStatus(), STATUS_ABORTED)
        self.assertFalse(prot.readResult())
        before = prot.readMetrics()
        prot.runMode.set(MODE_RESUME)
        self.proj.launchProtocol(prot, wait=False)
        self.waitFor(prot, lambda run: run.getStatus() == STATUS_FINISHED)
        rows = prot.readMetrics()
        # What was written before the stop is there still, to the second: nothing was repeated.
        kept = [row for row in before if row in rows]
        self.assertTrue(kept, (before, rows))
        steps = [json.dumps([row.get("phase"), row["step"]]) for row in rows if "epoch" in row]
        self.assertEqual(len(steps), len(set(steps)))
        self.assertGreater(len(rows), len(kept))
        return prot

    def waitFor(self, prot, isReached):
        """Look at the run as the project window does, until it is as wanted."""
        until = time.monotonic() + LONG_SECONDS
        while time.monotonic() < until:
            self.proj._updateProtocol(prot)
            if isReached(prot):
                return
            self.assertFalse(prot.isFailed(), prot.getErrorMessage())
            time.sleep(0.2)
        self.fail(f"{prot.getStatus()} {prot.getErrorMessage()}")

    def testPicker(self):
        """cet_pick."""
        pointers = {
            "inputTomograms": (self.source, "tomograms"),
            "inputCoordinates": (self.source, "labels"),
        }
        prot = self.stopAndContinue(
            CryoDLProtPickTrain, pointers, diameter=240.0, steps=60, batchSize=2, crWeight=0.0
        )
        self.assertTrue(os.path.exists(prot.model.getFileName()))

    def testStates(self):
        """OPUS-TOMO."""
        pointers = {"inputSubTomograms": (self.particles, "subtomograms")}
        prot = self.stopAndContinue(
            CryoDLProtOpusTrain, pointers, preset=DEMO, epochs=8, templateres=16, zdim=3
        )
        self.assertEqual(prot.subtomograms.getSize(), 24)

    def testAligner(self):
        """SelfAlign."""
        pointers = {
            "inputSubTomograms": (self.particles, "subtomograms"),
            "inputReference": (self.particles, "references.1"),
        }
        prot = self.stopAndContinue(CryoDLProtSubtomoTrain, pointers, steps=40, batchSize=4)
        self.assertTrue(os.path.exists(prot.model.getFileName()))

    def testAutoencoderAndSegmentation(self):
        """Autoencoder3D, then EDSS3D of its groups."""
        pointers = {
            "inputTomograms": (self.source, "tomograms"),
            "inputCoordinates": (self.source, "coordinates"),
        }
        train = self.stopAndContinue(
            CryoDLProtAE3DTrain,
            pointers,
            source=1,
            boxSizePx=16,
            border=1,
            preset=TINY_NETWORK,
            epochs=40,
        )
        group = self.make(
            CryoDLProtAE3DCluster,
            {"inputTraining": (train, None)},
            clusters=2,
            alignRounds=1,
            rotations=300,
            features=1,
        )
        self.launchProtocol(group)
        self.stopAndContinue(
            CryoDLProtEDSS3DTrain,
            {"inputGroups": (group, None)},
            classes="1; 2",
            preset=TINY_NETWORK,
            epochs=8,
        )

    def testCorrection(self):
        """spIsoNet."""
        pointers = {"inputVolume": (self.halves, "volume")}
        self.stopAndContinue(CryoDLProtAnisoCorrect, pointers, **{**TINY, "epochs": 12})
