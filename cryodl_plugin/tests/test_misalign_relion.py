"""The refinement with misalignment correction, launched with the real RELION on a toy."""

import os
from unittest import mock

import numpy as np
import pytest

from cryodl_plugin import convert
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.convert.particles_spa import matrixPose, readPoses, writeParticles
from cryodl_plugin.protocols import CryoDLProtMisalignRefine
from cryodl_plugin.tests.fixtures import PluginTest
from cryodl_plugin.tests.misalign_fixtures import (
    ENOUGH_SLOTS,
    makeParticles,
    makeSubtomograms,
    runRelion,
    views,
    writeStack,
)

pytestmark = pytest.mark.relion

_BOX, _SAMPLING, _NUMBER = 24, 7.0, 30
_QUICK = {
    "useGpu": False,
    "initialLowPass": 35.0,
    "healpixOrder": 1,
    "localHealpixOrder": 2,
    "offsetRange": 3.0,
    "offsetStep": 2.0,
    "skipPadding": True,
    "preread": True,
    "pool": 20,
    "maxIterations": 1,
    "numberOfMpi": 3,
    "numberOfThreads": 1,
    "startHealpix": 1,
    "startResolution": 300.0,
    "epochs": 1,
    "nSubvolume": 2,
    "cubeSize": 16,
    "batchSize": 2,
    "accBatches": 1,
    "width": 2,
}


def compactBlobs():
    """Return three off-centre blobs, asymmetric, that fit into the ball of the small box."""
    z, y, x = np.indices((_BOX,) * 3) - _BOX // 2
    data = np.zeros((_BOX,) * 3)
    for height, cx, cy, cz in ((1, 4, -2, 1), (0.7, -3, 1, -2), (0.8, 0.5, 4, 1)):
        square = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        data += height * np.exp(-square / (2 * 1.5**2))
    return data.astype(np.float32)


def centreOfMass(data):
    """Return (x, y[, z]) from the middle, in px."""
    grid = np.indices(data.shape)[::-1] - data.shape[0] // 2
    axes = tuple(range(1, grid.ndim))
    return (grid * data).sum(axis=axes) / data.sum()


def medianError(items, truth):
    """Return the median angle in degrees and shift in px between poses and the true ones."""
    angles, shifts = [], []
    for item, wanted in zip(items, truth):
        turn = np.linalg.inv(item.getTransform().getMatrix()) @ wanted
        angles.append(np.degrees(np.arccos(np.clip((np.trace(turn[:3, :3]) - 1) / 2, -1, 1))))
        shifts.append(np.linalg.norm(turn[:3, 3]))
    return float(np.median(angles)), float(np.median(shifts))


class TestRefinement(PluginTest):
    """One refinement: the network runs in it, and everything comes back."""

    @classmethod
    def makeSource(cls, **_):
        """Return a source with particles that RELION projected from the reference."""
        prot = super().makeSource(_BOX, _SAMPLING)
        folder = prot._getExtraPath()
        for name in ("truth", "half1", "half2"):  # the usual blobs do not fit into this box
            convert.writeMap(os.path.join(folder, f"{name}.mrc"), compactBlobs(), _SAMPLING)
        angles = views(_NUMBER)
        shifts = np.random.default_rng(4).uniform(-1.5, 1.5, (_NUMBER, 2))
        stack = os.path.join(folder, "images.mrcs")
        writeStack(stack, np.zeros((_NUMBER, _BOX, _BOX)), _SAMPLING)
        particles = makeParticles(prot, stack, angles, shifts, _SAMPLING, step=7)
        writeParticles(particles, os.path.join(folder, "truth.star"), folder)
        cls.checkProjections(folder, particles)
        clean = cls.project(folder, "--ctf")
        noise = np.random.default_rng(5).standard_normal(clean.shape)
        images = clean + noise * clean.std()
        y, x = np.mgrid[:_BOX, :_BOX] - _BOX // 2
        outside = images[:, y**2 + x**2 > (0.45 * _BOX) ** 2]
        images -= outside.mean(axis=1)[:, None, None]
        writeStack(stack, images / outside.std(axis=1)[:, None, None], _SAMPLING)
        prot._defineOutputs(particles=particles)
        cls.proj._storeProtocol(prot)
        cls.truth = angles, shifts
        return prot

    @staticmethod
    def project(folder, *more):
        """Return projections by RELION along the poses in the STAR file."""
        words = ["--i", "truth.mrc", "--ang", "truth.star", "--o", "clean"]
        words += ["--angpix", str(_SAMPLING), *more]
        runRelion("relion_project", *words, folder=folder)
        return convert.readMap(os.path.join(folder, "clean.mrcs"))

    @classmethod
    def checkProjections(cls, folder, particles):
        """The matrices mean to RELION what they mean to Scipion: the centre of mass goes along."""
        images = cls.project(folder)
        found = [centreOfMass(image) for image in images]
        centre = centreOfMass(convert.readMap(os.path.join(folder, "truth.mrc")))
        # A pose takes the particle to the reference, so its inverse takes the centre to the image.
        wanted = [
            (np.linalg.inv(particle.getTransform().getMatrix()) @ [*centre, 1])[:2]
            for particle in particles
        ]
        # Interpolation moves the centre by up to a tenth of a pixel, a wrong convention by several.
        np.testing.assert_allclose(found, wanted, atol=0.2)

    @classmethod
    def setUpClass(cls):
        """Let three ranks run here."""
        patch = mock.patch.dict(os.environ, ENOUGH_SLOTS)
        patch.start()
        cls.addClassCleanup(patch.stop)
        super().setUpClass()

    def testRefinement(self):
        """One iteration, gone on with to the final map; all outputs, by id."""
        pointers = {
            "inputParticles": (self.source, "particles"),
            "inputReference": (self.source, "volume"),
            "inputMask": (self.source, "mask"),
        }
        prot = self.make(CryoDLProtMisalignRefine, pointers, **_QUICK)
        self.assertEqual(prot.validate(), [])
        self.launchProtocol(prot)
        folder = prot.refineFolder()
        self.assertTrue(results.isFinished(folder))
        rows = results.logRows(os.path.join(folder, results.LOG_NAME))
        self.assertEqual([r["action"] for r in rows], ["network", "network", "relion"])
        self.checkOutputs(prot)

    @pytest.mark.slow
    def testSubtomograms(self):
        """Subtomograms with a missing wedge: RELION finds their poses, the network runs."""
        volume, number = compactBlobs(), 18
        shifts = np.random.default_rng(6).uniform(-1.5, 1.5, (number, 3))
        source = self.store(self.newProtocol(type(self.source)))
        given = makeSubtomograms(
            source, volume, views(number, seed=3), shifts, _SAMPLING, (-50, 60), noise=2.0
        )
        source._defineOutputs(subtomograms=given)
        self.proj._storeProtocol(source)
        pointers = {
            "inputParticles": (source, "subtomograms"),
            "inputReference": (self.source, "volume"),
            "inputMask": (self.source, "mask"),
        }
        prot = self.make(CryoDLProtMisalignRefine, pointers, **_QUICK, useAlignment=False)
        self.assertEqual(prot.validate(), [])
        self.launchProtocol(prot)
        rows = results.logRows(os.path.join(prot.refineFolder(), results.LOG_NAME))
        self.assertEqual([r["action"] for r in rows], ["network", "network", "relion"])
        ids = [item.getObjId() for item in prot.subtomograms]
        self.assertEqual(ids, [5 + 4 * i for i in range(number)])
        truth = [item.getTransform().getMatrix().copy() for item in given]
        degrees, px = medianError(prot.subtomograms, truth)  # chance: 126 degrees
        self.assertLess(degrees, 40)
        self.assertLess(px, 1.5)
        # The map of all of them is on the grey scale of its half maps: RELION's own.
        maps = [prot.volume.getFileName(), *prot.volume.getHalfMaps(asList=True)]
        whole, *halves = (convert.readMap(name).std() for name in maps)
        self.assertTrue(0.3 < whole / np.mean(halves) < 3)

    def checkOutputs(self, prot):
        """Check particles, volume and curves."""
        truth = [p.getTransform().getMatrix().copy() for p in self.source.particles]
        degrees, px = medianError(prot.particles, truth)  # chance: 126 degrees
        self.assertLess(degrees, 40)
        self.assertLess(px, 1.5)
        ids = [particle.getObjId() for particle in prot.particles]
        self.assertEqual(ids, [1 + 7 * i for i in range(_NUMBER)])
        self.assertTrue(prot.particles.hasAlignmentProj())
        poses = readPoses(results.finalFile(prot.refineFolder(), "data.star"))
        for particle in prot.particles:
            _, shift = matrixPose(particle.getTransform().getMatrix())
            given = poses[particle.getObjId()].shiftAngstrom
            np.testing.assert_allclose(shift[:2] * _SAMPLING, given, atol=1e-3)
            self.assertIn(particle._rlnRandomSubset.get(), (1, 2))
        volume = prot.volume
        self.assertEqual(volume.getDim(), (_BOX, _BOX, _BOX))
        halves = [convert.readMap(name) for name in volume.getHalfMaps(asList=True)]
        self.assertGreater(float(np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1]), 0.2)
        self.assertSetSize(prot.fscs, 2)
        self.assertGreaterEqual(prot.resolution.get(), 2 * _SAMPLING)
        self.assertTrue(0 < prot.sphericity.get() <= 1)
        self.assertIn("in *1* of 1 iterations", "\n".join(prot._summary()))
        with open(prot._getExtraPath("command.sh"), encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text.count("--external_reconstruct"), 2)
        self.assertEqual(text.count("ISONET_ON_ERROR=fail"), 2)
        self.assertIn("--force_converge", text)
