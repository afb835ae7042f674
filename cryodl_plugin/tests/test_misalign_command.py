"""The command of the refinement with misalignment correction, and what is refused, unlaunched."""

import os
import shlex
import stat
import subprocess
import tempfile
from unittest import mock

import numpy as np
from pwem.objects import Volume
from pyworkflow.utils import Environ

from cryodl_plugin import convert, forms
from cryodl_plugin.protocols import CryoDLProtMisalignRefine
from cryodl_plugin.protocols import misalign_command as command
from cryodl_plugin.protocols.misalign_form import FALLBACK, REFERENCE_HALVES
from cryodl_plugin.tests.fixtures import BOX, SAMPLING, PlainTest
from cryodl_plugin.tests.misalign_fixtures import MisalignTest, makeParticles, views

_FOUND = mock.patch.object(command, "findRelion", return_value="/opt/relion_refine_mpi")


def option(words, name):
    """Return the value that follows an option."""
    return words[words.index(name) + 1]


class TestArguments(MisalignTest):
    """What RELION is told."""

    def testStart(self):
        """Inputs, pixel size, diameter, gold standard, external reconstruction."""
        prot = self.refinement(
            healpixOrder=3, offsetRange=4.5, symmetry="D2", numberOfThreads=2, pool=7
        )
        words = command.startArguments(prot)
        for flag in (
            *("--auto_refine", "--split_random_halves", "--external_reconstruct", "--norm"),
            *("--flatten_solvent", "--zero_mask", "--firstiter_cc", "--ctf", "--scale"),
            *("--solvent_correct_fsc", "--dont_combine_weights_via_disc"),
        ):
            self.assertEqual(words.count(flag), 1, flag)
        for name, value in {
            "--ref_angpix": "4",
            "--ini_high": "30",
            "--healpix_order": "3",
            "--auto_local_healpix_order": "4",
            "--offset_range": "4.5",
            "--sym": "D2",
            "--j": "2",
            "--pool": "7",
            "--pad": "2",
            "--particle_diameter": f"{0.9 * BOX * SAMPLING:g}",
            "--solvent_mask": self.source.mask.getFileName(),
            "--ref": self.source.volume.getFileName(),
            "--i": prot._getExtraPath("input", "particles.star"),
            "--o": prot._getExtraPath("refine", "run"),
        }.items():
            self.assertEqual(option(words, name), value, name)
        for absent in ("--gpu", "--continue", "--sigma_ang", "--auto_iter_max", "--blush"):
            self.assertNotIn(absent, words)

    def testEachSwitch(self):
        """A switch of the form puts in, or takes out, what it says."""
        plain = set(command.startArguments(self.refinement()))
        for values, added, removed in (
            ({"doCtf": False}, set(), {"--ctf"}),
            ({"ignoreFirstPeak": True}, {"--ctf_intact_first_peak"}, set()),
            ({"absoluteGreyscale": True}, set(), {"--firstiter_cc"}),
            ({"solventFsc": False}, set(), {"--solvent_correct_fsc"}),
            ({"zeroMask": False}, set(), {"--zero_mask"}),
            ({"finerFaster": True}, {"--auto_ignore_angles", "--auto_resol_angles"}, set()),
            ({"preread": True}, {"--preread_images"}, set()),
            ({"scratchFolder": "/ssd"}, {"--scratch_dir", "/ssd"}, set()),
            ({"localSearches": True, "localSigma": 7.0}, {"--sigma_ang", "7"}, set()),
            ({"maxIterations": 9}, {"--auto_iter_max", "9"}, set()),
            ({"extraArguments": "--skip_gridding"}, {"--skip_gridding"}, set()),
            ({"particleDiameter": 90.0}, {"90"}, {"115.2"}),
        ):
            words = set(command.startArguments(self.refinement(**values)))
            self.assertEqual((words - plain, plain - words), (added, removed), values)

    def testWithoutMask(self):
        """No mask, no solvent-corrected FSC."""
        words = command.startArguments(self.refinement({"inputMask": None}))
        self.assertFalse({"--solvent_mask", "--solvent_correct_fsc"} & set(words))

    def testContinue(self):
        """Going on says --external_reconstruct again, and nothing that the optimiser file holds."""
        prot = self.refinement(maxIterations=4, extraArguments="--skip_gridding")
        words = command.continueArguments(prot, "run_it003_optimiser.star")
        self.assertEqual(option(words, "--continue"), "run_it003_optimiser.star")
        for wanted in ("--external_reconstruct", "--auto_iter_max", "--skip_gridding", "--pool"):
            self.assertIn(wanted, words)
        for unwanted in ("--ref", "--i", "--ini_high", "--auto_refine", "--solvent_mask"):
            self.assertNotIn(unwanted, words)
        self.assertEqual(option(words, "--o"), prot.relionRoot())
        last = command.continueArguments(prot, "run_it003_optimiser.star", converge=True)
        self.assertIn("--force_converge", last)
        self.assertNotIn("--auto_iter_max", last)
        self.assertIn("--external_reconstruct", last)

    def testGpu(self):
        """RELION takes the cards that are shown to it; or none, and the correction all of them."""
        prot = self.refinement(useGpu=True, gpuList="1 3")
        self.assertEqual(option(command.startArguments(prot), "--gpu"), "")
        found = prot.variables()
        self.assertEqual(found["CUDA_VISIBLE_DEVICES"], "1,3")
        self.assertEqual(found["ISONET_DEVICES"], "0,1")
        prot.relionOnGpu.set(False)
        self.assertNotIn("--gpu", command.startArguments(prot))
        prot.useGpu.set(False)
        found = prot.variables()
        self.assertEqual((found["CUDA_VISIBLE_DEVICES"], found["ISONET_DEVICES"]), ("", "cpu"))

    def testQueueChoosesCards(self):
        """In a queue the scheduler has set CUDA_VISIBLE_DEVICES, which is left alone."""
        prot = self.refinement(useGpu=True, gpuList="2")
        with mock.patch.object(prot, "useQueue", return_value=True):
            self.assertNotIn("CUDA_VISIBLE_DEVICES", prot.variables())

    def testReferenceOfHalves(self):
        """The mean of the half maps is written and given to RELION."""
        prot = self.store(self.refinement(referenceIs=REFERENCE_HALVES))
        prot.convertInputStep("x", "y")
        name = option(command.startArguments(prot), "--ref")
        halves = [convert.readMap(n) for n in self.source.volume.getHalfMaps(asList=True)]
        np.testing.assert_allclose(convert.readMap(name), (halves[0] + halves[1]) / 2, atol=1e-6)

    def testCompressedReference(self):
        """A compressed map, which RELION cannot read, is written out."""
        import gzip

        name = self.source._getExtraPath("packed.mrc.gz")
        with open(self.source.volume.getFileName(), "rb") as plain, gzip.open(name, "wb") as file:
            file.write(plain.read())
        volume = Volume()
        volume.setFileName(name)
        volume.setSamplingRate(SAMPLING)
        self.source._defineOutputs(packed=volume)
        prot = self.store(self.refinement({"inputReference": (self.source, "packed")}))
        prot.convertInputStep("x", "y")
        self.assertTrue(prot.referenceFile().endswith("packed.mrc"))
        np.testing.assert_array_equal(
            convert.readMap(prot.referenceFile()), convert.readMap(self.source.volume.getFileName())
        )

    def testSeed(self):
        """RELION's seed is never 0, which would leave the particles in their order."""
        self.assertEqual(option(command.startArguments(self.refinement()), "--random_seed"), "1")


class TestVariables(MisalignTest):
    """What the correction is told."""

    def testAllAreGiven(self):
        """Each variable is set, whatever Scipion was started with; fail by default."""
        found = self.refinement().variables()
        known = {p["original"] for p in forms.schemaParameters("relion_wrapper")}
        self.assertEqual(
            {n for n in found if n.startswith("ISONET_")}, {n for n in known if n != "ISONET_"}
        )
        self.assertEqual(found["ISONET_ON_ERROR"], "fail")
        self.assertEqual(found["ISONET_START_HEALPIX"], "3")
        self.assertEqual(found["ISONET_RETRAIN_EACH_ITER"], "yes")
        self.assertEqual(found["ISONET_REFERENCE"], "")

    def testFormValues(self):
        """Choices by name, numbers, booleans, the map whose low resolution is kept."""
        prot = self.refinement(
            {"inputLowRes": (self.source, "plain")},
            **{"method": 1, "alpha": 2.0, "width": 2, "keepLowres": True, "onFailure": FALLBACK},
        )
        found = prot.variables()
        for name, value in {
            "ISONET_METHOD": "published",
            "ISONET_ALPHA": "2.0",
            "ISONET_WIDTH": "16",
            "ISONET_KEEP_LOWRES": "yes",
            "ISONET_ON_ERROR": "fallback",
            "ISONET_REFERENCE": self.source.plain.getFileName(),
        }.items():
            self.assertEqual(found[name], value, name)
        prot.keepLowres.set(False)
        self.assertEqual(prot.variables()["ISONET_REFERENCE"], "")

    def testShell(self):
        """Through a shell and env, every word arrives as it was."""
        text = command.shellArguments({"A": "b c", "D": ""}, ["--o", "it's here", "--gpu", ""])
        echo = 'import os, sys; print(sys.argv[1:], repr(os.environ["A"]), repr(os.environ["D"]))'
        call = f"env {text}".replace(command.PROGRAM, f"python3 -c {shlex.quote(echo)}")
        said = subprocess.run(call, shell=True, capture_output=True, text=True, check=True).stdout
        self.assertEqual(said.strip(), """['--o', "it's here", '--gpu', ''] 'b c' ''""")

    def testReadable(self):
        """The command that is shown is the one that runs; no line is cut within an option."""
        prot = self.refinement()
        text = prot.commandText()
        call = text[text.index("mpirun") :].replace("\\\n", " ")
        self.assertEqual(
            shlex.split(call),
            ["mpirun", "-np", "3", command.PROGRAM, *command.startArguments(prot)],
        )
        self.assertIn("export RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE=", text)
        self.assertLess(max(map(len, text[text.index("mpirun") :].splitlines())), 140)


class TestWrapper(PlainTest):
    """What RELION is told to call."""

    def testBesideTheInterpreter(self):
        """The program beside the interpreter, by its full path, quoted; else the module."""
        with tempfile.TemporaryDirectory(prefix="with space") as folder:
            python = os.path.join(folder, "python")
            self.assertEqual(
                command.wrapperText(python, "", "x"),
                f"{shlex.quote(python)} -m cryodl.relion_wrapper",
            )
            program = os.path.join(folder, "relion_wrapper")
            with open(program, "w", encoding="utf-8") as file:
                file.write("")
            self.assertEqual(shlex.split(command.wrapperText(python, "", "x")), [program])

    def testActivation(self):
        """An environment to activate gets a script, which runs and hands on its argument."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "relion_wrapper.sh")
            self.assertEqual(command.wrapperText("python", "conda activate x", path), path)
            command.writeWrapperScript(path, "echo", "export WHERE=here")
            self.assertTrue(os.stat(path).st_mode & stat.S_IXUSR)
            said = subprocess.run([path, "a.star"], capture_output=True, text=True, check=True)
            self.assertEqual(said.stdout.strip(), "-m cryodl.relion_wrapper a.star")

    def testTheEnginesOwn(self):
        """The interpreter of this test has the program."""
        import cryodl_plugin

        text = command.wrapperText(cryodl_plugin.Plugin.getEnginePython(), "", "x")
        self.assertTrue(os.path.isabs(shlex.split(text)[0]))


class TestEnvironment(PlainTest):
    """Where RELION comes from."""

    def testWithoutPlugin(self):
        """Without scipion-em-relion the programs on the PATH are taken."""
        given = Environ({"PATH": "/nowhere"})
        with mock.patch.object(command, "relionPlugin", return_value=None):
            self.assertIs(command.relionEnvironment(given), given)
        self.assertIsNone(command.findRelion(given))

    def testWithPlugin(self):
        """The plugin's environment, but for what belongs to Scipion's own Python."""
        plugin = mock.Mock()
        plugin.getEnviron.side_effect = lambda: Environ(
            {"PATH": "/opt/relion/bin", "PYTHONPATH": "/scipion"}
        )
        with mock.patch.object(command, "relionPlugin", return_value=plugin):
            self.assertEqual(
                dict(command.relionEnvironment(Environ({}))), {"PATH": "/opt/relion/bin"}
            )
            kept = command.relionEnvironment(Environ({"PYTHONPATH": "/scipion"}))
            self.assertEqual(kept["PYTHONPATH"], "/scipion")


class TestExtraArguments(PlainTest):
    """Additional arguments that would keep the correction from working."""

    def testRefused(self):
        """Blush, gradients, other kinds of job, what the form decides; each named with why."""
        for text, words in (
            ("--blush", "never calls"),
            ("--blush_args x", "never calls"),
            ("--grad", "no half maps"),
            ("--sgd_ini_iter 5", "no half maps"),
            ("--K 3", "another kind"),
            ("--multibody_masks b.star", "another kind"),
            ("--skip_maximize", "no half maps"),
            ("--continue run.star", "form decides"),
            ("--o elsewhere", "form decides"),
            ("--external_reconstruct", "form decides"),
            ("--pad 1 'a", "not closed"),
            ("skip_gridding", "expected options"),
        ):
            errors = command.checkExtra(text)
            self.assertEqual(len(errors), 1, text)
            self.assertIn(words, errors[0])

    def testAccepted(self):
        """What does no harm passes."""
        for text in ("", None, "--skip_gridding", "--helix --helical_nr_asu 1", "--maxsig 500"):
            self.assertEqual(command.checkExtra(text), [])


class TestValidation(MisalignTest):
    """What the form refuses, and asks."""

    def errors(self, pointers=None, **values):
        """Return the messages as one text, as where RELION is installed."""
        with _FOUND:
            return "\n".join(self.refinement(pointers, **values).validate())

    def testDefaultsAreValid(self):
        """With the inputs chosen nothing else is needed."""
        self.assertEqual(self.errors(), "")

    def testNothingChosen(self):
        """Empty pointers are named; nothing breaks."""
        with _FOUND:
            errors = "\n".join(self.make(CryoDLProtMisalignRefine, useGpu=False).validate())
        self.assertIn("Particles", errors)
        self.assertIn("Reference", errors)

    def testProcesses(self):
        """Fewer than three are refused, an even number is asked about."""
        for number in (1, 2):
            self.assertIn(f"found {number}, expected 3", self.errors(numberOfMpi=number))
        self.assertEqual(self.errors(numberOfMpi=5), "")
        self.assertIn("odd", "\n".join(self.refinement(numberOfMpi=4)._warnings()))
        self.assertNotIn("odd", "\n".join(self.refinement(numberOfMpi=5)._warnings()))

    def testNoRelion(self):
        """Neither plugin nor program: says what to install."""
        with mock.patch.object(command, "findRelion", return_value=None):
            errors = "\n".join(self.refinement().validate())
        self.assertIn("scipion-em-relion", errors)
        self.assertIn("PATH", errors)

    def testSettings(self):
        """Settings that do not go together."""
        for values, words in (
            ({"batchSize": 4, "accBatches": 3}, "divisor"),
            ({"independent": True, "retrainEachIter": False}, "Keep halves independent"),
            ({"healpixOrder": 5, "localHealpixOrder": 4}, "Local searches"),
            ({"particleDiameter": 500.0}, "at most the box"),
            ({"initialLowPass": 5.0}, "at least 8"),
            ({"initialLowPass": -1.0}, "greater than 0"),
            ({"extraArguments": "--blush"}, "--blush"),
            ({"useAlignment": False, "localSearches": True}, "projection alignment"),
            ({"stale": 3.0}, "at least 20"),
            ({"maxIterations": 0}, "at least 1"),
        ):
            self.assertIn(words, self.errors(**values), values)

    def testGrids(self):
        """Another box, another sampling, in reference or mask."""
        other = self.makeSource(box=24, sampling=5.0)
        for name, label, output in (
            ("inputReference", "Reference", "volume"),
            ("inputMask", "Mask", "mask"),
        ):
            errors = self.errors({name: (other, output)})
            self.assertIn(f"*{label}*: found a box of 24 x 24 x 24, expected 32", errors)
            self.assertIn(f"*{label}*: found 5 Å/px, expected 4", errors)

    def testParticles(self):
        """Particles without CTF, a reference without half maps."""
        stack = self.source._getExtraPath("images.mrcs")
        prot = self.store(self.newProtocol(type(self.source)))
        prot._defineOutputs(particles=makeParticles(prot, stack, views(4), ctf=False))
        pointers = {"inputParticles": (prot, "particles")}
        self.assertIn("no CTF", self.errors(pointers))
        self.assertEqual(self.errors(pointers, doCtf=False), "")
        plain = {"inputReference": (self.source, "plain")}
        self.assertIn("no half maps", self.errors(plain, referenceIs=REFERENCE_HALVES))

    def testGpuList(self):
        """A list of GPUs is looked at when a GPU is to be used."""
        self.assertIn("GPU IDs", self.errors(useGpu=True, gpuList="99"))

    def testWarnings(self):
        """No mask, and going on after a failure."""
        words = "\n".join(self.refinement({"inputMask": None}, onFailure=FALLBACK)._warnings())
        self.assertIn("Without a mask", words)
        self.assertIn("FAILED", words)
        self.assertEqual(self.refinement()._warnings(), [])
