"""From simulated subtomograms to poses and an average in a real project; the engine is run."""

import numpy as np

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtSimulateSubtomograms,
    CryoDLProtSubtomoAlign,
    CryoDLProtSubtomoRefine,
)
from cryodl_plugin.tests.fixtures import PluginTest

AUTO, PIXEL, BOX = 0, 14.0, 20


class TestSubtomogramsToAverage(PluginTest):
    """Few particles, few rotations: seconds."""

    @classmethod
    def makeSource(cls, **_):
        """Simulate particles with a wedge; the densities they were made of come along."""
        prot = cls.newProtocol(
            CryoDLProtSimulateSubtomograms,
            structure="groel_groes",
            pixelSize=PIXEL,
            boxSizePx=BOX,
            number=12,
            snr=1.0,
        )
        cls.launchProtocol(prot)
        return prot

    def testAlignAndRefine(self):
        """Poses and averages come back; what is known of each pose stays with its particle."""
        pointers = {
            "inputSubTomograms": (self.source, "subtomograms"),
            "inputReference": (self.source, "references"),
        }
        quick = {"useGpu": False, "numberOfThreads": 1, "rotations": 576, "coarseShell": 6}
        refine = self.make(
            CryoDLProtSubtomoRefine,
            pointers,
            iterations=1,
            initialLowpass=50.0,
            mode=AUTO,
            **quick,
        )
        self.assertEqual(refine.validate(), [])
        self.launchProtocol(refine)
        self.assertEqual(refine.average.getDim(), (BOX, BOX, BOX))
        self.assertEqual(refine.subtomograms.getSize(), 12)
        halves = {item._rlnRandomSubset.get() for item in refine.subtomograms}
        self.assertEqual(halves, {1, 2})
        pointers["inputSubTomograms"] = (refine, "subtomograms")
        pointers["inputReference"] = (refine, "average")
        align = self.make(CryoDLProtSubtomoAlign, pointers, **quick)
        self.launchProtocol(align)
        for item in align.subtomograms:
            self.assertTrue(0 <= item._cryodlConfidence.get() <= 1)
            self.assertGreater(item._cryodlPoseScore.get(), 0)
            rotation, _ = tomography.transformToPose(item.getTransform().getMatrix())
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
