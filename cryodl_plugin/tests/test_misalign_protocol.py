"""The refinement with misalignment correction: steps, Continue, outputs, viewer; unlaunched."""

import io
import os
from subprocess import CalledProcessError
from unittest import mock

import numpy as np
from pyworkflow.viewer import MessageView

from cryodl_plugin import convert, engine
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.convert.particles_spa import readPoses
from cryodl_plugin.protocols import misalign_command as command
from cryodl_plugin.protocols.misalign_checks import networkWords
from cryodl_plugin.tests.fixtures import BOX, PlainTest
from cryodl_plugin.tests.misalign_fixtures import (
    MisalignTest,
    finishedRefinement,
    views,
    writeIteration,
)
from cryodl_plugin.viewers import CryoDLViewerMisalignRefine, misalign_figures
from cryodl_plugin.viewers.viewer_misalign import LinesView
from cryodl_plugin.viewers.windows import FigureView, SlicesView
from cryodl_plugin.wizards import CryoDLCommandWizard, CryoDLParticleDiameterWizard

_IDS = (1, 4, 7)


class TestContinue(MisalignTest):
    """What a step does that was stopped, or whose settings have changed since."""

    def prepared(self, iterations, **values):
        """Return a protocol stopped after so many iterations."""
        prot = self.store(self.refinement(**values))
        os.makedirs(prot.refineFolder())
        for number in range(1, iterations + 1):
            writeIteration(prot.refineFolder(), number, _IDS, 20)
        engine.writeConfig(prot._stateFile(), {"relion": "r", "network": "n"})
        return prot

    def run_(self, prot, relion="r", network="n"):
        """Run the step with a stand-in for RELION that ends well; return the calls' words."""
        calls = []

        def stand_in(words):
            calls.append(words)
            if "--auto_iter_max" in words:
                writeIteration(prot.refineFolder(), prot.maxIterations.get(), _IDS, 18)
            else:
                writeIteration(prot.refineFolder(), 9, _IDS, 12, final=True)

        with mock.patch.object(prot, "_runRelion", stand_in):
            prot.refineStep(relion, network)
        return calls

    def testFromTheBeginning(self):
        """Without iterations it begins."""
        (words,) = self.run_(self.prepared(0))
        self.assertIn("--ref", words)
        self.assertNotIn("--continue", words)

    def testFromTheLastWholeIteration(self):
        """It goes on from the last iteration whose files are whole."""
        prot = self.prepared(3)
        os.remove(results.iterationFile(prot.refineFolder(), 3, "sampling.star"))
        (words,) = self.run_(prot)
        last = words[words.index("--continue") + 1]
        self.assertTrue(last.endswith("run_it002_optimiser.star"))
        self.assertIn("--external_reconstruct", words)

    def testChangedRefinement(self):
        """Other particles or angles: from the beginning, nothing old is left."""
        prot = self.prepared(3)
        (words,) = self.run_(prot, relion="other")
        self.assertIn("--ref", words)
        self.assertEqual(results.completeIterations(prot.refineFolder()), [])

    def testChangedCorrection(self):
        """Other settings of the network: an unfinished run goes on, a finished one begins anew."""
        prot = self.prepared(2)
        (words,) = self.run_(prot, network="other")
        self.assertIn("--continue", words)
        self.assertEqual(self.run_(prot, network="other"), [])
        (words,) = self.run_(prot, network="third")
        self.assertIn("--ref", words)

    def testLimit(self):
        """At the limit of iterations one more makes the final map; Continue after it the same."""
        prot = self.prepared(0, maxIterations=2)
        first, second = self.run_(prot)
        self.assertIn("--ref", first)
        self.assertIn("--force_converge", second)
        self.assertIn("--external_reconstruct", second)
        (only,) = self.run_(self.prepared(2, maxIterations=2))
        self.assertIn("--force_converge", only)

    def testNothingMade(self):
        """RELION that ends well without a final map is a failure."""
        prot = self.prepared(1)
        with mock.patch.object(prot, "_runRelion"), self.assertRaises(engine.EngineError) as said:
            prot.refineStep("r", "n")
        self.assertIn("no final map", str(said.exception))

    def testFingerprints(self):
        """What decides the refinement, what decides the correction, what decides nothing."""
        prot = self.refinement()
        before = prot.relionFingerprint(), prot.networkFingerprint()
        for values, changed in (
            ({"pool": 9, "preread": True, "maxIterations": 3}, (False, False)),
            ({"numberOfMpi": 5, "numberOfThreads": 3, "relionOnGpu": False}, (False, False)),
            ({"stale": 99.0, "keepFiles": True, "timeout": 9.0}, (False, False)),
            ({"healpixOrder": 3}, (True, False)),
            ({"extraArguments": "--skip_gridding"}, (True, False)),
            ({"useAlignment": False}, (True, False)),
            ({"epochs": 9}, (False, True)),
            ({"startHealpix": 4}, (False, True)),
        ):
            other = self.refinement(**values)
            after = other.relionFingerprint(), other.networkFingerprint()
            self.assertEqual(tuple(a != b for a, b in zip(before, after)), changed, values)

    def testRun(self):
        """RELION runs under MPI through env; its failure is told in one line."""
        prot = self.store(self.refinement())
        os.makedirs(os.path.dirname(prot.getStdoutLog()), exist_ok=True)
        with open(prot.getStdoutLog(), "w", encoding="utf-8") as file:
            file.write("spIsoNet: ERROR: of an earlier run\n")

        def fail(*_, **__):
            with open(prot.getStdoutLog(), "a", encoding="utf-8") as file:
                file.write(" 3/ 9 sec ~~(,_\rspIsoNet: ERROR: mask.mrc: is empty; choose another\n")
                file.write("ERROR: there was something wrong with system call: relion_wrapper x\n")
            raise CalledProcessError(1, "mpirun")

        stand_in = mock.patch.object(prot, "runJob", side_effect=fail)
        with stand_in as run, self.assertRaises(engine.EngineError) as said:
            prot._runRelion(command.startArguments(prot))
        self.assertEqual(str(said.exception), "spIsoNet: ERROR: mask.mrc: is empty; choose another")
        self.assertEqual(run.call_args.args[0], "env")
        self.assertEqual(run.call_args.kwargs["numberOfMpi"], 3)
        self.assertIn(command.PROGRAM, run.call_args.args[1])
        with open(prot._getExtraPath("command.sh"), encoding="utf-8") as file:
            self.assertIn("ISONET_ON_ERROR=fail", file.read())


class TestOutputs(MisalignTest):
    """A finished refinement as Scipion sees it."""

    def testOutputs(self):
        """Particles by id whatever RELION's order, volume with halves, curves, numbers."""
        prot = finishedRefinement(self)
        poses = readPoses(results.finalFile(prot.refineFolder(), "data.star"))
        self.assertEqual(
            [p.getObjId() for p in prot.particles], [p.getObjId() for p in self.source.particles]
        )
        wanted = dict(zip([p.getObjId() for p in self.source.particles], views(12, seed=7)))
        for particle in prot.particles:
            np.testing.assert_allclose(
                poses[particle.getObjId()].angles, wanted[particle.getObjId()], atol=1e-4
            )
        self.assertTrue(prot.particles.hasAlignmentProj())
        self.assertEqual(len(prot.volume.getHalfMaps(asList=True)), 2)
        self.assertEqual(prot.volume.getDim(), (BOX, BOX, BOX))
        self.assertSetSize(prot.fscs, 6)
        self.assertEqual(prot.sphericity.get(), 0.8)
        self.assertTrue(os.path.exists(prot._getExtraPath("iterations.csv")))
        summary = "\n".join(prot._summary())
        self.assertIn("in *3* of 6 iterations, from iteration 4 on", summary)
        self.assertIn("mpirun -np 3 relion_refine_mpi", summary)
        self.assertIn("In 3 of 6 iterations", prot._methods()[0])

    def testMeasurementMayFail(self):
        """The refinement is not lost when its resolution by direction cannot be measured."""
        prot = finishedRefinement(self)
        with (
            mock.patch.object(
                type(prot.getPlugin()), "runEngine", side_effect=engine.EngineError("too small")
            ),
            mock.patch.object(prot, "warning") as warning,
        ):
            prot.measureStep("r", "n")
        self.assertIn("too small", warning.call_args.args[0])
        self.assertEqual(prot.readResult(), {})

    def testSummaryBefore(self):
        """Before anything runs, and with nothing chosen, the summary says so."""
        self.assertIn("Not started", self.store(self.refinement())._summary()[0])
        prot = self.store(self.refinement({"inputParticles": None, "inputReference": None}))
        self.assertEqual(prot._summary(), ["Not started yet."])

    def testNetworkWords(self):
        """A gate that never opened, and a failure, are told."""
        row = results.Iteration(1, 20, 1, 1, 1, 1, 1, "relion", "waits for order 3", 19, 1)
        self.assertIn("waits for order 3", networkWords([row]))
        self.assertIn("*failed*", networkWords([row._replace(action="fallback")]))


class TestViewer(MisalignTest):
    """Each eye, at the end and in the middle of a run."""

    def views(self, prot):
        """Return the view of each row."""
        viewer = CryoDLViewerMisalignRefine(project=self.proj, protocol=prot)
        viewer.setProtocol(prot)
        found = {}
        for name, call in viewer._getVisualizeDict().items():
            self.assertTrue(viewer.getParam(name).help.get())
            (found[name],) = call(name)
            if hasattr(found[name], "figure"):
                target = io.BytesIO()
                found[name].figure.savefig(target, format="png", dpi=40)
                self.assertGreater(target.getbuffer().nbytes, 1000, name)
        return found

    def testFinished(self):
        """All views have something to show."""
        found = self.views(finishedRefinement(self))
        kinds = {name: type(view) for name, view in found.items()}
        self.assertEqual(
            kinds,
            {
                **dict.fromkeys(
                    ("showIterations", "showAngles", "showFscs", "showWeights", "showDirections"),
                    FigureView,
                ),
                "showLog": LinesView,
                "showMaps": SlicesView,
                "showChimera": MessageView,
            },
        )
        self.assertEqual(len(found["showMaps"].maps), 3)
        self.assertEqual(len(found["showLog"].lines), 12)

    def testRunning(self):
        """In the middle: what there is; the rest says so."""
        found = self.views(finishedRefinement(self, number=3, final=False))
        self.assertIsInstance(found["showIterations"], FigureView)
        self.assertIsInstance(found["showDirections"], MessageView)
        self.assertEqual(len(found["showMaps"].maps), 2)

    def testNotStarted(self):
        """Before the first iteration every view answers."""
        found = self.views(self.store(self.refinement()))
        self.assertIsInstance(found["showFscs"], MessageView)
        self.assertIsInstance(found["showLog"], MessageView)


class TestFigures(PlainTest):
    """What is drawn."""

    def testAngles(self):
        """Even views fill fields of equal area evenly; every particle is counted once."""
        figure = misalign_figures.anglesFigure(views(20000)[:, :2])
        mesh = figure.axes[0].collections[0].get_array()
        self.assertAlmostEqual(float(mesh.mean()), 1)
        self.assertLess(float(mesh.std()), 0.25)
        hexagons = figure.axes[1].collections[0].get_array()
        self.assertEqual(int(hexagons.sum()), 20000)

    def testPreferredView(self):
        """A preferred view is the brightest field; opposite views fall on one place."""
        figure = misalign_figures.anglesFigure(np.array([[30.0, 50.0]] * 50 + [[-150.0, 130.0]]))
        self.assertEqual(int(figure.axes[1].collections[0].get_array().max()), 51)

    def testIterations(self):
        """The iterations with the network are shaded, the sampling is named where it changes."""
        rows = [
            results.Iteration(n, 30 - n, 2 + n // 3, 5, 2, 9 / n, 1, action, "", 29 - n, 1)
            for n, action in enumerate(("relion", "relion", "network", "network"), 1)
        ]
        figure = misalign_figures.iterationsFigure(rows, 15, 3)
        left, right = figure.axes
        self.assertEqual(len(left.patches), 2)
        self.assertEqual([text.get_text() for text in right.texts], ["order 2", "order 3"])
        self.assertGreater(left.get_ylim()[0], left.get_ylim()[1])

    def testLog(self):
        """Failures stand out, warnings have a line of their own."""
        row = {
            "iteration": "4",
            "half": "1",
            "action": "fallback",
            "reason": "order 3 reached",
            "role": "",
            "resolution_0143": "9.5",
            "seconds": "3",
            "message": "out of memory",
        }
        first, second = misalign_figures.logLines([row])
        self.assertIn("FAILED", first)
        self.assertIn("9.50 Å", first)
        self.assertEqual(second.strip(), "out of memory")


class TestWizards(MisalignTest):
    """The windows of the form."""

    def testCommand(self):
        """The command is shown once the inputs are chosen."""
        form = mock.Mock(protocol=self.refinement())
        with mock.patch("cryodl_plugin.wizards.misalign.CommandDialog") as window:
            CryoDLCommandWizard().show(form)
        self.assertIn("relion_refine_mpi", window.call_args.args[1])
        form = mock.Mock(protocol=self.refinement({"inputParticles": None}))
        with mock.patch("pyworkflow.gui.dialog.showWarning") as warning:
            CryoDLCommandWizard().show(form)
        warning.assert_called_once()

    def testDiameter(self):
        """The circle has half the diameter; the form gets the whole."""
        form = mock.Mock(protocol=self.refinement(particleDiameter=80.0))
        with mock.patch("pwem.wizards.wizard.MaskPreviewDialog") as window:
            window.return_value.resultYes.return_value = True
            window.return_value.getRadiusAngstroms.return_value = 37
            CryoDLParticleDiameterWizard().show(form)
        self.assertEqual(window.call_args.kwargs["maskRadius"], 40)
        form.setVar.assert_called_once_with("particleDiameter", 74)

    def testMapsAreOfTheReference(self):
        """The window shows the reference; without one it warns."""
        provider = CryoDLParticleDiameterWizard()._getProvider(self.refinement())
        (volume,) = provider.getObjects()
        self.assertEqual(convert.mapDimensions(volume.getFileName()), (BOX, BOX, BOX))
        empty = self.refinement({"inputReference": None})
        self.assertIsNone(CryoDLParticleDiameterWizard()._getProvider(empty))
