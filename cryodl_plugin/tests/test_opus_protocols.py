"""Protocols of OPUS-TOMO, without launching: parameters, checks, outputs."""

import os

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.opus import keptEpochs
from cryodl_plugin.protocols.protocol_opus_select import BY_LASSO
from cryodl_plugin.tests.opus_fixtures import CLUSTERS, LATENTS, MOVED_ANGSTROM, OpusTest
from cryodl_plugin.tests.tomography_fixtures import IMAGE_SAMPLING


def poses(subtomograms):
    """Return the shifts in Å by item id."""
    return {
        item.getObjId(): tomography.transformToPose(item.getTransform().getMatrix())[1]
        * IMAGE_SAMPLING
        for item in subtomograms
    }


class TestTrain(OpusTest):
    """What the engine is given, and what becomes of its result."""

    def testParameters(self):
        """Particles with their ids, the tilts of the set, no option of the protocol's own."""
        prot = self.store(self.training(preset=1, zdim=6))
        prot.convertInputStep("x")
        values = prot.engineParameters()
        rows = tomography.readStar(values["star"])["particles"]
        self.assertEqual(len(rows), len(LATENTS))
        self.assertIn(tomography.PARTICLE_ID, rows[0])
        self.assertEqual((values["preset"], values["zdim"]), ("small", 6))
        self.assertEqual(values["pixel_size"], IMAGE_SAMPLING)
        self.assertNotIn("epochs", values)
        self.assertNotIn("mask", values)

    def testOutputs(self):
        """Latents and corrected poses go to the items they belong to, whatever the order."""
        prot = self.finishedTraining()
        before, after = poses(self.source.subtomograms), poses(prot.subtomograms)
        for key, shift in before.items():
            np.testing.assert_allclose(after[key], shift + [MOVED_ANGSTROM, 0, 0], atol=1e-4)
        latents = [item._cryodlLatent1.get() for item in prot.subtomograms]
        np.testing.assert_allclose(latents, LATENTS[:, 0], atol=1e-6)
        self.assertEqual(prot.model.getEpoch(), 8)
        self.assertEqual(prot.average.getSamplingRate(), IMAGE_SAMPLING)
        self.assertEqual(keptEpochs(prot.engineFolder()), [4])
        words = "\n".join(prot.summary())
        for part in ("*5* subtomograms", "*16.0 %*", "1.50°", "+0.01 above chance"):
            self.assertIn(part, words)
        self.assertTrue(any("only 5" in line for line in prot.warnings()))

    def testPosesOfTheInput(self):
        """The output keeps them where it is asked to, and has latents all the same."""
        prot = self.finishedTraining(writePoses=False)
        before, after = poses(self.source.subtomograms), poses(prot.subtomograms)
        for key, shift in before.items():
            np.testing.assert_allclose(after[key], shift, atol=1e-4)
        self.assertTrue(prot.subtomograms.getFirstItem().hasAttribute("_cryodlLatent1"))
        self.assertIn("not in the output", "\n".join(prot.summary()))

    def testWhatIsRefused(self):
        """A mask of another box; half a tilt range."""
        from pwem.objects import VolumeMask

        path = self.temporary("mask.mrc")
        convert.writeMap(path, convert.sphereMask(20, 8), IMAGE_SAMPLING)
        mask = VolumeMask()
        mask.setFileName(path)
        mask.setSamplingRate(IMAGE_SAMPLING)
        self.source._defineOutputs(smallMask=mask)
        prot = self.training(tiltMin=-60.0)
        prot.inputMask.set(self.source)
        prot.inputMask.setExtended("smallMask")
        words = "\n".join(prot.validate())
        self.assertIn("found 20 px, expected 32 px", words)
        self.assertIn("one end", words)
        self.assertEqual(self.training().validate(), [])

    def testSubUnits(self):
        """Masks go to the engine in order, and its densities into a set."""
        from pwem.objects import VolumeMask
        from pyworkflow.object import Pointer

        path = self.temporary("arm.mrc")
        convert.writeMap(path, convert.sphereMask(32, 8), IMAGE_SAMPLING)
        mask = VolumeMask()
        mask.setFileName(path)
        mask.setSamplingRate(IMAGE_SAMPLING)
        self.source._defineOutputs(armMask=mask)
        prot = self.training()
        prot.inputBodies.append(Pointer(value=self.source, extended="armMask"))
        self.assertEqual(prot.validate(), [])
        self.store(prot).convertInputStep("x")
        (body,) = prot.engineParameters()["bodies"]
        self.assertEqual(convert.mapDimensions(body), (32, 32, 32))
        done = self.finishedTraining(subUnits=True)
        self.assertEqual(done.motion.getSize(), 3)
        self.assertIn("Sub-unit 1 turns by 25°", "\n".join(done.summary()))


class TestStates(OpusTest):
    """Clusters become classes, series sets of volumes, choices sets of particles."""

    def testAnalysis(self):
        """Classes with the decoded densities; clusters by item id."""
        prot = self.finishedAnalysis()
        self.assertEqual([c.getSize() for c in prot.classes], [2, 3])
        for number, one in enumerate(prot.classes, start=1):
            path = one.getRepresentative().getFileName()
            self.assertEqual(os.path.basename(path), f"kmeans0{number}.mrc")
        self.assertEqual([item.getClassId() for item in prot.subtomograms], list(CLUSTERS))
        words = "\n".join(prot.summary())
        self.assertIn("*2* clusters of 2, 3 particles", words)
        self.assertIn("linear method", words)

    def testEpochs(self):
        """Only epochs that were kept, and the last."""
        training = self.finishedTraining()
        for epoch, good in ((None, True), (4, True), (8, True), (5, False)):
            errors = self.analysis(training, epoch=epoch).validate()
            self.assertEqual(errors == [], good, f"{epoch}: {errors}")
        self.assertEqual(self.analysis(training, epoch=4).engineParameters()["epoch"], 4)
        self.assertIn("at most 5", self.analysis(training, clusters=6).validate()[0])

    def testVolumes(self):
        """The series in order, at the sampling of the particles."""
        prot = self.finishedVolumes()
        names = [os.path.basename(volume.getFileName()) for volume in prot.volumes]
        self.assertEqual(names, ["pc1_01.mrc", "pc1_02.mrc", "pc1_03.mrc"])
        self.assertEqual(prot.volumes.getSamplingRate(), IMAGE_SAMPLING)
        prot.number.set(9)
        self.assertIn("expected 1 to 4", prot.validate()[0])

    def testSelection(self):
        """Items of the cluster; which way of choosing the engine is told."""
        analysis = self.finishedAnalysis()
        prot = self.finishedSelection(analysis)
        self.assertEqual([i.getObjId() for i in prot.subtomograms], [2, 4, 5])
        self.assertEqual(prot.engineParameters()["clusters"], "2")
        self.assertIn("*3* of 5", "\n".join(prot.summary()))
        self.assertIn("from 1 to 2", self.selection(analysis, clusters="7").validate()[0])
        self.assertIn("such as 1,3", self.selection(analysis, clusters="x").validate()[0])
        drawn = self.selection(analysis, selectBy=BY_LASSO, clusters="2", lasso="none.json")
        self.assertNotIn("clusters", drawn.engineParameters())
        self.assertIn("found no file none.json", drawn.validate()[0])

    def testUnfinished(self):
        """A training without a result cannot be analysed."""
        training = self.store(self.training())
        self.assertIn("no result yet", self.analysis(training).validate()[0])
