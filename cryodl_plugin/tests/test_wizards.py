"""Wizards without a display: what they show and what they put into the form."""

import os
from unittest import mock

import numpy as np
from pwem.objects import Volume
from pyworkflow import Config

from cryodl_plugin import convert
from cryodl_plugin.constants import INPUT_ONE_MAP, MASK_SPHERE, MASK_VOLUME
from cryodl_plugin.protocols import CryoDLProtAnisoCorrect, CryoDLProtFsc3D
from cryodl_plugin.tests.fixtures import SAMPLING, PlainTest, PluginTest, blobs, modelObject
from cryodl_plugin.viewers import figures
from cryodl_plugin.wizards import (
    CryoDLMaskRadiusWizard,
    CryoDLModelFileWizard,
    CryoDLResolutionLimitWizard,
)
from cryodl_plugin.wizards.resolution import SOFT_SHELLS, LowPassPreview, drawLimit, suggestion

MODULE = "cryodl_plugin.wizards.wizards"


class TestDiscovery(PluginTest):
    """Scipion finds each wizard for its parameter."""

    def testTargets(self):
        """The wand is drawn beside these parameters, which exist."""
        domain = Config.getDomain()
        domain.getPlugins()
        for cls, names in (
            (CryoDLProtFsc3D, {"maskRadius", "limitRes"}),
            (CryoDLProtAnisoCorrect, {"maskRadius", "limitRes", "modelFile"}),
        ):
            prot = self.make(cls)
            found = domain.findWizards(prot, "tkinter")
            self.assertEqual(set(found), names)
            self.assertTrue(all(prot.hasAttribute(name) for name in names))


class TestMaskRadius(PluginTest):
    """The radius in px of the input."""

    def testRadius(self):
        """The chosen radius goes into the form as a whole number."""
        prot = self.make(CryoDLProtFsc3D, maskFrom=MASK_SPHERE)
        form = mock.Mock(protocol=prot)
        with mock.patch("pwem.wizards.wizard.MaskPreviewDialog") as window:
            window.return_value.resultYes.return_value = True
            window.return_value.getRadius.return_value = 7.6
            CryoDLMaskRadiusWizard().show(form)
        form.setVar.assert_called_once_with("maskRadius", 7)
        provider = window.call_args.args[1]
        shown = provider.getObjects()[0]
        self.assertIsInstance(shown, Volume)
        self.assertEqual(shown.getDim(), (32, 32, 32))
        self.assertEqual(shown.getSamplingRate(), SAMPLING)

    def testCancelAndEmpty(self):
        """Cancel changes nothing; an empty input is said so."""
        form = mock.Mock(protocol=self.make(CryoDLProtFsc3D))
        with mock.patch("pwem.wizards.wizard.MaskPreviewDialog") as window:
            window.return_value.resultYes.return_value = False
            CryoDLMaskRadiusWizard().show(form)
        form.setVar.assert_not_called()
        form = mock.Mock(protocol=self.make(CryoDLProtFsc3D, {"inputVolume": None}))
        with mock.patch("pwem.wizards.wizard.dialog.showWarning") as warning:
            CryoDLMaskRadiusWizard().show(form)
        warning.assert_called_once()


class TestResolutionLimit(PluginTest):
    """The limit in Å."""

    def show(self, prot, answer=True):
        """Run the wizard with a stand-in for the window; return form and window."""
        form = mock.Mock(protocol=prot)
        with mock.patch(f"{MODULE}.ResolutionDialog") as window:
            window.return_value.resultYes.return_value = answer
            window.return_value.resolution = 9.25
            CryoDLResolutionLimitWizard().show(form)
        return form, window

    def testChoice(self):
        """Select sets the value, Cancel does not."""
        form, window = self.show(self.make(CryoDLProtAnisoCorrect))
        form.setVar.assert_called_once_with("limitRes", 9.25)
        _, preview, curves, start = window.call_args.args
        self.assertEqual(preview.box, 32)
        self.assertAlmostEqual(start, convert.resolutionAt(*curves["half maps"]))
        form, _ = self.show(self.make(CryoDLProtAnisoCorrect), answer=False)
        form.setVar.assert_not_called()

    def testStart(self):
        """It starts from the form's value, else from the 3DFSC run, else from the FSC."""
        fsc = self.finishedFsc3D()
        prot = self.make(CryoDLProtAnisoCorrect, {"inputFsc3D": (fsc, "")})
        self.assertEqual(self.show(prot)[1].call_args.args[3], 10.5)
        prot.limitRes.set(12.0)
        self.assertEqual(self.show(prot)[1].call_args.args[3], 12.0)
        self.assertEqual(suggestion(None, {}, 2.0), 8.0)

    def testMaskCounts(self):
        """The FSC is that inside the mask volume."""
        prot = self.make(
            CryoDLProtFsc3D, {"inputMask": (self.source, "mask")}, maskFrom=MASK_VOLUME
        )
        masked = self.show(prot)[1].call_args.args[2]["half maps"][1]
        plain = self.show(self.make(CryoDLProtFsc3D))[1].call_args.args[2]["half maps"][1]
        self.assertGreater(np.mean(masked), np.mean(plain))

    def testOneMapAndEmpty(self):
        """One map alone has no curve; no input gives a warning."""
        prot = self.make(
            CryoDLProtAnisoCorrect, {"inputHalf1": (self.source, "half1")}, inputFrom=INPUT_ONE_MAP
        )
        self.assertEqual(self.show(prot)[1].call_args.args[2], {})
        with mock.patch(f"{MODULE}.dialog.showWarning") as warning:
            self.show(self.make(CryoDLProtAnisoCorrect, {"inputVolume": None}))
        warning.assert_called_once()


class TestModelFile(PluginTest):
    """Network files of the chosen run."""

    def testChoice(self):
        """The final network comes first, then those of the epochs."""
        folder = self.getOutputPath("run")
        os.makedirs(os.path.join(folder, "checkpoints"), exist_ok=True)
        names = ["model.safetensors", "checkpoints/e1.safetensors", "checkpoints/e2.safetensors"]
        for name in (*names, "checkpoints/state.pt"):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write("x")
        self.source._defineOutputs(model=modelObject(os.path.join(folder, names[0])))
        prot = self.make(CryoDLProtAnisoCorrect, {"inputModel": (self.source, "model")})
        form = mock.Mock(protocol=prot)
        with mock.patch(f"{MODULE}.dialog.ListDialog") as window:
            window.return_value.resultYes.return_value = True
            CryoDLModelFileWizard().show(form)
            provider = window.call_args.args[2]
            files = [item.get() for item in provider.getObjects()]
            self.assertEqual(files, [os.path.join(folder, name) for name in names])
            window.return_value.values = [provider.getObjects()[1]]
            CryoDLModelFileWizard().show(form)
        form.setVar.assert_called_with("modelFile", os.path.join(folder, names[1]))

    def testCancelAndEmpty(self):
        """Cancel leaves the form alone; no network gives a warning."""
        prot = self.make(CryoDLProtAnisoCorrect)
        form = mock.Mock(protocol=prot)
        with mock.patch(f"{MODULE}.dialog.showWarning") as warning:
            CryoDLModelFileWizard().show(form)
        warning.assert_called_once()
        with (
            mock.patch(f"{MODULE}.dialog.ListDialog") as window,
            mock.patch.object(CryoDLModelFileWizard, "modelFiles", return_value=["a"]),
        ):
            window.return_value.resultYes.return_value = False
            CryoDLModelFileWizard().show(form)
        form.setVar.assert_not_called()


class TestLowPassPreview(PlainTest):
    """The quick slice is the slice of the low-passed volume."""

    def testAgainstFullFilter(self):
        """Odd and even boxes, against filtering the whole volume."""
        for box in (24, 25):
            data = blobs(box, seed=1, noise=0.5)
            preview = LowPassPreview(data, 2.0)
            k = np.fft.fftfreq(box) * box
            radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
            for shell in (3, 7, box // 2):
                edge = np.clip((radius - shell) / SOFT_SHELLS, 0, 1)
                weight = (1 + np.cos(np.pi * edge)) / 2
                full = np.fft.ifftn(np.fft.fftn(data) * weight).real[box // 2]
                np.testing.assert_allclose(preview.slice(shell), full, atol=1e-4)

    def testShells(self):
        """Resolution and shell go back and forth inside the slider's range."""
        preview = LowPassPreview(blobs(24), 2.0)
        self.assertEqual(preview.shellOf(8.0), 6)
        self.assertEqual(preview.resolutionOf(6), 8.0)
        self.assertEqual(preview.shellOf(0.1), 12)
        self.assertEqual(preview.shellOf(1000), 3)

    def testDrawing(self):
        """The limit is marked on the curve where it is, with a curve and without."""
        preview = LowPassPreview(blobs(24), 2.0)
        curve = (convert.frequencies(13, 24, 2.0), np.linspace(1, 0, 13))
        for curves in ({"half maps": curve}, {}):
            figure = figures.newFigure(8, 4)
            drawLimit(figure, preview, curves, 6)
            line = figure.axes[1].get_lines()[-1]
            self.assertAlmostEqual(line.get_xdata()[0], 1 / 8.0)
