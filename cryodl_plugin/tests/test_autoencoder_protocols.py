"""Protocols and viewers of Autoencoder3D and EDSS3D, without launching."""

import json
from unittest import mock

import numpy as np

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.autoencoder import readGroups
from cryodl_plugin.protocols.protocol_ae3d_train import FROM_COORDINATES
from cryodl_plugin.tests.autoencoder_fixtures import GROUPS, SIZES, AutoencoderTest
from cryodl_plugin.tests.tomography_fixtures import IMAGE_SAMPLING, TOMOGRAM_SAMPLING
from cryodl_plugin.viewers import (
    CryoDLViewerAE3DCluster,
    CryoDLViewerAE3DTrain,
    CryoDLViewerEDSS3DPredict,
    CryoDLViewerEDSS3DTrain,
)
from cryodl_plugin.wizards import CryoDLGroupWizard, CryoDLLevelWizard, CryoDLSubvolumeBoxWizard


class TestTraining(AutoencoderTest):
    """What the engine is given, and what becomes of its result."""

    def testThreeStarts(self):
        """Subtomograms with ids; tomograms with points in their voxels; tomograms alone."""
        prot = self.store(self.training(preset=2, tiltMin=-60.0, tiltMax=57.0))
        prot.convertInputStep("x")
        values = prot.engineParameters()
        rows = tomography.readStar(values["inputs"][0])["particles"]
        self.assertIn(tomography.PARTICLE_ID, rows[0])
        self.assertEqual((values["pixel_size"], values["preset"]), (IMAGE_SAMPLING, "tiny"))
        self.assertEqual((values["tilt_min"], values["tilt_max"]), (-60, 57))
        self.assertNotIn("diameter", values)
        points = self.make(
            type(prot),
            {
                "inputTomograms": (self.source, "tomograms"),
                "inputCoordinates": (self.source, "coordinates"),
            },
            source=FROM_COORDINATES,
            useGpu=False,
        )
        self.store(points).convertInputStep("x")
        values = points.engineParameters()
        self.assertEqual(len(values["inputs"]), 2)
        self.assertEqual(len(tomography.readStar(values["coordinates"][0])["particles"]), 5)
        alone = self.blobTraining()
        self.assertEqual(alone.engineParameters()["diameter"], 48 / TOMOGRAM_SAMPLING)
        self.assertEqual(alone.validate(), [])

    def testWhatIsRefused(self):
        """Nothing given, blobs larger than the box, unknown tomograms."""
        empty = self.newProtocol(type(self.training()), useGpu=False)
        self.assertIn("found none", "\n".join(empty.validate()))
        words = "\n".join(self.blobTraining(blobDiameter=400.0, onlyTomograms="TS_9").validate())
        self.assertIn("at most the box of 12", words)
        self.assertIn("TS_9", words)

    def testOutputs(self):
        """The network; blobs as coordinates where they were proposed."""
        prot = self.finishedTraining()
        self.assertEqual((prot.model.getEpoch(), hasattr(prot, "coordinates")), (3, False))
        self.assertTrue(any("only 5" in line for line in prot.warnings()))
        alone = self.finishedTraining(self.blobTraining())
        self.assertEqual(alone.coordinates.getSize(), 5)
        self.assertEqual(alone.coordinates.getBoxSize(), 6)


class TestGroups(AutoencoderTest):
    """Classes of subtomograms, coordinates of tomograms, and what is clicked on."""

    def testClasses(self):
        """Items go to the classes of the engine, by id; averages have their own sampling."""
        prot = self.finishedGrouping()
        self.assertEqual([one.getSize() for one in prot.classes], SIZES)
        ids = [item.getObjId() for item in self.source.subtomograms]
        wanted = {k: [i for i, g in zip(ids, GROUPS) if g == k] for k in (1, 2)}
        self.assertEqual(prot.particleIds(), wanted)
        self.assertEqual(prot.averages.getSamplingRate(), 2 * IMAGE_SAMPLING)
        self.assertIn("not", "\n".join(prot.summary()))

    def testCoordinates(self):
        """Of tomograms, groups are those of coordinates."""
        training = self.finishedTraining(self.blobTraining())
        prot = self.finishedGrouping(training)
        groups = [item.getGroupId() for item in prot.coordinates.iterCoordinates()]
        self.assertEqual(sorted(groups), sorted(GROUPS))

    def testGallery(self):
        """A picture a group, average beside centre; a click chooses, saving makes a set."""
        prot = self.finishedGrouping()
        viewer = CryoDLViewerAE3DCluster(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        view = viewer.viewGallery()[0]
        self.assertEqual([item.key for item in view.model.items], [1, 2])
        image = view.model.image(view.model.items[1])
        half = image.shape[0] // 2
        self.assertTrue(image[:, :half].any() and image[:, half:].any())
        view.model.toggle([2])
        with mock.patch("cryodl_plugin.viewers.viewer_autoencoder.saveSubset") as save:
            viewer.saveGroups(view.model.chosen())
        self.assertEqual(save.call_args.args[2], prot.particleIds()[2])
        with self.assertRaises(ValueError):
            viewer.saveGroups([])
        with mock.patch.object(viewer, "say"):
            run = viewer.prepareTraining([1, 2])
        self.assertEqual((run.classes.get(), run.sourceRun().getObjId()), ("1; 2", prot.getObjId()))

    def testFigures(self):
        """The sweep, and the codes by group."""
        prot = self.finishedGrouping()
        viewer = CryoDLViewerAE3DCluster(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        figure = viewer.viewSweep()[0].figure
        self.assertEqual([len(axes.lines) for axes in figure.axes], [3, 3])
        columns = viewer.codes()
        self.assertEqual(columns["cluster"].tolist(), list(GROUPS))
        self.assertEqual(viewer.viewCodes()[0].model.x, "pc1")


class TestSegmentation(AutoencoderTest):
    """Groups as classes, labels and coordinates as outputs."""

    def testGroupsOfClasses(self):
        """As text for people, as JSON from 0 for the engine."""
        self.assertEqual(readGroups("1 3; 2,"), [[1, 3], [2]])
        for text, words in (("", "none"), ("1; 1", "twice"), ("a", "numbers"), ("0", "numbers")):
            with self.assertRaisesRegex(ValueError, words):
                readGroups(text)
        prot = self.store(self.segmentTraining(self.finishedGrouping(), classes="2; 1"))
        prot.convertInputStep("x")
        with open(prot._classesFile(), encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"1": [1], "2": [0]})
        other = self.segmentTraining(prot.sourceRun(), classes="7")
        self.assertIn("found 7", "\n".join(other.validate()))
        self.assertNotEqual(prot._fingerprint(), other._fingerprint())

    def testTwoCommands(self):
        """The selection is made once, the training after it."""
        prot = self.store(self.segmentTraining(self.finishedGrouping()))
        with (
            mock.patch.object(type(prot.getPlugin()), "runEngine", create=True) as run,
            mock.patch.object(prot, "getPlugin") as plugin,
        ):
            plugin.return_value.runEngine = run
            prot.runEngineStep(prot._fingerprint())
        commands = [call.args[1] for call in run.call_args_list]
        self.assertEqual(commands, ["autoencoder3d select", "autoencoder3d segment-train"])

    def testOutputs(self):
        """Labels tied to their tomograms, things with class and score."""
        prot = self.finishedSegmentation()
        self.assertEqual({mask.getTsId() for mask in prot.tomoMasks}, {"TS_01", "TS_02"})
        groups = [item.getGroupId() for item in prot.coordinates.iterCoordinates()]
        self.assertEqual(sorted(groups), [1, 1, 2])
        self.assertEqual(prot.coordinates.getBoxSize(), 16)
        wrong = self.segmentation(self.finishedTraining())
        self.assertIn("expected one of *train segmentation*", "\n".join(wrong.validate()))

    def testViewers(self):
        """Curves, labels and probabilities over slices."""
        prot = self.finishedSegmentation()
        viewer = CryoDLViewerEDSS3DPredict(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        model = viewer.viewLabels()[0].model
        self.assertEqual(
            list(model.entries[0].overlays), ["labels", "probability of 1", "probability of 2"]
        )
        network = prot.inputModel.getObjValue()
        for cls, run in (
            (CryoDLViewerEDSS3DTrain, network),
            (CryoDLViewerAE3DTrain, network.sourceRun().sourceRun()),
        ):
            viewer = cls(project=self.proj, protocol=run)
            viewer.setProtocol(run)
            self.assertTrue(viewer.viewLoss()[0].figure.axes)


class TestWizards(AutoencoderTest):
    """Lists of groups and boxes."""

    def testGroups(self):
        """What is chosen is one class more."""
        prot = self.segmentTraining(self.finishedGrouping(), classes="2")
        form = mock.Mock(protocol=prot)
        with mock.patch("cryodl_plugin.wizards.autoencoder.chooseFrom") as choose:
            choose.return_value = ["1: 3 particles"]
            CryoDLGroupWizard().show(form)
        form.setVar.assert_called_once_with("classes", "2; 1")

    def testBoxes(self):
        """Even boxes of some diameters."""
        found = CryoDLSubvolumeBoxWizard.suggestions(96.0, 8.0)
        self.assertEqual(list(found), [18, 24, 30, 36])
        self.assertTrue(np.all(np.array(list(found)) % 2 == 0))

    def testLevels(self):
        """The slice with most in it, of this run or of another with the same network."""
        finished = self.finishedSegmentation()
        network = finished.inputModel.getObjValue()
        other = self.segmentation(network)
        self.assertIs(CryoDLLevelWizard.finishedRun(finished), finished)
        self.assertIsNone(CryoDLLevelWizard.finishedRun(self.segmentation(self.finishedTraining())))
        found = CryoDLLevelWizard.finishedRun(other)
        self.assertEqual(found.getObjId(), finished.getObjId())
        plane, chances, title, level = CryoDLLevelWizard.sliceOf(found)
        self.assertEqual((title, level, len(chances)), ("TS_01, slice 5", 0.5, 2))
        self.assertEqual(plane.shape, chances.shape[1:])
        form = mock.Mock(protocol=other)
        with mock.patch("cryodl_plugin.wizards.autoencoder.LevelDialog") as window:
            window.return_value.resultYes.return_value = True
            window.return_value.value = 0.3
            CryoDLLevelWizard().show(form)
        form.setVar.assert_called_once_with("threshold", "0.30")
