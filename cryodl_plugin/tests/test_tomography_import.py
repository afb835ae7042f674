"""Real particle files through Scipion: imported, exported, and the same as before."""

import os
import unittest
from pathlib import Path

import numpy as np
from pwem.objects import EMFile
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import SetOfTomograms

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import CryoDLProtExportStar, CryoDLProtImportParticlesStar
from cryodl_plugin.tests.fixtures import PluginTest, SourceProtocol

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "subtomo_70s_warp"
NAME = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
SAMPLING, KNOWN = 24.0, ("Unt_050", "Unt_083")
RELION5 = 3  # place in the list of programs


@unittest.skipUnless(SHARED.is_dir(), "needs the shared test data")
class TestRealParticles(PluginTest):
    """Forty ribosomes of Warp in four tomograms, of which Scipion knows two."""

    @classmethod
    def makeSource(cls, **_):
        """Return a protocol with tomograms of twice the pixel size that the images have."""
        prot = cls.newProtocol(SourceProtocol, objLabel="tomograms")
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        tomograms = SetOfTomograms.create(prot._getPath())
        tomograms.setSamplingRate(SAMPLING)
        for tsId in KNOWN:
            path = prot._getExtraPath(f"{tsId}.mrc")
            convert.writeMap(path, np.zeros((20, 33, 25), np.float32), SAMPLING)
            tomograms.append(tomography.makeTomogram(path, tsId, SAMPLING))
        prot._defineOutputs(tomograms=tomograms)
        cls.proj._storeProtocol(prot)
        return prot

    def testThereAndBack(self):
        """Places, poses, images and columns of the file come out of Scipion as they went in."""
        prot = self.make(
            CryoDLProtImportParticlesStar,
            {"inputTomograms": (self.source, "tomograms")},
            star=str(SHARED / f"{NAME}_optimisation_set.star"),
            tiltMin=-54.0,
            tiltMax=54.0,
        )
        self.assertEqual(prot.validate(), [])
        self.launchProtocol(prot)
        before = [
            row
            for row in tomography.readStar(SHARED / f"{NAME}.star")["particles"]
            if tomography.tomogramId(row["rlnTomoName"]) in KNOWN
        ]
        self.checkImported(prot, before)
        export = self.make(
            CryoDLProtExportStar, {"inputParticles": (prot, "subtomograms")}, to=RELION5
        )
        self.launchProtocol(export)
        self.assertIsInstance(export.exported, EMFile)
        self.checkExported(tomography.readStar(export.exported.getFileName()), before)

    def checkImported(self, prot, before):
        """Check the sets against the rows of the file."""
        self.assertEqual(prot.subtomograms.getSize(), 20)
        self.assertEqual(prot.subtomograms.getSamplingRate(), 12)
        self.assertEqual(prot.coordinates.getSamplingRate(), SAMPLING)
        self.assertEqual(prot.coordinates.getBoxSize(), 16)
        self.assertIn("Unt_076.tomostar, Unt_088.tomostar", "\n".join(prot._summary()))
        self.assertTrue(os.path.exists(prot.subtomograms._cryodlOptimisationSet.get()))
        for item, row in zip(prot.subtomograms.iterSubtomos(), before):
            place = np.array([float(row[f"rlnCoordinate{axis}"]) for axis in "XYZ"])
            found = item.getCoordinate3D().getPosition(BOTTOM_LEFT_CORNER)
            np.testing.assert_allclose(found, place / 2, atol=1e-3)
            self.assertEqual(tomography.tiltRange(item), (-54, 54))
            self.assertFalse(os.path.isabs(item.getFileName()))
            image = SHARED / row["rlnImageName"]
            self.assertTrue(os.path.samefile(item.getFileName(), image))
            self.assertEqual(item._rlnTomoVisibleFrames.get(), row["rlnTomoVisibleFrames"])

    def checkExported(self, blocks, before):
        """Check the rows of the exported file against those of the original."""
        self.assertEqual(blocks["general"][0]["rlnTomoSubTomosAre2DStacks"], "1")
        optics = {row["rlnOpticsGroup"]: row for row in blocks["optics"]}
        self.assertEqual(len(blocks["particles"]), 20)
        for row, old in zip(blocks["particles"], before):
            angles = [
                [float(one[f"rlnAngle{name}"]) for name in ("Rot", "Tilt", "Psi")]
                for one in (row, old)
            ]
            matrices = [tomography.eulerToMatrix(*three) for three in angles]
            np.testing.assert_allclose(*matrices, atol=1e-6)
            self.assertTrue(os.path.samefile(row["rlnImageName"], SHARED / old["rlnImageName"]))
            for label in ("rlnTomoVisibleFrames", "rlnTomoParticleName"):
                self.assertEqual(row[label], old[label])
            group = optics[row["rlnOpticsGroup"]]
            self.assertEqual(group["rlnCtfDataAreCtfPremultiplied"], "1")
            self.assertEqual(float(group["rlnAmplitudeContrast"]), 0.07)
            self.assertEqual(float(group["rlnImagePixelSize"]), 12)
            size = float(group["rlnTomoTiltSeriesPixelSize"])
            place = [float(row[f"rlnCoordinate{axis}"]) * size / 12 for axis in "XYZ"]
            expected = [float(old[f"rlnCoordinate{axis}"]) for axis in "XYZ"]
            np.testing.assert_allclose(place, expected, atol=1e-3)
