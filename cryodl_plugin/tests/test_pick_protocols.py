"""Protocols of the picker, without launching: parameters, checks, outputs."""

import os

import numpy as np
from tomo.constants import BOTTOM_LEFT_CORNER

from cryodl_plugin.convert import picking, tomography
from cryodl_plugin.protocols import CryoDLProtImportModel
from cryodl_plugin.protocols.picking import diameterErrors
from cryodl_plugin.tests.pick_fixtures import BBOX, PICKS, PickTest, heatMap, writeModel
from cryodl_plugin.tests.tomography_fixtures import POSITIONS, TOMOGRAM_SAMPLING


class TestTrain(PickTest):
    """Labels at any sampling, kinds, and what is refused."""

    def labels(self, prot):
        """Return the rows that the engine would read."""
        prot.convertInputStep("x")
        (path,) = prot.engineParameters()["coordinates"]
        return tomography.readStar(path)["particles"]

    def testParameters(self):
        """The engine gets tomograms by id, labels in their voxels, the diameter in voxels."""
        prot = self.store(self.training())
        rows = self.labels(prot)
        values = prot.engineParameters()
        names = [os.path.basename(path) for path in values["tomograms"]]
        self.assertEqual(names, ["TS_01.mrc", "TS_02.mrc"])
        self.assertEqual(values["bbox"], 8)  # the labels' box
        self.assertEqual(values["pixel_size"], TOMOGRAM_SAMPLING)
        found = [[float(row[f"rlnCoordinate{a}"]) for a in "XYZ"] for row in rows]
        np.testing.assert_allclose(found, POSITIONS["TS_01"] + POSITIONS["TS_02"])
        self.assertNotIn(picking.KIND, rows[0])

    def testOtherBinning(self):
        """On tomograms of half the pixel size positions and diameter in voxels are doubled."""
        fine = self.makeTomograms(self.source, TOMOGRAM_SAMPLING / 2, "_fine", 2)
        self.source._defineOutputs(fine=fine)
        prot = self.store(self.training())
        prot.inputTomograms.setExtended("fine")
        first = [float(self.labels(prot)[0][f"rlnCoordinate{a}"]) for a in "XYZ"]
        np.testing.assert_allclose(first, 2 * np.array(POSITIONS["TS_01"][0]))
        self.assertEqual(prot.engineParameters()["bbox"], 16)
        self.assertEqual(prot.validate(), [])

    def testKinds(self):
        """Groups become kinds, and come back as groups."""
        prot = self.store(self.training(kindsByGroup=True, onlyTomograms="TS_02"))
        kinds = [row[picking.KIND] for row in self.labels(prot)]
        self.assertEqual(kinds, ["group_1", "group_2", "group_1"])
        self.assertEqual(picking.groupOf("group_2", ["group_1", "group_2"]), 2)
        self.assertEqual(picking.groupOf("virus", ["ribosome", "virus"]), 2)
        self.assertEqual(picking.groupOf("none", ["ribosome"]), 0)

    def testWhatIsRefused(self):
        """No labels here, labels outside, sizes that no network can see."""
        prot = self.training(onlyTomograms="TS_09", diameter=64.0)
        self.assertIn("TS_01, TS_02", "\n".join(prot.validate()))
        prot = self.training(numEpochs=3, steps=4)
        self.assertIn("one of them", "\n".join(prot.validate()))
        wrong = self.makeTomograms(self.source, TOMOGRAM_SAMPLING / 4, "_wrong")
        self.source._defineOutputs(wrong=wrong)
        prot.inputTomograms.setExtended("wrong")
        words = "\n".join(prot.validate())
        self.assertIn("found 2 of 2 outside TS_01 (33 x 21 x 17", words)
        self.assertIn("found 3 of 3 outside TS_02", words)

    def testDiameters(self):
        """Too small and too large are answered by a binning that would do."""
        self.assertEqual(diameterErrors(200, 10), [])
        self.assertIn("at most 8.3 Å", diameterErrors(50, 10)[0])
        self.assertIn("Bin the tomograms by 5, which makes it 20", diameterErrors(200, 2)[0])
        self.assertEqual(diameterErrors(200, 2 * 5), [])

    def testOutput(self):
        """A network that knows what it was trained on; numbers that matter in the summary."""
        prot = self.finishedTraining()
        self.assertEqual(prot.model.getMethod(), "cet-pick train")
        self.assertEqual(prot.model._boxSize.get(), BBOX)
        words = "\n".join(prot.summary())
        for part in ("*5* labels", "48 Å", "F1 *0.87*", "0.50", "4 held-out"):
            self.assertIn(part, words)
        self.assertTrue(any("only 5" in line for line in prot.warnings()))
        self.assertIn("5 labelled", prot.methods()[0])


class TestPredict(PickTest):
    """Picks in place, score maps, and networks of others."""

    def testOutputs(self):
        """Places, scores and groups of the picks; maps that know their tomograms."""
        prot = self.finishedPrediction()
        coordinates = prot.coordinates
        self.assertEqual(coordinates.getBoxSize(), BBOX)
        self.assertEqual(coordinates.getSamplingRate(), TOMOGRAM_SAMPLING)
        for tomogram in coordinates.getPrecedents():
            found = [
                (*c.getPosition(BOTTOM_LEFT_CORNER), c.getScore())
                for c in coordinates.iterCoordinates(tomogram)
            ]
            np.testing.assert_allclose(found, PICKS[tomogram.getTsId()], atol=1e-5)
        self.assertEqual({c.getGroupId() for c in coordinates.iterItems()}, {1})
        self.assertEqual(prot.scoreMaps.getSize(), 2)
        for mask in prot.scoreMaps:
            self.assertEqual(mask.getSamplingRate(), 2 * TOMOGRAM_SAMPLING)
            self.assertTrue(os.path.exists(mask.getVolName()))
        words = "\n".join(prot.summary())
        self.assertIn("*3* picks in 2 tomograms", words)
        self.assertIn("From 1 in TS_02 to 2 in TS_01", words)

    def testNothingFound(self):
        """One line says what to do; the score maps are there to look at."""
        with self.assertRaisesRegex(picking.ModelError, "lower score"):
            self.finishedPrediction(picks={"TS_01": [], "TS_02": []})

    def testNetworks(self):
        """A network of another method is refused, one of another pixel size is a warning."""
        training = self.finishedTraining()
        prot = self.prediction(training)
        self.assertEqual(prot.validate(), [])
        path = training.model.getFileName()
        writeModel(path, method="spisonet")
        self.assertIn("network of spisonet", "\n".join(prot.validate()))
        writeModel(path, sampling=2 * TOMOGRAM_SAMPLING)
        self.assertIn("2 times as large", "\n".join(prot.warnings()))
        with open(path, "wb") as file:
            file.write(b"PK\x03\x04 pickled")
        self.assertIn("no network of cryodl", "\n".join(prot.validate()))

    def testThreshold(self):
        """Auto or a number below 1."""
        training = self.finishedTraining()
        for text, good in (("auto", True), ("0.3", True), ("1.5", False), ("high", False)):
            errors = self.prediction(training, outThresh=text).validate()
            self.assertEqual(errors == [], good, text)

    def testImport(self):
        """An imported network is one that can be picked with."""
        path = self.temporary("mine.safetensors")
        writeModel(path)
        prot = self.store(self.newProtocol(CryoDLProtImportModel, modelFile=path))
        self.assertEqual(prot.validate(), [])
        prot.createOutputStep(path, (), True)
        self.assertTrue(os.path.isfile(prot.model.getFileName()))
        self.proj._storeProtocol(prot)
        self.assertEqual(self.prediction(prot).validate(), [])
        self.assertIn("0.87", "\n".join(prot.summary()))
        prot.modelFile.set("absent.safetensors")
        self.assertIn("absent.safetensors", prot.validate()[0])


class TestExplore(PickTest):
    """Blobs as coordinates, clusters as groups."""

    def testOutput(self):
        """Groups, scores, columns of the map."""
        prot = self.finishedExploration()
        self.assertEqual(prot.coordinates.getSize(), 12)
        items = [item.clone() for item in prot.coordinates.iterItems()]
        self.assertEqual([item.getGroupId() for item in items[:4]], [1, 2, 3, 1])
        self.assertAlmostEqual(items[0].getScore(), 9.0)
        self.assertEqual(prot.coordinates.getBoxSize(), 8)
        self.assertIn("*12* blobs", prot.summary()[0])
        prot.diameter.set(10.0)
        self.assertIn("at least 6", prot.validate()[0])


class TestMaxima(PickTest):
    """Maxima of heat maps, by distance."""

    def testPlacesAndScores(self):
        """Best first; of two that are near the lower one goes."""
        path = self.temporary("map.mrc")
        peaks = [(20.5, 10.5, 8.5, 0.6), (40.5, 30.5, 8.5, 0.9), (44.5, 30.5, 8.5, 0.5)]
        from cryodl_plugin import convert

        convert.writeMap(path, heatMap((60, 50, 20), peaks), 16.0)
        xyz, scores = picking.heatMapMaxima(path, 3)
        np.testing.assert_allclose(2 * xyz + 0.5, [peaks[1][:3], peaks[0][:3]])
        np.testing.assert_allclose(scores, [0.9, 0.6], atol=1e-5)
        self.assertEqual(len(picking.heatMapMaxima(path, 3, floor=0.7)[1]), 1)
