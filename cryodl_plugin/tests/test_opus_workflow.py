"""From aligned subtomograms to the particles of a state in a real project, quickly."""

import numpy as np

from cryodl_plugin.protocols import (
    CryoDLProtOpusAnalyze,
    CryoDLProtOpusEvalVols,
    CryoDLProtOpusSelect,
    CryoDLProtOpusTrain,
    CryoDLProtSimulateSubtomograms,
)
from cryodl_plugin.tests.fixtures import PluginTest

COUNT, BOX = 16, 20


class TestSubtomogramsToStates(PluginTest):
    """The engine is really run; what it learns in one epoch is nothing to speak of."""

    @classmethod
    def makeSource(cls, **_):
        """Simulate a few small subtomograms of two structures."""
        prot = cls.newProtocol(
            CryoDLProtSimulateSubtomograms,
            structure="groel_ring_cis groel_ring_trans",
            pixelSize=10.0,
            boxSizePx=BOX,
            number=COUNT,
            snr=1.0,
        )
        cls.launchProtocol(prot)
        return prot

    def testStates(self):
        """Outputs of all four, with ids, latents, classes and densities where they belong."""
        train = self.make(
            CryoDLProtOpusTrain,
            {"inputSubTomograms": (self.source, "subtomograms")},
            useGpu=False,
            numberOfThreads=1,
            preset=0,
            epochs=1,
            templateres=16,
            zdim=3,
        )
        self.launchProtocol(train)
        ids = [item.getObjId() for item in self.source.subtomograms]
        self.assertEqual([item.getObjId() for item in train.subtomograms], ids)
        latents = [item._cryodlLatent1.get() for item in train.subtomograms]
        self.assertEqual(len(np.unique(latents)), COUNT)
        analyze = self.make(CryoDLProtOpusAnalyze, {"inputTraining": (train, None)}, clusters=2)
        self.launchProtocol(analyze)
        sizes = [one.getSize() for one in analyze.classes]
        self.assertEqual((sum(sizes), sizes), (COUNT, analyze.clusterSizes()))
        self.assertEqual(analyze.classes.getFirstItem().getRepresentative().getDim()[0], BOX)
        after = {"inputAnalysis": (analyze, None)}
        decode = self.make(CryoDLProtOpusEvalVols, after, kind=1, steps=2, useGpu=False)
        self.launchProtocol(decode)
        self.assertEqual(decode.volumes.getSize(), 2)
        select = self.make(CryoDLProtOpusSelect, after, clusters="1")
        self.launchProtocol(select)
        self.assertEqual(select.subtomograms.getSize(), sizes[0])
        chosen = {item.getObjId() for item in select.subtomograms}
        self.assertEqual(
            chosen, {i.getObjId() for i in analyze.subtomograms if i.getClassId() == 1}
        )
