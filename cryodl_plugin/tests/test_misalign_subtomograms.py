"""Subtomograms as volumes for the refinement with misalignment correction."""

import os

import numpy as np
from pwem.objects import Transform
from pyworkflow.object import Float, String
from tomo.objects import TomoAcquisition

from cryodl_plugin import convert
from cryodl_plugin.convert import misalign_subtomograms, particles_spa
from cryodl_plugin.tests.fixtures import BOX, SAMPLING, PlainTest, blobs
from cryodl_plugin.tests.misalign_fixtures import (
    MisalignTest,
    makeSubtomograms,
    views,
    writeIteration,
)

_IDS = [5, 9, 13]


class TestWedge(PlainTest):
    """What a tilt range measures."""

    def testKnownDirections(self):
        """Tilts from -30 to 60: 45 degrees is measured on one side and missing on the other."""
        found = misalign_subtomograms.wedge(16, -30, 60)
        self.assertEqual(found[8 + 4, 8, 8 + 4], 1)
        self.assertEqual(found[8 - 4, 8, 8 + 4], 0)
        self.assertEqual(found[8 - 4, 8, 8 - 4], 1)  # the opposite of the first
        self.assertEqual(found[8 + 4, 8 + 3, 8 + 4], 1)  # the same all along the axis
        self.assertEqual(found[8 + 4, 8, 8], 0)
        self.assertEqual(found[8, 8, 8], 1)

    def testShare(self):
        """The share measured is that of the angles."""
        found = misalign_subtomograms.wedge(64, -60, 60)
        z, x = np.mgrid[:64, :64] - 32
        inside = (z**2 + x**2 < 31**2) & (z**2 + x**2 > 0)
        self.assertAlmostEqual(float(found[:, 0][inside].mean()), 120 / 180, delta=0.02)


class TestSubtomograms(MisalignTest):
    """A set of subtomograms on its way to RELION and back."""

    @classmethod
    def makeSource(cls, **_):
        """Return the usual source with three subtomograms."""
        prot = super().makeSource()
        cls.shifts = np.array([[1.5, -2, 0.5], [0, 0, 0], [-1, 3, 2]])
        given = makeSubtomograms(prot, blobs(), views(3), cls.shifts, tilts=(-40, 60))
        prot._defineOutputs(subtomograms=given)
        cls.proj._storeProtocol(prot)
        return prot

    def refined(self, **values):
        """Return the protocol with subtomograms."""
        return self.refinement({"inputParticles": (self.source, "subtomograms")}, **values)

    def write(self, given, **values):
        """Return rows of particles and optics of the written file."""
        folder = self.proj.getTmpPath("subtomograms")
        path = self.proj.getTmpPath("subtomograms.star")
        misalign_subtomograms.writeSubtomograms(given, path, folder, **values)
        return [list(particles_spa.starRows(path, name)) for name in ("particles", "optics")]

    def changed(self, change):
        """Return the subtomograms in a set of another file, each changed by a function."""
        given = self.source.subtomograms
        other = type(given).create(self.proj.getTmpPath(), suffix=self.id().rpartition(".")[2])
        other.copyInfo(given)
        for item in given.iterItems():
            copy = item.clone()
            change(copy, other)
            other.append(copy)
        return other

    def testColumns(self):
        """Volume, tomogram, id, wedge and pose; one wedge for one tilt range."""
        rows, (optics,) = self.write(self.source.subtomograms)
        self.assertEqual([int(row.rlnParticleId) for row in rows], _IDS)
        self.assertEqual(
            [row.rlnMicrographName for row in rows], [f"tomogram{i}" for i in range(3)]
        )
        self.assertEqual((optics.rlnImageDimensionality, optics.rlnImageSize), ("3", str(BOX)))
        self.assertEqual(float(optics.rlnImagePixelSize), SAMPLING)
        (name,) = {row.rlnCtfImage for row in rows}
        np.testing.assert_array_equal(
            convert.readMap(name), misalign_subtomograms.wedge(BOX, -40, 60)
        )
        for row, shift in zip(rows, self.shifts):
            found = [float(getattr(row, f"rlnOrigin{axis}Angst")) for axis in "XYZ"]
            np.testing.assert_allclose(found, shift * SAMPLING, atol=1e-4)
            self.assertEqual(convert.mapDimensions(row.rlnImageName), (BOX, BOX, BOX))

    def testPosesComeBack(self):
        """What was written is read again as the same matrices."""
        path = self.proj.getTmpPath("round.star")
        misalign_subtomograms.writeSubtomograms(
            self.source.subtomograms, path, self.proj.getTmpPath("round")
        )
        poses = particles_spa.readPoses(path)
        for item in self.source.subtomograms:
            wanted = item.getTransform().getMatrix().copy()
            copy = item.clone()
            copy.setTransform(Transform())
            self.assertTrue(particles_spa.setPose(copy, poses[item.getObjId()], SAMPLING))
            np.testing.assert_allclose(copy.getTransform().getMatrix(), wanted, atol=1e-5)

    def testLeftOut(self):
        """No poses and no wedges where they are not wanted; disabled items are not refined."""

        def disable(item, _):
            item.setEnabled(item.getObjId() != 9)

        rows, _ = self.write(self.changed(disable), withPoses=False, withCtf=False)
        self.assertEqual([int(row.rlnParticleId) for row in rows], [5, 13])
        self.assertFalse(rows[0].hasColumn("rlnAngleRot") or rows[0].hasColumn("rlnCtfImage"))

    def testOwnCtfVolume(self):
        """A CTF volume that came with a subtomogram goes before a wedge."""
        name = self.proj.getTmpPath("ctf.mrc")
        convert.writeMap(name, blobs(), SAMPLING)

        def give(item, _):
            if item.getObjId() == 9:
                item._rlnCtfImage = String(name)
            else:
                item._rlnCtfImage = String()

        rows, _ = self.write(self.changed(give))
        self.assertEqual(rows[1].rlnCtfImage, name)
        self.assertIn("wedge1.mrc", rows[0].rlnCtfImage)

    def testPoseInTwoParts(self):
        """The RELION plugin keeps a part of the pose beside the matrix: both are one for RELION."""

        def turn(item, _):
            item.setTransform(Transform(matrix=particles_spa.poseMatrix((0, 0, 30), (0, 0, 0))))
            for name, value in zip(("Rot", "Tilt", "Psi"), (0.0, 0.0, 12.0)):
                setattr(item, f"_rlnAngle{name}", Float(value))

        given = self.changed(turn)
        rows, _ = self.write(given)
        turned = sum(float(getattr(rows[0], f"rlnAngle{n}")) for n in ("Rot", "Psi"))
        self.assertAlmostEqual(turned, 42, places=4)
        item = given.getFirstItem()
        misalign_subtomograms.forgetParts(item)
        self.assertFalse(hasattr(item, "_rlnAnglePsi"))

    def testNoTilts(self):
        """Without tilts the wedge is not known: refused in the form, and when written."""

        def forget(item, owner):
            item.setAcquisition(TomoAcquisition(voltage=300.0))
            owner.setAcquisition(TomoAcquisition(voltage=300.0))

        given = self.changed(forget)
        with self.assertRaisesRegex(ValueError, "subtomogram 5: found neither CTF volume nor tilt"):
            self.write(given)
        prot = self.refined()
        errors = prot._subtomogramErrors(given)
        self.assertIn("found no tilt range", " ".join(errors))
        prot.doCtf.set(False)
        self.assertEqual(prot._subtomogramErrors(given), [])

    def testStacks(self):
        """Stacks of tilt images are refused."""

        def stack(item, _):
            item._rlnTomoVisibleFrames = String("[1,1,0]")

        (error,) = self.refined()._subtomogramErrors(self.changed(stack))
        self.assertIn("expected volumes", error)

    def testProtocol(self):
        """Valid input; the poses of a run come back as subtomograms, by id."""
        prot = self.store(self.refined())
        self.assertEqual([e for e in prot._validate() if "RELION" not in e], [])
        self.assertIn("very small data sets", " ".join(prot._warnings()))
        prot.convertInputStep("r", "n")
        self.assertEqual(len(particles_spa.readPoses(prot.particlesFile())), 3)
        os.makedirs(prot.refineFolder())
        writeIteration(prot.refineFolder(), 1, _IDS, 20, final=True)
        found = prot._makeParticles()
        self.assertEqual([item.getObjId() for item in found], _IDS)
        self.assertEqual(found.getClassName(), "SetOfSubTomograms")
        wanted = particles_spa.poseMatrix(
            views(3, seed=1)[1].round(4), np.array([1.5, -2.5]) / SAMPLING
        )
        np.testing.assert_allclose(found[9].getTransform().getMatrix(), wanted, atol=1e-6)
