"""The package as Scipion and pip see it: import, registration, data files, names."""

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from unittest import mock

from pwem.protocols import EMProtocol
from pyworkflow import Config
from pyworkflow.utils import parseBibTex

import cryodl_plugin
from cryodl_plugin import bibtex, forms, protocols
from cryodl_plugin.protocols.base import CryoDLProtBase
from cryodl_plugin.tests.fixtures import PlainTest

FOLDER = os.path.dirname(os.path.abspath(cryodl_plugin.__file__))
CLASSES = [getattr(protocols, name) for name in protocols.__all__]
WITH_ENGINE = [cls for cls in CLASSES if issubclass(cls, CryoDLProtBase)]
COMMON = {"runName", "runMode", "hostName", "numberOfThreads", "numberOfMpi"}


def sources():
    """Return all Python files of the plugin."""
    found = []
    for folder, _, names in os.walk(FOLDER):
        found += [os.path.join(folder, n) for n in names if n.endswith(".py")]
    return found


class TestImport(PlainTest):
    """The plugin loads on a bare machine, and quickly."""

    def testNothingHeavyIsImported(self):
        """No torch, no engine, no display, no GPU program at import."""
        code = (
            "import sys, logging\n"
            "from pyworkflow import Config\n"
            "domain = Config.getDomain(); domain.getPlugins()\n"
            "from cryodl_plugin import protocols, viewers, wizards, objects, convert, bibtex\n"
            "heavy = {'torch', 'cryodl', 'lightning', 'sklearn'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
            "assert 'CryoDLProtFsc3D' in domain.getProtocols()\n"
            "assert 'CryoDLViewerFsc3D' in domain.getViewers()\n"
            "assert 'CryoDLMaskRadiusWizard' in domain.getWizards()\n"
            "assert 'CryoDLModel' in domain.getObjects()\n"
        )
        environ = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "PYTHONPATH")}
        environ["PATH"] = "/nonexistent"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        ours = [line for line in done.stderr.splitlines() if "cryodl" in line.lower()]
        self.assertEqual(ours, [])

    def testImportRule(self):
        """No file of the plugin, tests aside, imports torch or the engine."""
        for path in sources():
            with open(path, encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                tops = {name.split(".")[0] for name in names}
                self.assertFalse(tops & {"torch", "cryodl"}, path)


class TestRegistration(PlainTest):
    """What Scipion finds."""

    def testEachProtocolIsComplete(self):
        """Docstring, label, status, outputs, info methods of its own."""
        labels = [cls._label for cls in CLASSES]
        self.assertEqual(len(set(labels)), len(labels))
        for cls in CLASSES:
            self.assertTrue(cls.__name__.startswith("CryoDLProt"))
            self.assertGreater(len(cls.__doc__), 200)
            self.assertEqual(cls._label[0], cls._label[0].lower())
            self.assertTrue(cls._possibleOutputs)
            for name in ("_validate", "_warnings", "_summary", "_methods", "_citations"):
                self.assertIsNot(getattr(cls, name), getattr(EMProtocol, name), name)

    def testEachProtocolHasAViewer(self):
        """Analyze Results opens a viewer of ours first."""
        domain = Config.getDomain()
        domain.getPlugins()
        for cls in CLASSES:
            found = domain.findViewers(cls(), "tkinter")
            self.assertTrue(found and found[0].__name__.startswith("CryoDL"), cls.__name__)

    def testTreeHoldsEachProtocol(self):
        """protocols.conf parses as Scipion reads it and names every class with its label."""
        parser = configparser.RawConfigParser()
        parser.optionxform = str
        parser.read(os.path.join(FOLDER, "protocols.conf"))
        found = {}

        def walk(item):
            if item["tag"] == "protocol":
                found[item["value"]] = item["text"]
            for child in item.get("children", []):
                walk(child)

        for _, text in parser.items("PROTOCOLS"):
            for item in json.loads(text):
                walk(item)
        self.assertEqual(found, {cls.__name__: f"cryodl - {cls._label}" for cls in CLASSES})

    def testCitationsExist(self):
        """Each cited key is in the BibTeX docstring, with a link."""
        entries = parseBibTex(bibtex.__doc__)
        for cls in CLASSES:
            for key in cls()._citations():
                self.assertTrue(entries[key]["doi"].startswith("https://doi.org/"))
        for key in cryodl_plugin._references:
            self.assertIn(key, entries)

    def testNamesDoNotHideScipionsOwn(self):
        """A form parameter must not replace a method or attribute of Scipion's Protocol."""
        taken = set(dir(EMProtocol))
        for cls in CLASSES:
            shown = {name for name, _ in cls()._definition.iterParams()} - COMMON
            self.assertFalse(shown & taken, cls.__name__)


class TestForms(PlainTest):
    """Every parameter of every form."""

    def testHelpEverywhere(self):
        """No parameter without a label and a help."""
        for cls in CLASSES:
            for name, param in cls()._definition.iterParams():
                if name in COMMON:
                    continue
                if name not in ("useGpu", "gpuList"):  # drawn in the header with its own words
                    self.assertTrue(param.label.get(), name)
                self.assertGreater(len(param.help.get() or ""), 10, f"{cls.__name__}.{name}")

    def testConditionsParse(self):
        """Each condition evaluates with the defaults."""
        for cls in CLASSES:
            prot = cls()
            for name, _ in prot._definition.iterAllParams():
                self.assertIn(prot.evalParamCondition(name), (True, False))

    def testEachEngineParameterIsOnTheFormOrFed(self):
        """A parameter added to the engine cannot be forgotten here."""
        for cls in WITH_ENGINE:
            prot = cls()
            shown = {name for name, _ in prot._definition.iterParams()}
            known = {p["name"] for p in forms.schemaParameters(cls._command)}
            for name in known:
                on = forms.formName(name) in shown
                fed = name in cls.fedNames()
                self.assertTrue(on != fed, f"{cls.__name__}: {name} on form {on}, fed {fed}")

    def testDefaultsAreTheEngines(self):
        """A form that nobody touched says what the engine's defaults say."""
        for cls in WITH_ENGINE:
            prot = cls()
            values = forms.engineValues(prot, cls._command, skip=cls.fedNames())
            for p in forms.schemaParameters(cls._command):
                if p["name"] in values:
                    self.assertEqual(values[p["name"]], p["default"], p["name"])
                    self.assertIs(type(values[p["name"]]), type(p["default"]), p["name"])
                elif p["name"] not in cls.fedNames():
                    self.assertIn(p["default"], (None, ""), p["name"])


class TestFiles(PlainTest):
    """Data files and the distribution."""

    def testVersionIsReadWithoutImport(self):
        """setup.py finds the version by reading; a wheel of another version cannot come out."""
        setup = os.path.join(os.path.dirname(FOLDER), "setup.py")
        if not os.path.exists(setup):
            self.skipTest("an installed package has no setup.py")
        with open(os.path.join(FOLDER, "__init__.py"), encoding="utf-8") as file:
            found = re.search(r'^__version__ = "([^"]+)"', file.read(), re.MULTILINE).group(1)
        self.assertEqual(found, cryodl_plugin.__version__)

    def testWheelHoldsDataFiles(self):
        """A built wheel has the icon, the tree, every schema and template."""
        root = os.path.dirname(FOLDER)
        if not os.path.exists(os.path.join(root, "setup.py")):
            self.skipTest("an installed package has no setup.py")
        with tempfile.TemporaryDirectory() as folder:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(FOLDER, os.path.join(folder, "cryodl_plugin"), ignore=ignored)
            for name in ("setup.py", "MANIFEST.in"):
                shutil.copy(os.path.join(root, name), folder)
            command = [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", "out"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            (wheel,) = os.listdir(os.path.join(folder, "out"))
            self.assertIn(cryodl_plugin.__version__, wheel)
            with zipfile.ZipFile(os.path.join(folder, "out", wheel)) as content:
                found = set(content.namelist())
        for place, ends in (("", (".png", ".conf")), ("schemas", ".json"), ("templates", "late")):
            names = [n for n in os.listdir(os.path.join(FOLDER, place)) if n.endswith(ends)]
            self.assertTrue(names, place)
            for name in names:
                self.assertIn(os.path.join("cryodl_plugin", place, name), found)

    def testIcon(self):
        """The icon is a PNG with transparency, 64 px or more."""
        from PIL import Image

        with Image.open(os.path.join(FOLDER, "icon.png")) as icon:
            self.assertEqual(icon.mode, "RGBA")
            self.assertGreaterEqual(min(icon.size), 64)
            self.assertEqual(icon.getpixel((0, 0))[3], 0)

    def testBinariesRecipe(self):
        """defineBinaries only declares: a venv and pip, no conda; a source of one's own works."""
        env = mock.Mock()
        cryodl_plugin.Plugin.defineBinaries(env)
        arguments = env.addPackage.call_args
        self.assertEqual(arguments.args, ("cryodl",))
        text = " ".join(command for command, _ in arguments.kwargs["commands"])
        self.assertIn("-m venv env", text)
        self.assertIn("pip install cryodl==", text)
        self.assertNotIn("conda", text)
        # Scipion runs commands with nothing but these: no PATH, no settings of pip or of proxies.
        self.assertNotIn("vars", arguments.kwargs)
        source = {"CRYODL_ENGINE_SOURCE": "/data/cryo dl"}
        with mock.patch.dict(cryodl_plugin.Plugin._vars, source):
            cryodl_plugin.Plugin.defineBinaries(env)
        commands = env.addPackage.call_args.kwargs["commands"]
        self.assertIn("pip install '/data/cryo dl'", commands[1][0])
