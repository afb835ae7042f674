"""One object, one chain: tomogram, coordinate, box, pose, average, Scipion set, STAR, RELION."""

import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import pytest
from tomo.objects import SetOfSubTomograms, SetOfTomograms

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtExportStar,
    CryoDLProtExtractSubtomos,
    CryoDLProtImportParticlesStar,
)
from cryodl_plugin.tests.fixtures import PluginTest, SourceProtocol

SCENE = Path(__file__).resolve().parents[2] / "engine" / "tests" / "round_trip_scene.py"
TS_ID, SAMPLING, BINNING, BOX, COUNT = "tomogram", 4.0, 2.0, 24, 12
RELION31 = 1  # place in the list of programs
# Written out, for the plugin's tests import nothing of the engine.
AVERAGE = """
import sys
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.core.volumes.particle_average import average_particles
found = average_particles(read_particles(sys.argv[1]))
write_volume(sys.argv[2], found.average, pixel_size_angstrom=float(sys.argv[3]))
"""


def run(*words):
    """Run a program; return its account, and fail with it."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@unittest.skipUnless(SCENE.is_file(), "needs the engine's tests beside the plugin")
class TestRoundTrip(PluginTest):
    """An off-centre object without symmetry comes back in place and with its hand."""

    @classmethod
    def makeSource(cls, **_):
        """Return a protocol with the tomogram of the scene."""
        prot = cls.newProtocol(SourceProtocol, objLabel="scene")
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        cls.folder = Path(prot._getExtraPath("scene"))
        run(sys.executable, str(SCENE), str(cls.folder))
        acquisition = tomography.makeAcquisition(-90.0, 90.0, 3.0, 300.0)
        tomograms = SetOfTomograms.create(prot._getPath())
        tomograms.setSamplingRate(SAMPLING)
        tomograms.setAcquisition(acquisition.clone())
        path = str(cls.folder / "tomogram.mrc")
        tomograms.append(tomography.makeTomogram(path, TS_ID, SAMPLING, acquisition))
        prot._defineOutputs(tomograms=tomograms)
        cls.proj._storeProtocol(prot)
        return prot

    def launched(self, protocolClass, pointers, **values):
        """Return a protocol that has run."""
        prot = self.make(protocolClass, pointers, **values)
        self.assertEqual(prot.validate(), [])
        self.launchProtocol(prot)
        return prot

    def checkInPlace(self, path):
        """Correlation with the object above 0.95; mirrored or one voxel aside it is far lower."""
        found = convert.readMap(path)
        reference = convert.readMap(str(self.folder / "reference.mrc"))

        def correlation(other):
            return np.corrcoef(other.ravel(), reference.ravel())[0, 1]

        self.assertGreater(correlation(found), 0.95)
        for axis in range(3):
            self.assertLess(correlation(np.roll(np.flip(found, axis), 1, axis)), 0.8)
            for step in (-1, 1):
                self.assertLess(correlation(np.roll(found, step, axis)), correlation(found) - 0.02)

    @pytest.mark.relion
    def testTomogramToRelion(self):
        """The whole chain; at its end a subset with gaps in its ids."""
        imported = self.launched(
            CryoDLProtImportParticlesStar,
            {"inputTomograms": (self.source, "tomograms")},
            star=str(self.folder / "points.star"),
            boxSize=round(BOX * BINNING),
        )
        self.assertEqual(imported.coordinates.getSize(), COUNT)
        cut = self.launched(
            CryoDLProtExtractSubtomos,
            {"inputCoordinates": (imported, "coordinates")},
            boxSizePx=BOX,
            binning=BINNING,
            numberOfThreads=1,
        )
        self.assertEqual(cut.subtomograms.getSize(), COUNT)
        self.assertEqual(cut.subtomograms.getSamplingRate(), SAMPLING * BINNING)
        chosen = self.subsetWithGaps(cut)
        export = self.launched(
            CryoDLProtExportStar, {"inputParticles": (chosen, "subset")}, to=RELION31
        )
        star = export.exported.getFileName()
        average, reconstructed = (cut._getExtraPath(f"{who}.mrc") for who in ("engine", "relion"))
        run(sys.executable, "-c", AVERAGE, star, average, str(SAMPLING * BINNING))
        self.checkInPlace(average)
        run("relion_reconstruct", "--i", star, "--o", reconstructed, "--ctf", "--pad", "2")
        self.checkInPlace(reconstructed)

    def subsetWithGaps(self, cut):
        """Return a protocol with two of three subtomograms, which keep their ids."""
        prot = self.newProtocol(SourceProtocol, objLabel="subset")
        self.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        subset = SetOfSubTomograms.create(prot._getPath())
        subset.copyInfo(cut.subtomograms)
        for item in cut.subtomograms:
            if item.getObjId() % 3:
                subset.append(item.clone())
        prot._defineOutputs(subset=subset)
        self.proj._storeProtocol(prot)
        self.assertLess(subset.getSize(), COUNT)
        return prot
