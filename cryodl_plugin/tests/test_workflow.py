"""From simulation to a corrected map in a real project, each protocol launched once."""

import json
import os

import numpy as np
from pyworkflow.protocol.constants import STATUS_FAILED

from cryodl_plugin import convert
from cryodl_plugin.constants import MASK_VOLUME
from cryodl_plugin.protocols import (
    CryoDLProtAnisoCorrect,
    CryoDLProtFsc3D,
    CryoDLProtSimulateHalfMaps,
)
from cryodl_plugin.tests.fixtures import PluginTest

TINY = {
    "width": 2,
    "epochs": 1,
    "nSubvolume": 4,
    "cubeSize": 16,
    "predictCropSize": 32,
    "batchSize": 2,
    "fillIterations": 2,
    "useGpu": False,
    "numberOfThreads": 1,
}


class TestWorkflow(PluginTest):
    """Simulate, measure, correct; continue; fail with a message."""

    @classmethod
    def makeSource(cls, **_):
        """Simulate the input instead of writing it: this is the first of the launched runs."""
        prot = cls.newProtocol(CryoDLProtSimulateHalfMaps, boxSizePx=32, snr=2.0)
        cls.launchProtocol(prot)
        return prot

    def testChain(self):
        """Every output is there, opens, and has the right box and sampling."""
        volume = self.source.volume
        sampling = volume.getSamplingRate()
        self.assertEqual(volume.getDim(), (32, 32, 32))
        self.assertTrue(volume.hasHalfMaps())
        mask = {"inputMask": (self.source, "mask")}

        fsc = self.make(CryoDLProtFsc3D, mask, maskFrom=MASK_VOLUME, numberOfThreads=1)
        self.launchProtocol(fsc)
        self.assertEqual(fsc.volume.getDim(), (32, 32, 32))
        self.assertAlmostEqual(fsc.volume.getSamplingRate(), sampling)
        self.assertSetSize(fsc.fscs, 6)
        self.assertTrue(0 < fsc.sphericity.get() <= 1)
        self.assertTrue(2 * sampling <= fsc.resolution.get() < 32 * sampling)
        weight = convert.readMap(fsc.volume.getFileName())
        self.assertEqual(weight[16, 16, 16], 1)

        truth = {"inputTruth": (self.source, "truth"), "inputTruthRegion": (self.source, "cone")}
        correct = self.make(
            CryoDLProtAnisoCorrect,
            {**mask, **truth, "inputFsc3D": (fsc, "")},
            maskFrom=MASK_VOLUME,
            **TINY,
        )
        self.launchProtocol(correct)
        self.checkCorrection(correct, sampling)
        self.checkContinue(correct)

    def checkCorrection(self, prot, sampling):
        """Check the outputs of the correction."""
        halves = [convert.readMap(name) for name in prot.volume.getHalfMaps(asList=True)]
        mean = convert.readMap(prot.volume.getFileName())
        np.testing.assert_allclose(mean, (halves[0] + halves[1]) / 2, atol=1e-4)
        self.assertEqual(prot.volume.getDim(), (32, 32, 32))
        self.assertAlmostEqual(prot.volume.getSamplingRate(), sampling)
        self.assertGreater(float(np.std(mean)), 0)
        self.assertSetSize(prot.fscs, 2)
        self.assertTrue(os.path.exists(prot.model.getFileName()))
        self.assertEqual(len(prot.readMetrics()), 1)
        self.assertEqual(prot.readProgress()["fraction"], 1)
        self.assertTrue(os.path.exists(prot.enginePath("report.html")))
        summary = "\n".join(prot._summary())
        self.assertIn("known structure", summary)
        with open(prot.enginePath("config.json"), encoding="utf-8") as file:
            values = json.load(file)["parameters"]
        self.assertEqual(values["width"], "16")
        self.assertEqual(values["epochs"], 1)
        self.assertAlmostEqual(values["pixel_size"], sampling)

    def checkContinue(self, prot):
        """Continue with another setting computes anew; the outputs are of the new setting."""
        prot.epochs.set(2)
        self.launchProtocol(prot)
        self.assertEqual([row["epoch"] for row in prot.readMetrics()], [1, 2])
        self.assertEqual(prot.model.getEpoch(), 2)

    def testFailureSaysWhy(self):
        """The engine's one line is the protocol's error message."""
        prot = self.make(CryoDLProtSimulateHalfMaps, structure="no_such_structure")
        self.proj.launchProtocol(prot, wait=True)
        prot = self.proj.getProtocol(prot.getObjId(), fromRuns=True)
        self.assertEqual(prot.getStatus(), STATUS_FAILED)
        self.assertIn("--structure: found 'no_such_structure'", prot.getErrorMessage())
