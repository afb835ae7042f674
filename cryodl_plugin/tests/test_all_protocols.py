"""What holds for every protocol: an empty form, GPU lists, what makes Continue compute again."""

import os
import tempfile
from subprocess import CalledProcessError

from pyworkflow import Config
from pyworkflow.protocol import params

from cryodl_plugin import engine, forms
from cryodl_plugin.protocols import CryoDLProtEDSS3DTrain
from cryodl_plugin.protocols.base import CryoDLProtBase
from cryodl_plugin.tests.fixtures import PlainTest

GOOD_LISTS = ("0", "0 1", "0-3")
BAD_LISTS = ("", "99", "off", "0 0", "-1")  # 99 is how Scipion calls no GPU at all
MACHINE = {"seed", "precision"}


class TestAllProtocols(PlainTest):
    """Each test goes through all protocols of this plugin."""

    @classmethod
    def setUpClass(cls):
        """Make one of each, as the form opens it."""
        found = Config.getDomain().getProtocols().values()
        classes = {c for c in found if issubclass(c, CryoDLProtBase) and c._command}
        cls.protocols = [one() for one in sorted(classes, key=lambda c: c.__name__)]
        for prot in cls.protocols:
            prot.setWorkingDir("Runs/000002_" + type(prot).__name__)

    def testThereAreMany(self):
        """All that a user needs for the chain."""
        self.assertGreaterEqual(len(self.protocols), 17)

    def testEmptyForms(self):
        """A form just opened explains itself, and lacks its inputs without an exception."""
        for prot in self.protocols:
            with self.subTest(type(prot).__name__):
                for words in (prot._validate(), prot._warnings(), prot._summary(), prot._methods()):
                    self.assertIsInstance(words, list)
                for param in self.shown(prot):
                    self.assertTrue(param.help.get(), param.label.get())
                self.assertTrue(prot.getClassLabel().startswith("cryodl - "))
                self.assertIsInstance(prot._citations(), list)

    def shown(self, prot):
        """Return the parameters of a form that have a label."""
        names = [name for name, _ in prot.iterDefinitionAttributes()]
        found = [prot.getParam(name) for name in names]
        skipped = (params.Group, params.Line, params.LabelParam)
        return [p for p in found if p is not None and not isinstance(p, skipped)]

    def testGpuLists(self):
        """Lists that mean something pass, others are refused, and no GPU needs no list."""
        for prot in self.protocols:
            if not prot._onGpu:
                self.assertFalse(hasattr(prot, "gpuList"), type(prot).__name__)
                continue
            with self.subTest(type(prot).__name__):
                for text in GOOD_LISTS + BAD_LISTS:
                    prot.useGpu.set(True)
                    prot.gpuList.set(text)
                    blamed = any("GPU IDs" in line for line in prot._validate())
                    self.assertEqual(blamed, text in BAD_LISTS, text)
                    prot.useGpu.set(False)
                    self.assertFalse(any("GPU IDs" in line for line in prot._validate()), text)

    def testContinueSeesEveryParameter(self):
        """Another value of any parameter of the engine makes another fingerprint, and back."""
        for prot in self.protocols:
            before = prot._fingerprint()
            for name, changed in self.changes(prot):
                with self.subTest(f"{type(prot).__name__}.{name}"):
                    attribute = getattr(prot, name)
                    old = attribute.get()
                    attribute.set(changed)
                    self.assertNotEqual(prot._fingerprint(), before)
                    attribute.set(old)
                    self.assertEqual(prot._fingerprint(), before)

    def testStopThenContinueGoesOn(self):
        """A run cut short is gone on with; with another setting it begins anew."""
        protocols = [p for p in self.protocols if not isinstance(p, CryoDLProtEDSS3DTrain)]
        for prot in protocols:  # that one first runs another command on its input
            name, changed = next(self.changes(prot), (None, None))
            with self.subTest(type(prot).__name__), tempfile.TemporaryDirectory() as folder:
                prot.setWorkingDir(folder)
                os.makedirs(prot._getExtraPath())
                os.makedirs(prot._getLogsPath())
                self.assertNotIn("--resume", self.stopped(prot))
                self.assertIn("--resume", self.stopped(prot))
                if name is None:
                    continue
                getattr(prot, name).set(changed)
                self.assertNotIn("--resume", self.stopped(prot))
                self.assertIn("--resume", self.stopped(prot))

    def stopped(self, prot):
        """Run the engine's step until a stop; return the command."""
        commands = []

        def runJob(program, arguments, **_):
            commands.append(f"{program} {arguments}")
            os.makedirs(prot.engineFolder(), exist_ok=True)
            raise CalledProcessError(130, program)

        prot.runJob = runJob
        with self.assertRaises(engine.EngineError):
            prot.runEngineStep(prot._fingerprint())
        return commands[0]

    def changes(self, prot):
        """Yield names of form parameters whose other value must count, and such a value."""
        skip = prot.fedNames() | MACHINE
        for entry in forms.schemaParameters(prot._command):
            name = forms.formName(entry["name"])
            if entry["name"] in skip or entry["changeable"] or not hasattr(prot, name):
                continue
            param, value = prot.getParam(name), getattr(prot, name).get()
            if isinstance(param, params.EnumParam):
                if len(param.choices) > 1:
                    yield name, (int(value or 0) + 1) % len(param.choices)
            elif isinstance(param, params.BooleanParam):
                yield name, not value
            elif isinstance(param, (params.IntParam, params.FloatParam)):
                yield name, (value or 0) + 1

    def testTheMachineDoesNotMatter(self):
        """Other processors and GPUs give the same result: nothing is computed again."""
        for prot in self.protocols:
            with self.subTest(type(prot).__name__):
                before = prot._fingerprint()
                prot.numberOfThreads.set(7)
                if prot._onGpu:
                    prot.useGpu.set(not prot.useGpu.get())
                    prot.gpuList.set("3")
                self.assertEqual(prot._fingerprint(), before)
