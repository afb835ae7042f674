"""Particles to STAR files and back, and RELION's folder read while it runs."""

import os
import tempfile

import numpy as np
from pwem.objects import SetOfParticles

from cryodl_plugin import convert
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.convert import particles_spa
from cryodl_plugin.tests.fixtures import BOX, SAMPLING, PlainTest
from cryodl_plugin.tests.misalign_fixtures import (
    MisalignTest,
    makeParticles,
    star,
    views,
    writeIteration,
    writeStack,
)


class TestPoses(PlainTest):
    """Scipion's matrix and RELION's numbers."""

    def testKnownNumbers(self):
        """The numbers of the convention, computed elsewhere: shifts 3, -4, 5 Å at 2 Å/px."""
        wanted = [
            [-0.279454, -0.694109, 0.663414, 2.627572],
            [0.923721, -0.005813, 0.383022, 2.354763],
            [-0.262003, 0.719846, 0.642788, -0.225728],
            [0, 0, 0, 1],
        ]
        matrix = particles_spa.poseMatrix((30, 50, 70), np.array((3, -4, 5)) / 2)
        np.testing.assert_allclose(matrix, wanted, atol=1e-6)
        angles, shift = particles_spa.matrixPose(matrix)
        np.testing.assert_allclose(angles, (30, 50, 70))
        np.testing.assert_allclose(shift * 2, (3, -4, 5))

    def testDegenerate(self):
        """At tilt 0 and 180, and for negative tilts, the matrix comes back."""
        for triple in ((10, 0, 20), (10, 180, 20), (-170, -40, 95), (0, 0, 0)):
            matrix = particles_spa.poseMatrix(triple, (1.5, -2))
            angles, shift = particles_spa.matrixPose(matrix)
            np.testing.assert_allclose(particles_spa.poseMatrix(angles, shift), matrix, atol=1e-9)


class TestParticles(MisalignTest):
    """A set of particles as RELION is to see it."""

    def write(self, particles, **values):
        """Return rows of particles and optics of the written file."""
        path = self.getOutputPath("particles.star")
        particles_spa.writeParticles(particles, path, self.getOutputPath("stacks"), **values)
        return (
            list(particles_spa.starRows(path, "particles")),
            list(particles_spa.starRows(path, "optics")),
        )

    def testRoundTrip(self):
        """Ids with gaps, angles and shifts come back through the file."""
        given = self.source.particles
        path = self.getOutputPath("round.star")
        particles_spa.writeParticles(given, path, self.getOutputPath("stacks"))
        poses = particles_spa.readPoses(path)
        self.assertEqual(sorted(poses), [1 + 3 * i for i in range(12)])
        for particle in given:
            before = particle.getTransform().getMatrix().copy()
            copy = particle.clone()
            self.assertTrue(
                particles_spa.setPose(copy, poses[particle.getObjId()], given.getSamplingRate())
            )
            np.testing.assert_allclose(copy.getTransform().getMatrix(), before, atol=1e-5)

    def testColumns(self):
        """Image, micrograph, CTF and optics; angles only when wanted."""
        rows, optics = self.write(self.source.particles)
        stack = self.source._getExtraPath("images.mrcs")
        self.assertEqual(rows[1].rlnImageName, f"000002@{stack}")
        self.assertEqual(rows[1].rlnParticleId, "4")
        self.assertEqual(float(rows[1].rlnDefocusU), 15001)
        self.assertEqual(float(rows[1].rlnDefocusV), 14001)
        self.assertEqual(float(rows[1].rlnPhaseShift), 0)
        self.assertEqual(len({row.rlnMicrographName for row in rows}), 4)
        self.assertEqual(len(optics), 1)
        self.assertEqual(float(optics[0].rlnImagePixelSize), SAMPLING)
        self.assertEqual(int(optics[0].rlnImageSize), BOX)
        self.assertEqual(float(optics[0].rlnVoltage), 300)
        rows, _ = self.write(self.source.particles, withPoses=False)
        self.assertFalse(rows[0].hasColumn("rlnAngleRot"))

    def testOpticsGroupsOfRelion(self):
        """Groups that scipion-em-relion has stored are kept, with our sampling and box."""
        path = self.getOutputPath("optics.star")
        columns = ["rlnOpticsGroupName", "rlnOpticsGroup", "rlnBeamTiltX", "rlnImagePixelSize"]
        star(path, {"optics": (columns, [("one", 1, 0.5, 9.0), ("two", 2, -0.25, 9.0)])})
        prot = self.store(self.newProtocol(type(self.source)))
        particles = makeParticles(prot, self.source._getExtraPath("images.mrcs"), views(3))
        with open(path, encoding="utf-8") as file:
            particles.getAcquisition().opticsGroupInfo.set(file.read())
        _, optics = self.write(particles)
        self.assertEqual([row.rlnOpticsGroupName for row in optics], ["one", "two"])
        self.assertEqual([float(row.rlnBeamTiltX) for row in optics], [0.5, -0.25])
        self.assertEqual({float(row.rlnImagePixelSize) for row in optics}, {SAMPLING})

    def testOtherStacks(self):
        """A stack named .mrc, or with a blank in its name, is linked as .mrcs."""
        for name in ("images.mrc", "my images.mrcs"):
            stack = self.source._getExtraPath(name)
            writeStack(stack, np.ones((3, BOX, BOX)))
            prot = self.store(self.newProtocol(type(self.source)))
            rows, _ = self.write(makeParticles(prot, stack, views(3)))
            linked = rows[2].rlnImageName.partition("@")[2]
            self.assertTrue(linked.endswith(".mrcs"))
            self.assertNotIn(" ", linked)
            self.assertEqual(convert.readMap(linked).shape, (3, BOX, BOX))

    def testPhaseFlipped(self):
        """Flipped particles are declared as such."""
        prot = self.store(self.newProtocol(type(self.source)))
        particles = makeParticles(prot, self.source._getExtraPath("images.mrcs"), views(3))
        particles.setIsPhaseFlipped(True)
        _, optics = self.write(particles)
        self.assertEqual(optics[0].rlnCtfDataArePhaseFlipped, "1")

    def testMissingParticle(self):
        """A particle that RELION has not given back is left out of the copy."""
        prot = self.store(self.newProtocol(type(self.source)))
        copy = SetOfParticles.create(prot._getPath())
        copy.copyInfo(self.source.particles)
        pose = particles_spa.Pose((1.0, 2.0, 3.0), (0.0, 0.0), 1, 0.0, 1.0)
        poses = {4: pose, 10: pose}
        copy.copyItems(
            self.source.particles,
            updateItemCallback=lambda item, _: particles_spa.setPose(
                item, poses.get(item.getObjId()), SAMPLING
            ),
        )
        self.assertEqual([item.getObjId() for item in copy], [4, 10])


class TestResults(PlainTest):
    """RELION's folder at any moment."""

    def setUp(self):
        """Make a folder with three iterations, the network in the third."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for number in (1, 2, 3):
            action = "network" if number == 3 else "relion"
            writeIteration(self.folder, number, [5, 9, 2], 30 - 4 * number, action)

    def testTable(self):
        """RELION's numbers and the network's, by iteration."""
        table = results.readIterations(self.folder)
        self.assertEqual([row.number for row in table], [1, 2, 3])
        self.assertEqual([row.action for row in table], ["relion", "relion", "network"])
        self.assertEqual([row.resolution for row in table], [26, 22, 18])
        self.assertEqual([row.fscResolution for row in table], [25, 21, 17])
        self.assertEqual([row.healpixOrder for row in table], [1, 2, 2])
        self.assertEqual(table[2].seconds, 12.5)
        self.assertEqual(table[1].accuracyDegrees, 10)
        path = os.path.join(self.folder, "table.csv")
        results.writeIterations(self.folder, path)
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[3].startswith("3,18.0,2,"))

    def testHalfWritten(self):
        """An iteration that lacks a file, or has one cut short, is none to go on from."""
        self.assertEqual(results.completeIterations(self.folder), [1, 2, 3])
        path = results.iterationFile(self.folder, 3, "data.star")
        with open(path, "rb+") as file:
            file.truncate(os.path.getsize(path) - 9)
        self.assertEqual(results.completeIterations(self.folder), [1, 2])
        os.remove(results.iterationFile(self.folder, 2, "half2_class001.mrc"))
        self.assertEqual(results.completeIterations(self.folder), [1])
        self.assertEqual(len(results.readIterations(self.folder)), 1)
        self.assertEqual(results.completeIterations(os.path.join(self.folder, "none")), [])

    def testContinuedCallCountsOnce(self):
        """The log of a run that was gone on with has iterations twice: the newer row counts."""
        path = os.path.join(self.folder, results.LOG_NAME)
        with open(path, encoding="utf-8") as file:
            rows = file.read().splitlines()
        with open(path, "a", encoding="utf-8") as file:
            file.write(rows[-2].replace(",network,", ",fallback,") + "\n")
        self.assertEqual(results.readIterations(self.folder)[2].action, "fallback")

    def testFinal(self):
        """The final files count when all are there."""
        self.assertFalse(results.isFinished(self.folder))
        self.assertTrue(results.dataFile(self.folder).endswith("run_it003_data.star"))
        writeIteration(self.folder, 4, [5, 9, 2], 12, final=True)
        self.assertTrue(results.isFinished(self.folder))
        self.assertTrue(results.dataFile(self.folder).endswith("run_data.star"))
        self.assertEqual(list(results.readFscCurves(self.folder))[-1], "final")
        self.assertEqual(len(results.readFscCurves(self.folder, most=3)), 3)

    def testDirectionsAndWeights(self):
        """Angles of all particles; the weight of the iteration with the network."""
        directions = results.readDirections(results.dataFile(self.folder))
        np.testing.assert_allclose(directions, views(3, seed=3)[::-1, :2], atol=1e-4)
        self.assertEqual(list(results.readWeights(self.folder)), [3])

    def testSphericity(self):
        """1 for a sphere, that of a spheroid by its formula, the same at any scale."""
        directions = convert.hemisphere(800)
        sphere = np.full(800, 7.0)
        self.assertAlmostEqual(results.sphericityOf(directions, sphere), 1)
        # An oblate spheroid with axes 2, 2, 1.
        radii = 1 / np.sqrt((directions[:, :2] ** 2).sum(1) / 4 + directions[:, 2] ** 2)
        e = np.sqrt(0.75)
        area = 2 * np.pi * 4 * (1 + (1 - e**2) / e * np.arctanh(e))
        wanted = np.pi ** (1 / 3) * (6 * 4 / 3 * np.pi * 4) ** (2 / 3) / area
        found = results.sphericityOf(directions, radii)
        self.assertAlmostEqual(found, wanted, places=2)
        self.assertAlmostEqual(results.sphericityOf(directions, 3 * radii), found)
