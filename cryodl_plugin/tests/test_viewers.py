"""Viewers without a display: which views they return, and what the figures hold."""

import io
import json
import os
from unittest import mock

import numpy as np
from pyworkflow import Config
from pyworkflow.viewer import MessageView

from cryodl_plugin import convert
from cryodl_plugin.protocols import (
    CryoDLProtAnisoCorrect,
    CryoDLProtFsc3D,
    CryoDLProtSimulateHalfMaps,
)
from cryodl_plugin.tests.fixtures import (
    BOX,
    SAMPLING,
    PlainTest,
    PluginTest,
    blobs,
    directionalWeight,
)
from cryodl_plugin.viewers import (
    CryoDLViewerAnisoCorrect,
    CryoDLViewerFsc3D,
    CryoDLViewerModel,
    CryoDLViewerSimulate,
    figures,
)
from cryodl_plugin.viewers.windows import FigureView, LossView, ReportView, SlicesView, chimeraView


def draw(figure):
    """Draw a figure without a display, as a check that it can be drawn."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=40)
    return target.getbuffer().nbytes


class TestProtocolViewers(PluginTest):
    """Each eye of each viewer opens something."""

    def viewer(self, viewerClass, prot):
        """Return a viewer whose parameters are defined."""
        viewer = viewerClass(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        return viewer

    def views(self, viewer):
        """Return the views of each row, and make sure that each row has help."""
        found = {}
        for name, call in viewer._getVisualizeDict().items():
            self.assertTrue(viewer.getParam(name).help.get())
            found[name] = call(name)
            self.assertEqual(len(found[name]), 1, name)
        return {name: views[0] for name, views in found.items()}

    def check(self, views, expected):
        """Check the kinds of views and draw their figures."""
        for name, kind in expected.items():
            self.assertIsInstance(views[name], kind, name)
            if hasattr(views[name], "figure"):
                self.assertGreater(draw(views[name].figure), 2000, name)
        self.assertEqual(set(views), set(expected))

    def testFsc3D(self):
        """Curves, histogram, slices; ChimeraX and report answer though they are not there."""
        views = self.views(self.viewer(CryoDLViewerFsc3D, self.finishedFsc3D()))
        self.check(
            views,
            {
                "showFscs": FigureView,
                "showDirections": FigureView,
                "showSlices": FigureView,
                "showChimera": MessageView,
                "showReport": MessageView,
            },
        )

    def testCorrection(self):
        """Loss, slices, curves, weight, histogram; the report once it is written."""
        prot = self.finishedCorrection()
        viewer = self.viewer(CryoDLViewerAnisoCorrect, prot)
        with open(prot.enginePath("report.html"), "w", encoding="utf-8") as file:
            file.write("<html></html>")
        views = self.views(viewer)
        self.check(
            views,
            {
                "showLoss": LossView,
                "showMaps": SlicesView,
                "showFscs": FigureView,
                "showFsc3D": FigureView,
                "showDirections": FigureView,
                "showChimera": MessageView,
                "showReport": ReportView,
            },
        )
        before = views["showMaps"].maps["before"]
        mean = (blobs(seed=1, noise=0.05) + blobs(seed=2, noise=0.05)) / 2
        np.testing.assert_allclose(before, mean, atol=1e-6)
        with mock.patch("webbrowser.open", return_value=True) as browser:
            views["showReport"].show()
        self.assertTrue(browser.call_args.args[0].startswith("file:///"))

    def testSimulation(self):
        """Maps and sampling."""
        prot = self.finish(
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
        self.assertTrue(prot.volume.hasHalfMaps())
        self.assertEqual(prot.truth.getSamplingRate(), SAMPLING)
        self.assertIn(f"{BOX} px", prot._summary()[0])
        views = self.views(self.viewer(CryoDLViewerSimulate, prot))
        kinds = {"showMaps": SlicesView, "showSampling": FigureView, "showReport": MessageView}
        self.check(views, kinds)

    def testUnfinished(self):
        """Before the end every row answers with words, and the loss window opens empty."""
        for viewerClass, cls in (
            (CryoDLViewerFsc3D, CryoDLProtFsc3D),
            (CryoDLViewerAnisoCorrect, CryoDLProtAnisoCorrect),
            (CryoDLViewerSimulate, CryoDLProtSimulateHalfMaps),
        ):
            prot = self.store(self.make(cls))
            for name, view in self.views(self.viewer(viewerClass, prot)).items():
                expected = LossView if name == "showLoss" else MessageView
                self.assertIsInstance(view, expected, name)

    def testNetwork(self):
        """The network's viewer shows the curve of its run."""
        prot = self.finishedCorrection()
        domain = Config.getDomain()
        domain.getPlugins()
        self.assertIs(domain.findViewers(prot.model, "tkinter")[0], CryoDLViewerModel)
        viewer = CryoDLViewerModel(project=self.proj, protocol=prot)
        self.assertIsInstance(viewer._visualize(prot.model)[0], LossView)
        viewer = CryoDLViewerModel(project=self.proj, protocol=self.source)
        self.assertIn("CryoDLModel", viewer._visualize(prot.model)[0].getMessage())

    def testLossFollowsTheRun(self):
        """A row that the engine adds is in the curve after a refresh; half a row does no harm."""
        prot = self.finishedCorrection()
        view = LossView(prot)
        count = len(view.figure.axes[0].get_lines()[0].get_xdata())
        with open(prot.enginePath("metrics.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": 9, "step": 90, "loss": 0.1}) + '\n{"epoch": 10, "l')
        with open(prot.enginePath("progress.json"), "w", encoding="utf-8") as file:
            file.write('{"fraction": 0.5}')
        view.refresh()
        line = view.figure.axes[0].get_lines()[0]
        self.assertEqual(len(line.get_xdata()), count + 1)
        self.assertEqual(line.get_xdata()[-1], 9)
        self.assertIn("50 %", view.figure._suptitle.get_text())
        terms = view.figure.axes[1].get_lines()
        self.assertEqual([line.get_label() for line in terms], ["loss_equivariance"])

    def testChimera(self):
        """With ChimeraX its command names the maps; without it, a message says what to do."""
        message = chimeraView(["a.mrc"]).getMessage()
        self.assertIn("not installed", message)
        program = self.getOutputPath("ChimeraX")
        with open(program, "w", encoding="utf-8") as file:
            file.write("")
        with mock.patch("pwem.viewers.viewer_chimera.Chimera.getProgram", return_value=program):
            view = chimeraView(["a.mrc", "b.mrc"])
        self.assertIn(os.path.abspath("b.mrc"), view._cmd)


class TestFigures(PlainTest):
    """What is drawn."""

    def testSlices(self):
        """Each axis shows the right plane; the power has the zero frequency in the middle."""
        data = blobs()
        for axis in range(3):
            figure = figures.slicesFigure({"a": data, "b": data}, axis, 18)
            shown = figure.axes[1].get_images()[0].get_array()
            np.testing.assert_array_equal(shown, np.take(data, 18, axis))
            words = {figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()}
            self.assertEqual(words, set("zyx") - {"zyx"[axis]})
        power = figures.slicesFigure({"a": data}, 0, power=True).axes[0].get_images()[0]
        self.assertEqual(np.argmax(power.get_array()), 16 * BOX + 16)

    def testFsc(self):
        """The legend holds the resolution."""
        frequency = np.linspace(0, 0.25, 26)
        figure = figures.fscFigure({"one": (frequency, 1 - 4 * frequency)}, "FSC")
        words = figure.axes[0].get_legend().get_texts()[0].get_text()
        self.assertEqual(words, f"one: {1 / (0.857 / 4):.2f} Å")

    def testHistogram(self):
        """All directions are counted once, and an isotropic map does not break it."""
        flat = (directionalWeight() > 0).astype(np.float32)
        for volume in (directionalWeight(), flat):
            figure = figures.directionFigure(volume, SAMPLING, 0.112)
            heights = sum(bar.get_height() for bar in figure.axes[1].patches)
            self.assertAlmostEqual(heights, 100, places=6)
            self.assertGreater(draw(figure), 2000)

    def testLossOfTwoPhases(self):
        """Independent halves are trained one after the other, each with a curve of its own."""
        rows = [
            {"phase": phase, "epoch": epoch, "loss": 1.0, "learning_rate": 0.1, "step": 7}
            for phase in ("half1", "half2")
            for epoch in (1, 2)
        ]
        figure = figures.drawLoss(figures.newFigure(5, 3), rows, {})
        lines = list(figure.axes[0].get_lines())
        self.assertEqual([line.get_label() for line in lines], ["loss, half1", "loss, half2"])
        self.assertEqual([list(line.get_xdata()) for line in lines], [[1, 2], [1, 2]])

    def testLossWithoutRows(self):
        """No epoch yet is said in words."""
        figure = figures.newFigure(5, 3)
        figures.drawLoss(figure, [], {})
        self.assertIn("no epoch", figure.axes[0].texts[0].get_text())
