"""The ways to install, from wheels into fresh environments; minutes, and packages from an index."""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import pytest

from cryodl_plugin.constants import ENGINE_VERSION

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ("cryodl_plugin", "engine", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
HOSTS = "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s\n"


@pytest.mark.slow
class TestInstallation(unittest.TestCase):
    """One environment for all; then the plugin alone, and the engine where installb puts it."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        """Build both wheels from a copy of the sources, without what lies about there."""
        if not os.path.exists(os.path.join(ROOT, "setup.py")):
            raise unittest.SkipTest("an installed package has no setup.py")
        cls.folder = tempfile.mkdtemp(prefix="cryodl_install_")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        source = os.path.join(cls.folder, "source")
        os.makedirs(source)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "tests")
        for name in SOURCES:
            given, copy = os.path.join(ROOT, name), os.path.join(source, name)
            if os.path.isdir(given):
                shutil.copytree(given, copy, ignore=None if name[0] == "c" else ignored)
            else:
                shutil.copy(given, copy)
        cls.wheels = os.path.join(cls.folder, "wheels")
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", cls.wheels]
        cls.run_([*build, source, os.path.join(source, "engine")])
        cls.python = os.path.join(cls.folder, "scipion", "bin", "python")
        cls.run_([sys.executable, "-m", "venv", os.path.join(cls.folder, "scipion")])

    @classmethod
    def run_(cls, command, **environment):
        """Run a command outside the sources with Scipion's variables fresh; return its output."""
        home = os.path.join(cls.folder, "home")
        os.makedirs(os.path.join(home, "config"), exist_ok=True)
        os.makedirs(os.path.join(home, "software", "em"), exist_ok=True)
        with open(os.path.join(home, "config", "hosts.conf"), "w", encoding="utf-8") as file:
            file.write(HOSTS)
        open(os.path.join(home, "config", "scipion.conf"), "a").close()
        taken = ("SCIPION", "CRYODL", "PYTHON", "EM_ROOT", "VIRTUAL_ENV")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(taken)}
        bin_ = os.path.join(cls.folder, "scipion", "bin")
        clean.update(
            SCIPION_HOME=home,
            SCIPION_USER_DATA=os.path.join(home, "data"),
            SCIPION_LOCAL_CONFIG=os.path.join(home, "config", "scipion.conf"),
            SCIPION_NOTIFY="False",
            SCIPION_DOMAIN="pwem",
            PATH=f"{bin_}{os.pathsep}{clean['PATH']}",
            **environment,
        )
        done = subprocess.run(
            command,
            cwd=cls.folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def wheel(self, start):
        """Return the file of a wheel."""
        (found,) = glob.glob(os.path.join(self.wheels, f"{start}-*.whl"))
        return found

    def pip(self, *words):
        """Run pip in Scipion's environment."""
        return self.run_([self.python, "-m", "pip", *words])

    def launched(self, **environment):
        """Launch a protocol in a new project; return what came out."""
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "installed_run.py")
        copy = shutil.copy(path, self.folder)
        said = self.run_([self.python, "-W", "ignore", copy], **environment)
        return json.loads(said.strip().splitlines()[-1])

    def testRoutes(self):
        """Each way in turn: the second takes the engine of the first away again."""
        constraints = os.path.join(ROOT, "constraints.txt")
        wheels = [self.wheel("cryodl"), self.wheel("scipion_em_cryodl")]
        self.pip("install", "-q", "-c", constraints, *wheels, "scipion-app")
        self.mendScipionCommand()
        self.checkOneEnvironment()
        self.checkInspection()
        self.pip("uninstall", "-q", "-y", "cryodl", "torch")
        self.checkWithoutEngine()
        self.checkInstallb()

    def testEngineAlone(self):
        """The engine with the newest of every library; only PyTorch is held, for its size."""
        env = os.path.join(self.folder, "alone")
        self.run_([sys.executable, "-m", "venv", env])
        with open(os.path.join(ROOT, "constraints.txt"), encoding="utf-8") as file:
            torch = next(line.strip() for line in file if line.startswith("torch=="))
        program = os.path.join(env, "bin", "cryodl")
        self.run_([os.path.join(env, "bin", "pip"), "install", "-q", self.wheel("cryodl"), torch])
        self.assertIn("The engine works", self.run_([program, "doctor"]))
        halves = os.path.join(self.folder, "half_maps")
        self.run_([program, "simulate", "half-maps", "--box-size-px", "32", "--output", halves])
        names = [os.path.join(halves, f"half{i}.mrc") for i in (1, 2)]
        fsc = os.path.join(self.folder, "fsc3d")
        self.run_([program, "spisonet", "fsc3d", *names, "--output", fsc])
        self.assertTrue(os.path.exists(os.path.join(fsc, "fsc3d.mrc")))
        versions = self.run_([os.path.join(env, "bin", "pip"), "list", "--format=freeze"])
        self.assertRegex(versions, r"numpy==([3-9]|2\.[2-9])")

    def mendScipionCommand(self):
        """Do what docs/installation.md says of environments without editable packages."""
        code = "import site; print(site.getsitepackages()[0])"
        place = self.run_([self.python, "-c", code]).strip()
        with open(os.path.join(place, "importlib_util.pth"), "w", encoding="utf-8") as file:
            file.write("import importlib.util\n")

    def checkOneEnvironment(self):
        """Scipion, plugin and engine together."""
        self.pip("check")
        found = self.launched()
        self.assertEqual((found["status"], found["error"] or ""), ("finished", ""))
        self.assertEqual(found["box"], [32, 32, 32])
        self.assertEqual(found["interpreter"], self.python)
        self.assertTrue(found["plugin"].startswith(self.folder))
        program = os.path.join(os.path.dirname(self.python), "cryodl")
        self.assertIn(ENGINE_VERSION, self.run_([program, "--version"]))

    def checkInspection(self):
        """Scipion's own inspection has nothing to complain of."""
        said = self.run_(["scipion", "inspect", "cryodl_plugin"])
        for name in ("constants", "convert", "protocols", "wizards", "viewers"):
            self.assertRegex(said, rf">>> {name}: +loaded")
        self.assertNotIn("error", said.lower())

    def checkWithoutEngine(self):
        """The plugin alone loads, and says how to get an engine."""
        self.checkInspection()
        found = self.launched()
        self.assertEqual((found["status"], found["engine"]), ("failed", ""))
        self.assertIn("installb cryodl", " ".join(found["problems"]))

    def checkInstallb(self):
        """`scipion installb` makes an environment for the engine, and protocols run it there."""
        help_ = self.run_(["scipion", "installb", "--help"])
        self.assertRegex(help_, rf"cryodl +{ENGINE_VERSION}")
        self.run_(
            ["scipion", "installb", "cryodl"],
            CRYODL_ENGINE_SOURCE=self.wheel("cryodl"),
            PIP_CONSTRAINT=os.path.join(ROOT, "constraints.txt"),
        )
        found = self.launched()
        self.assertEqual((found["status"], found["error"] or ""), ("finished", ""))
        self.assertIn(os.path.join("software", "em", "cryodl-"), found["interpreter"])
        self.assertEqual(found["engine"], ENGINE_VERSION)
        self.assertEqual(found["problems"], [])
        # A second time there is nothing to do, whatever the index says.
        self.run_(["scipion", "installb", "cryodl"], CRYODL_ENGINE_SOURCE="/nowhere")
