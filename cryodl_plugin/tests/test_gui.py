"""Every form, wizard and viewer opens on a screen, here a virtual one."""

import json
import os
import shutil
import subprocess
import sys
import unittest

from pwem.objects import VolumeMask

from cryodl_plugin import convert
from cryodl_plugin.constants import MASK_SPHERE, MASK_VOLUME
from cryodl_plugin.protocols import (
    CryoDLProtAnisoCorrect,
    CryoDLProtExportStar,
    CryoDLProtExtractSubtomos,
    CryoDLProtFsc3D,
    CryoDLProtImportParticlesStar,
    CryoDLProtSimulateHalfMaps,
    CryoDLProtSimulateSubtomograms,
    CryoDLProtSimulateTomograms,
)
from cryodl_plugin.tests.fixtures import (
    BOX,
    SAMPLING,
    PluginTest,
    blobs,
    directionalWeight,
    modelObject,
)
from cryodl_plugin.tests.virtual_screen import VirtualScreen


class TestWindows(PluginTest):
    """Forms, wizards and viewers, each kind in one process."""

    @classmethod
    def setUpClass(cls):
        """Make finished runs, and a virtual screen."""
        if shutil.which("Xvfb") is None:
            raise unittest.SkipTest("Xvfb is not installed")
        super().setUpClass()
        cls.screen = VirtualScreen()

    @classmethod
    def tearDownClass(cls):
        """Stop the virtual screen."""
        cls.screen.stop()
        super().tearDownClass()

    def open(self, windows):
        """Open windows in another process; return its answers."""
        path = os.path.abspath(self.getOutputPath("probe.json"))
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"project": self.projName, "windows": windows}, file)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "cryodl_plugin.tests.gui_probe", path],
            env=self.screen.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        self.assertEqual(len(answers), len(windows), done.stdout + done.stderr)
        return [answer[-1] for answer in answers]

    def saved(self, cls, pointers=None, **values):
        """Return the id of a protocol in the project."""
        return self.store(self.make(cls, pointers, **values)).getObjId()

    def testForms(self):
        """The three forms at expert level, with all their parameters."""
        classes = (CryoDLProtSimulateHalfMaps, CryoDLProtFsc3D, CryoDLProtAnisoCorrect)
        ids = [self.saved(cls, expertLevel=1) for cls in classes]
        counts = self.open([["form", key] for key in ids])
        for count, cls in zip(counts, classes):
            self.assertGreater(count, 10, cls.__name__)

    def testTomographyForms(self):
        """The forms of particles and of the simulations of tomography."""
        classes = (
            CryoDLProtImportParticlesStar,
            CryoDLProtExportStar,
            CryoDLProtExtractSubtomos,
            CryoDLProtSimulateTomograms,
            CryoDLProtSimulateSubtomograms,
        )
        ids = [self.saved(cls, expertLevel=1) for cls in classes]
        counts = self.open([["form", key] for key in ids])
        for count, least, cls in zip(counts, (10, 4, 13, 40, 40), classes):
            self.assertGreaterEqual(count, least, cls.__name__)

    def testWizards(self):
        """The three wizards on both protocols; Select gives what they started with."""
        self.source._defineOutputs(model=self.makeModel())
        fsc = self.saved(CryoDLProtFsc3D, maskFrom=MASK_SPHERE, maskRadius=9)
        correct = self.saved(
            CryoDLProtAnisoCorrect,
            {"inputModel": (self.source, "model"), "inputMask": (self.source, "mask")},
            maskFrom=MASK_VOLUME,
            maskRadius=7,
            limitRes=12.8,
        )
        answers = self.open(
            [
                ["wizard", fsc, "maskRadius"],
                ["wizard", fsc, "limitRes"],
                ["wizard", correct, "maskRadius"],
                ["wizard", correct, "limitRes"],
                ["wizard", correct, "modelFile"],
            ]
        )
        self.assertEqual(int(answers[0]), 9)
        self.assertGreater(float(answers[1]), 2 * SAMPLING)
        self.assertEqual(int(answers[2]), 7)
        self.assertEqual(float(answers[3]), 12.8)
        self.assertTrue(answers[4].endswith("model.safetensors"))

    def makeModel(self):
        """Return a network object with a file."""
        path = self.source._getExtraPath("model.safetensors")
        with open(path, "w", encoding="utf-8") as file:
            file.write("weights")
        return modelObject(path)

    def testViewers(self):
        """All figures of all viewers, with their sliders and buttons."""
        simulated = self.finish(
            self.make(CryoDLProtSimulateHalfMaps),
            {
                "half1": blobs(seed=1, noise=0.1),
                "half2": blobs(seed=2, noise=0.1),
                "mask": convert.sphereMask(BOX, 10),
                "truth": blobs(),
                "sampling": directionalWeight(),
                "cone": directionalWeight(),
            },
            {"pixel_size_angstrom": SAMPLING, "box_size_px": BOX},
        )
        self.assertIsInstance(simulated.mask, VolumeMask)
        titles = self.open(
            [
                ["viewer", self.finishedFsc3D().getObjId(), "CryoDLViewerFsc3D"],
                ["viewer", self.finishedCorrection().getObjId(), "CryoDLViewerAnisoCorrect"],
                ["viewer", simulated.getObjId(), "CryoDLViewerSimulate"],
            ]
        )
        self.assertEqual([len(found) for found in titles], [3, 5, 2])
