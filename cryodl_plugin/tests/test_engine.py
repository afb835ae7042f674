"""The command line that a protocol builds, GPU lists, failures, and finding the engine."""

import json
import os
import stat
import tempfile
from subprocess import CalledProcessError
from unittest import mock

from pyworkflow.utils import Environ
from pyworkflow.utils.process import buildRunCommand

import cryodl_plugin
from cryodl_plugin import Plugin, engine, interpreter
from cryodl_plugin.tests.fixtures import PlainTest


class FakeProtocol:
    """What the engine module needs of a protocol."""

    def __init__(self, folder, gpus=(0,), useGpu=True, queue=False):
        self.folder, self._gpus, self._useGpu, self._queue = folder, list(gpus), useGpu, queue
        self._stepsExecutor = None
        self.ran = []

    def usesGpu(self):
        return self._useGpu

    def useQueue(self):
        return self._queue

    def getGpuList(self):
        return self._gpus

    def getStderrLog(self):
        return os.path.join(self.folder, "run.stderr")

    def getStdoutLog(self):
        return os.path.join(self.folder, "run.stdout")

    def runJob(self, program, arguments, **kwargs):
        self.ran.append((program, arguments, kwargs))
        self.work()

    def work(self):
        """Overridden by tests."""


class EngineTest(PlainTest):
    """A folder and a fake protocol."""

    def setUp(self):
        """Make both."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        self.run = os.path.join(self.folder, "engine")

    def finalCommand(self, python="/envs/100% py/bin/python", activation="", **traits):
        """Return the text that Scipion gives to the shell."""
        protocol = FakeProtocol(self.folder, **traits)
        values = {"CRYODL_PYTHON": python, "CRYODL_ENV_ACTIVATION": activation}
        with mock.patch.dict(Plugin._vars, values):
            program, arguments = engine.buildCommand(
                Plugin, protocol, "spisonet correct", "a 50%.json", self.run, True
            )
        filled = protocol.getGpuList() if "%(GPU)s" in program + arguments else []
        return buildRunCommand(program, arguments, 1, None, Environ({}), gpuList=filled).strip()


class TestCommand(EngineTest):
    """What the shell is given."""

    def testGpuLists(self):
        """The cards go to CUDA_VISIBLE_DEVICES; the engine counts what it sees from 0."""
        one = self.finalCommand(gpus=[2])
        self.assertTrue(one.startswith("CUDA_VISIBLE_DEVICES=2 "), one)
        self.assertIn("--devices 0", one)
        several = self.finalCommand(gpus=[0, 1, 3])
        self.assertIn("CUDA_VISIBLE_DEVICES=0,1,3 ", several)
        self.assertIn("--devices 0,1,2", several)

    def testPercentSignsSurvive(self):
        """Scipion fills %(GPU)s with the % operator; other percent signs come through whole."""
        for useGpu in (True, False):
            command = self.finalCommand(useGpu=useGpu)
            self.assertIn("'/envs/100% py/bin/python' -u -m cryodl spisonet correct", command)
            self.assertIn("--config 'a 50%.json'", command)
            self.assertNotIn("%%", command)

    def testWithoutGpu(self):
        """No GPU: none is visible, and the engine is told so."""
        command = self.finalCommand(useGpu=False)
        self.assertTrue(command.startswith("CUDA_VISIBLE_DEVICES= "), command)
        self.assertIn("--devices cpu", command)

    def testQueue(self):
        """In a queue the scheduler has set CUDA_VISIBLE_DEVICES; it is left alone."""
        command = self.finalCommand(queue=True, gpus=[0, 1])
        self.assertNotIn("CUDA_VISIBLE_DEVICES", command)
        self.assertIn("--devices 0,1", command)

    def testActivation(self):
        """The activation comes first, and its interpreter is the environment's."""
        command = self.finalCommand(python="", activation="conda activate c100% &&")
        self.assertTrue(command.startswith("conda activate c100% && CUDA_VISIBLE_DEVICES=0 python"))

    def testResumeOnlyWhereThereIsARun(self):
        """The first start has no --resume; a second one has."""
        self.assertNotIn("--resume", self.finalCommand())
        os.makedirs(self.run)
        self.assertIn("--resume", self.finalCommand())

    def testGpuListChecks(self):
        """Empty, 99, text, doubles are refused; ranges and spaces are taken."""
        for good in ("0", "0 1", "0-3", "1,2"):
            self.assertEqual(engine.checkGpuList(good), [], good)
        for bad in ("", None, "99", "0 99", "first", "0 0"):
            self.assertEqual(len(engine.checkGpuList(bad)), 1, bad)


class TestRun(EngineTest):
    """From parameters to the result."""

    def runEngine(self, work):
        """Run with a stand-in for the process."""
        protocol = FakeProtocol(self.folder, useGpu=False)
        protocol.work = work
        values = {"half1": "a.mrc", "epochs": 3}
        return engine.runEngine(Plugin, protocol, "spisonet correct", values, self.run)

    def testConfigAndResult(self):
        """One JSON file goes in; the files of the result come back relative to the project."""

        def work():
            with open(f"{self.run}.json", encoding="utf-8") as file:
                self.assertEqual(json.load(file), {"half1": "a.mrc", "epochs": 3})
            os.makedirs(self.run)
            result = {
                "model": "m.safetensors",
                "models": ["m.safetensors"],
                "resolution": 4.5,
                "note": "m",
                "files": ["m.safetensors"],
            }
            with open(os.path.join(self.run, "result.json"), "w", encoding="utf-8") as file:
                json.dump(result, file)

        result = self.runEngine(work)
        path = os.path.join(self.run, "m.safetensors")
        self.assertEqual(result["model"], path)
        self.assertEqual(result["models"], [path])
        self.assertEqual(result["resolution"], 4.5)
        self.assertEqual(result["note"], "m")

    def fail(self, status, said="", before=""):
        """Return the message of a run whose process says something and fails."""
        log = os.path.join(self.folder, "run.stderr")
        with open(log, "w", encoding="utf-8") as file:
            file.write(before)

        def work():
            with open(log, "a", encoding="utf-8") as file:
                file.write(said)
            raise CalledProcessError(status, "cryodl")

        with self.assertRaises(engine.EngineError) as caught:
            self.runEngine(work)
        return str(caught.exception)

    def testTheEnginesOwnWords(self):
        """The last error line of this run is the message, without colours."""
        said = "12:00  starting\n\x1b[31merror: half2.mrc: found 30, expected 32; crop it\x1b[0m\n"
        message = self.fail(2, said, before="error: of an earlier run\n")
        self.assertEqual(message, "half2.mrc: found 30, expected 32; crop it")

    def testSilentFailures(self):
        """Without words the exit status is explained; an earlier run's words are not borrowed."""
        self.assertIn("killed", self.fail(-9, before="error: of an earlier run\n"))
        self.assertIn("bad input", self.fail(2))

    def testNoResult(self):
        """A process that ends well without a result is an error, with what a queue job said."""
        with self.assertRaises(engine.EngineError):
            self.runEngine(lambda: None)

        def work():
            with open(os.path.join(self.folder, "2-1-1.err"), "w", encoding="utf-8") as file:
                file.write("error: --devices: found 1, expected 0; choose another\n")

        with self.assertRaisesRegex(engine.EngineError, "found 1, expected 0"):
            self.runEngine(work)


class TestInterpreter(EngineTest):
    """Which Python runs the engine, and whether it has it."""

    def setUp(self):
        """Forget what is known."""
        super().setUp()
        interpreter.forget()
        self.addCleanup(interpreter.forget)

    def script(self, name, text):
        """Return an executable shell script."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/bash\n{text}\n")
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def find(self, path):
        """Look for the engine in an interpreter."""
        return interpreter.findEngine(path, "", Environ(dict(os.environ)))

    def testOrder(self):
        """Configured, activated, installed, our own."""
        choose = interpreter.chooseInterpreter
        made = self.script("python", "")
        self.assertEqual(choose("/a/python", "x", made), "/a/python")
        self.assertEqual(choose("", "module load x", made), "python")
        self.assertEqual(choose("", "", made), made)
        self.assertTrue(interpreter.isScipionPython(choose("", "", "/nonexistent/python")))

    def testFound(self):
        """An interpreter that has it answers with the version, and is asked only once."""
        counter = os.path.join(self.folder, "asked")
        path = self.script("python", f"echo x >> {counter}; echo noise; echo engine 9.8.7")
        for _ in range(3):
            self.assertEqual(self.find(path), interpreter.Found("9.8.7", ""))
        with open(counter, encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 1)

    def testNotFound(self):
        """Absent, without the package, broken: each says what is wrong, and is asked again."""
        self.assertIn("no interpreter", self.find("/nonexistent/python").problem)
        self.assertIn("not installed", self.find(self.script("a", "exit 3")).problem)
        broken = self.find(self.script("b", "echo bad library >&2; exit 1"))
        self.assertIn("bad library", broken.problem)
        with mock.patch.dict(Plugin._vars, {"CRYODL_PYTHON": "/nonexistent/python"}):
            messages = Plugin.validateInstallation()
        self.assertIn("/nonexistent/python", messages[0])
        self.assertIn("installb cryodl", messages[1])

    def testThisEnvironment(self):
        """The engine that the launched tests use is found here."""
        with mock.patch.dict(Plugin._vars, {"CRYODL_PYTHON": "", "CRYODL_ENV_ACTIVATION": ""}):
            self.assertEqual(Plugin.validateInstallation(), [])
            self.assertRegex(Plugin.getActiveVersion(), r"^\d+\.\d+")

    def testEnvironment(self):
        """Another interpreter gets nothing of Scipion's Python; our own keeps it."""
        foreign = {"PYTHONPATH": "/scipion", "LD_LIBRARY_PATH": "/scipion/lib", "HOME": "/h"}
        with mock.patch.dict(os.environ, foreign):
            with mock.patch.dict(Plugin._vars, {"CRYODL_PYTHON": "/other/bin/python"}):
                environ = cryodl_plugin.Plugin.getEnviron()
                self.assertNotIn("PYTHONPATH", environ)
                self.assertEqual(environ["LD_LIBRARY_PATH"], "")
                self.assertEqual(environ["HOME"], "/h")
            with mock.patch.dict(Plugin._vars, {"CRYODL_PYTHON": ""}):
                environ = cryodl_plugin.Plugin.getEnviron()
                self.assertEqual(environ["PYTHONPATH"], "/scipion")
