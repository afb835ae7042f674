"""What `scipion installb cryodl` runs, really run, with an engine that is little but a name."""

import os
import subprocess
import sys
import tempfile
import zipfile

from cryodl_plugin.constants import ENGINE, ENGINE_VERSION
from cryodl_plugin.tests.fixtures import PlainTest

INFO = f"{ENGINE}-{ENGINE_VERSION}.dist-info"
WHEEL = {
    f"{ENGINE}/__init__.py": "def main():\n    print('the stand-in')\n",
    f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: {ENGINE}\nVersion: {ENGINE_VERSION}\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/entry_points.txt": f"[console_scripts]\n{ENGINE} = {ENGINE}:main\n",
}


class TestInstallb(PlainTest):
    """Scipion makes an environment with its own pip and puts the engine there."""

    def testInspectionIsClean(self):
        """`scipion inspect` can load everything, and says nothing else."""
        with tempfile.TemporaryDirectory() as folder:
            said = self.scipion(folder, "inspect", "cryodl_plugin")
        lines = [line.strip() for line in said.splitlines() if line.startswith("   >>>")]
        rooms = ("constants", "convert", "protocols", "wizards", "viewers", "tests")
        self.assertEqual(lines, [f">>> {room}:  loaded" for room in rooms])
        self.assertNotIn("rror", said)

    def testInstallAndRepeat(self):
        """The environment is made, works, is found, and is left alone the next time."""
        with tempfile.TemporaryDirectory() as folder:
            wheel = self.writeWheel(folder)
            first = self.installb(folder, wheel)
            made = os.path.join(folder, "home/software/em", f"{ENGINE}-{ENGINE_VERSION}", "env/bin")
            program = os.path.join(made, ENGINE)
            self.assertTrue(os.path.exists(program), first)
            said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
            self.assertEqual(said, "the stand-in\n")
            before = os.stat(os.path.join(made, "python"), follow_symlinks=False).st_mtime_ns
            self.assertIn("All targets exist", self.installb(folder, "/nowhere"))
            after = os.stat(os.path.join(made, "python"), follow_symlinks=False).st_mtime_ns
            self.assertEqual(before, after)

    def writeWheel(self, folder):
        """Write a wheel by hand: nothing has to be built, nothing comes from an index."""
        path = os.path.join(folder, f"{ENGINE}-{ENGINE_VERSION}-py3-none-any.whl")
        record = "".join(f"{name},,\n" for name in (*WHEEL, f"{INFO}/RECORD"))
        with zipfile.ZipFile(path, "w") as file:
            for name, text in {**WHEEL, f"{INFO}/RECORD": record}.items():
                file.writestr(name, text)
        return path

    def installb(self, folder, source):
        """Install from a source, with a variable of Python that misleads."""
        return self.scipion(
            folder,
            "installb",
            ENGINE,
            CRYODL_ENGINE_SOURCE=source,
            PIP_NO_INDEX="1",
            PYTHONUSERBASE="/nowhere",
        )

    def scipion(self, folder, *words, **variables):
        """Run Scipion's command as a user does, and return what it says."""
        home = os.path.join(folder, "home")
        for name in ("config", "software/em"):
            os.makedirs(os.path.join(home, name), exist_ok=True)
        open(os.path.join(home, "config", "scipion.conf"), "a").close()
        environ = {
            **os.environ,
            "SCIPION_HOME": home,
            "SCIPION_LOCAL_CONFIG": os.path.join(home, "config", "scipion.conf"),
            "EM_ROOT": os.path.join(home, "software", "em"),
            **variables,
        }
        code = "import importlib.util; from scipion.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout
