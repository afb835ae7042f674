"""Protocols and viewers of SelfAlign, without launching: parameters, checks, outputs, figures."""

import os
from types import SimpleNamespace

import numpy as np
from pwem.objects import VolumeMask
from pyworkflow.object import Float, String

from cryodl_plugin import convert
from cryodl_plugin.constants import MASK_SPHERE
from cryodl_plugin.convert import alignment, tomography
from cryodl_plugin.protocols import (
    CryoDLProtSubtomoAlign,
    CryoDLProtSubtomoRefine,
    CryoDLProtSubtomoTrain,
)
from cryodl_plugin.tests.fixtures import BOX
from cryodl_plugin.tests.subtomo_fixtures import ROUNDS, SCORES, TURN_DEGREES, SubtomoTest
from cryodl_plugin.tests.tomography_fixtures import IMAGE_SAMPLING
from cryodl_plugin.viewers import (
    CryoDLViewerSubtomoAlign,
    CryoDLViewerSubtomoRefine,
    CryoDLViewerSubtomoTrain,
    subtomo_figures,
)
from cryodl_plugin.wizards.subtomos import firstReference

NET, REFINE = 1, 2


class TestAlign(SubtomoTest):
    """What the engine gets, what comes back, and what is refused."""

    def testParameters(self):
        """Particles by id, tilts of the tomograms, reference, and a sphere as mask."""
        prot = self.store(self.run_(CryoDLProtSubtomoAlign, maskFrom=MASK_SPHERE))
        prot.inputSubTomograms.get().setAcquisition(
            tomography.makeAcquisition(-60.0, 57.0, 3.0, 300.0)
        )
        prot.convertInputStep("x")
        values = prot.engineParameters()
        self.assertEqual((values["tilt_min"], values["tilt_max"]), (-60.0, 57.0))
        self.assertEqual(values["pixel_size"], IMAGE_SAMPLING)
        self.assertEqual(os.path.basename(values["reference"]), "reference.mrc")
        rows = tomography.readStar(values["star"])["particles"]
        self.assertEqual([row["cdlParticleId"] for row in rows], ["1", "2", "3", "4", "5"])
        mask = convert.readMap(values["mask"])
        self.assertEqual(mask.shape, (BOX,) * 3)
        self.assertEqual(mask[BOX // 2, BOX // 2, BOX // 2 + round(0.4 * BOX)], 1)
        self.assertEqual(prot.validate(), [])

    def testOutput(self):
        """Each particle gets its own pose and score, whatever the order of the file."""
        prot = self.finishedAlign()
        rotations, shifts = self.turned()
        for i, item in enumerate(prot.subtomograms):
            rotation, shift = tomography.transformToPose(item.getTransform().getMatrix())
            np.testing.assert_allclose(rotation, rotations[i], atol=1e-5)
            np.testing.assert_allclose(shift, shifts[i], atol=1e-4)
            self.assertEqual(item._cryodlPoseScore.get(), SCORES[i])
            self.assertAlmostEqual(item._cryodlConfidence.get(), 0.9 + 0.01 * i)
            self.assertIsInstance(item._cryodlPoseSpread, Float)
            self.assertEqual(item._rlnRandomSubset.get(), i % 2 + 1)
        self.assertTrue(prot.subtomograms.hasCoordinates3D())
        self.assertIn("9.0", "\n".join(prot.summary()))
        self.assertIn("5 subtomograms", prot.methods()[0])

    def testWhatIsRefused(self):
        """Other boxes and samplings, a search by a network without one."""
        prot = self.run_(CryoDLProtSubtomoAlign, reference="large", mode=NET)
        words = "\n".join(prot.validate())
        self.assertIn("found a box of 40 x 40 x 40, expected 32 px", words)
        self.assertIn("expected one for the search *net*", words)
        mask = VolumeMask()
        mask.setFileName(self.source._getExtraPath("reference.mrc"))
        mask.setSamplingRate(2 * IMAGE_SAMPLING)
        self.source._defineOutputs(wrongMask=mask)
        prot = self.run_(CryoDLProtSubtomoAlign, maskFrom=1)
        prot.inputMask.set(self.source)
        prot.inputMask.setExtended("wrongMask")
        self.assertIn("*Volume mask*: found 8.00", "\n".join(prot.validate()))

    def testNetwork(self):
        """A network of the training goes to the engine."""
        training = self.finishedTrain()
        self.assertEqual(training.model.getMethod(), "selfalign train")
        self.assertIn("8.5 degrees", training.summary()[0])
        prot = self.run_(CryoDLProtSubtomoAlign)
        prot.inputModel.set(training)
        prot.inputModel.setExtended("model")
        self.assertEqual(prot.validate(), [])
        self.assertTrue(prot.engineParameters()["model"].endswith("model.safetensors"))
        lonely = self.run_(CryoDLProtSubtomoTrain, reference=None)
        self.assertIn("*Reference*", lonely.validate()[0])

    def testViewer(self):
        """Scores, sphere, change against the input, images."""
        prot = self.finishedAlign()
        calls = calledBy(self, CryoDLViewerSubtomoAlign, prot)
        (view,) = calls["showScores"]()
        self.assertEqual(view.figure.axes[0].get_title(), "Score")
        (view,) = calls["showSphere"]()
        self.assertEqual(sum(_counts(view.figure)), 5)
        (view,) = calls["showChange"]()
        self.assertIn(f"{TURN_DEGREES:.2g}", view.figure.axes[0].get_legend().texts[0].get_text())
        (view,) = calls["showGallery"]()
        self.assertGreaterEqual(len(view.figure.axes), 5)


class TestRefine(SubtomoTest):
    """Averages with half maps, curves and classes."""

    def testOutput(self):
        """One class: average with its halves, curves, mask."""
        prot = self.finishedRefine()
        self.assertEqual(len(prot.average.getHalfMaps(asList=True)), 2)
        self.assertEqual(prot.average.getSamplingRate(), IMAGE_SAMPLING)
        self.assertEqual(prot.fscs.getSize(), 4)
        curves = convert.readFscs(prot.fscs)
        np.testing.assert_allclose(curves["corrected"][1][1:], self.curve()[1:], atol=1e-6)
        self.assertFalse(hasattr(prot, "classes3D"))
        self.assertIn("*18.5 Å*", prot.summary()[0])
        self.assertIn("18.5 Å", prot.methods()[0])
        self.assertEqual(prot.mask.getFileName(), prot.enginePath("mask.mrc"))

    def testClasses(self):
        """Two classes: sets of classes and averages; each particle in its own."""
        prot = self.finishedRefine(2)
        self.assertEqual(prot.averages.getSize(), 2)
        self.assertEqual(prot.average.getFileName(), prot.enginePath("class1_average.mrc"))
        sizes = {group.getObjId(): group.getSize() for group in prot.classes3D}
        self.assertEqual(sizes, {1: 3, 2: 2})
        for group in prot.classes3D:
            name = f"class{group.getObjId()}_average.mrc"
            self.assertTrue(group.getRepresentative().getFileName().endswith(name))
        self.assertIn("Class 2: 2 subtomograms, 20.5 Å", "\n".join(prot.summary()))

    def testReferences(self):
        """Further references reach the engine in order; symmetry needs one."""
        prot = self.store(self.run_(CryoDLProtSubtomoRefine))
        prot.inputMoreReferences.append(self.source)
        prot.inputMoreReferences[0].setExtended("reference")
        self.assertEqual(prot.classCount(), 2)
        self.assertEqual(len(prot.engineParameters()["other_references"]), 1)
        self.assertIn("at least 8", "\n".join(prot.validate()))
        prot = self.run_(CryoDLProtSubtomoRefine, reference=None, symmetry="D7")
        self.assertIn("*Symmetry*: found D7", "\n".join(prot.validate()))
        prot = self.run_(CryoDLProtSubtomoRefine, reference=None, symmetry="D7", mode=REFINE)
        self.assertEqual(prot.validate(), [])
        self.assertEqual(firstReference(prot).getObjId(), 1)

    def testViewer(self):
        """Rounds while they come, curves, the result, poses."""
        prot = self.finishedRefine(2)
        calls = calledBy(self, CryoDLViewerSubtomoRefine, prot)
        (view,) = calls["showProgress"]()
        self.assertEqual(view.figure.axes[3].get_title(), "Classes")
        views = calls["showRounds"]()
        self.assertEqual([len(view.figure.axes) for view in views], [2 * (ROUNDS + 1)] * 2)
        (view,) = calls["showFscs"]()
        labels = [text.get_text() for text in view.figure.axes[1].get_legend().texts]
        self.assertTrue(labels[-1].startswith(f"round {ROUNDS}"))
        (view,) = calls["showMaps"]()
        self.assertEqual(list(view.maps), ["average", "unfiltered", "half 1", "half 2"])
        (view,) = calls["showChange"]()
        self.assertIn(f"round {ROUNDS}", view.figure.get_suptitle())
        self.assertIn("No round", subtomo_figures.progressFigure([]).texts[0].get_text())
        training = self.finishedTrain()
        (view,) = calledBy(self, CryoDLViewerSubtomoTrain, training)["showLoss"]()
        self.assertTrue(view.figure.axes)

    def testTiltSeriesGoAlong(self):
        """Stacks of tilt images are read with the tilt series that came with them."""
        folder = self.source._getExtraPath()
        names = ("rlnTomoParticlesFile", "rlnTomoTomogramsFile")
        beside = os.path.join(folder, "tomograms.star")
        tomography.writeStar(beside, {"global": [{"rlnTomoName": "TS_01"}]})
        given = os.path.join(folder, "given.star")
        rows = [dict(zip(names, ("old.star", "tomograms.star")))]
        tomography.writeStar(given, {"": rows})
        stacks = SimpleNamespace(
            _cryodlOptimisationSet=String(given),
            getFirstItem=lambda: SimpleNamespace(_rlnTomoVisibleFrames="[1,1,0]"),
        )
        alignment.writeOptimisationSet(stacks, folder)
        path = alignment.particleFile(stacks, folder)
        (row,) = tomography.readStar(path)[""]
        self.assertEqual(row[names[0]], os.path.abspath(os.path.join(folder, "particles.star")))
        self.assertEqual(row[names[1]], os.path.abspath(beside))
        plain = self.source.subtomograms
        self.assertTrue(alignment.particleFile(plain, folder).endswith("particles.star"))

    def testAngles(self):
        """Angles between poses; rounds that are not complete do not count."""
        one = tomography.eulerToMatrix(10, 20, 30)
        two = tomography.eulerToMatrix(0, 0, 25) @ one
        np.testing.assert_allclose(alignment.anglesBetween([one], [two]), [25], atol=1e-6)
        prot = self.finishedRefine()
        os.remove(prot.enginePath("rounds", "round004", "round.json"))
        self.assertEqual(list(alignment.roundFolders(prot.engineFolder())), [0, 1, 2, 3])


def calledBy(test, viewerClass, prot):
    """Return what a viewer of a run opens, by row."""
    viewer = viewerClass(project=test.proj, protocol=prot)
    viewer.setProtocol(prot)
    return viewer._getVisualizeDict()


def _counts(figure):
    return [int(axes.get_title().split(": ")[1].split()[0]) for axes in figure.axes]


class TestOneClass(SubtomoTest):
    """One class of a set of classes as input, as templates and users choose it."""

    def testItKeepsItsPlaces(self):
        """Coordinates and tomograms come from the set that the class was made of."""
        classified = self.finishedRefine(count=2)
        prot = self.make(
            CryoDLProtSubtomoAlign,
            {
                "inputSubTomograms": (classified, "classes3D.1"),
                "inputReference": (self.source, "reference"),
            },
            useGpu=False,
        )
        prot = self.started(prot)
        self.writeAligned(prot, "aligned.star")
        rows = tomography.readStar(prot.inputFile("particles.star"))["particles"]
        whole = classified.inputFile("particles.star")
        known = {r["cdlParticleId"]: r for r in tomography.readStar(whole)["particles"]}
        self.assertEqual(len(rows), 3)
        for row in rows:
            for axis in "XYZ":
                label = f"rlnCoordinate{axis}"
                self.assertEqual(row[label], known[row["cdlParticleId"]][label])
        found = {"median_score": 9.0, "confident": 0.8, "median_spread_degrees": 2.0}
        self.finishRun(prot, {"star": "aligned.star", **found})
        self.assertTrue(prot.subtomograms.hasCoordinates3D())
        self.assertEqual(prot.subtomograms.getSize(), 3)
