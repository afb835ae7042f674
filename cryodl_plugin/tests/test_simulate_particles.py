"""Simulated particles: what the set knows is what the engine wrote, and RELION averages them."""

import os
import subprocess

import numpy as np
import pytest

from cryodl_plugin import convert
from cryodl_plugin.convert import particles_spa
from cryodl_plugin.protocols import CryoDLProtSimulateParticles
from cryodl_plugin.tests.fixtures import PluginTest

COUNT, BOX = 60, 32


class TestSimulateParticles(PluginTest):
    """A few images in true poses."""

    @classmethod
    def makeSource(cls, **_):
        """Simulate."""
        prot = cls.newProtocol(
            CryoDLProtSimulateParticles,
            structure="groel_ring_cis",
            number=COUNT,
            boxSizePx=BOX,
            pixelSize=8.0,
            perMicrograph=20,
            snr=2.0,
        )
        cls.launchProtocol(prot)
        return prot

    def testSets(self):
        """Images, CTF, micrographs, poses, the density."""
        particles = self.source.particles
        self.assertEqual(particles.getSize(), COUNT)
        self.assertTrue(particles.hasCTF() and particles.hasAlignmentProj())
        self.assertEqual(particles.getDim()[:2], (BOX, BOX))
        self.assertEqual(len({item.getMicId() for item in particles}), 3)
        self.assertEqual({item._rlnRandomSubset.get() for item in particles}, {1, 2})
        self.assertEqual(self.source.truth.getDim(), (BOX, BOX, BOX))
        self.assertTrue(os.path.exists(particles.getFirstItem().getFileName()))

    @pytest.mark.relion
    def testRelionAverages(self):
        """In the poses of the set the images give the density, not its mirror image."""
        folder = self.source._getTmpPath()
        os.makedirs(folder, exist_ok=True)
        star, average = os.path.join(folder, "particles.star"), os.path.join(folder, "average.mrc")
        particles_spa.writeParticles(self.source.particles, star, folder)
        command = ["relion_reconstruct", "--i", star, "--o", average, "--ctf", "--sym", "C7"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found = convert.readMap(average)
        truth = convert.readMap(self.source.truth.getFileName())
        core = convert.sphereMask(BOX, 11, 2) > 0.5

        def correlation(other):
            return np.corrcoef(other[core], truth[core])[0, 1]

        self.assertGreater(correlation(found), 0.8)
        self.assertGreater(correlation(found), correlation(np.flip(found, 0)) + 0.1)
