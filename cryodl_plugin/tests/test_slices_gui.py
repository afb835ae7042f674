"""The slice viewer and the gallery on a screen, used with mouse and keys."""

import json
import shutil
import subprocess
import sys
import unittest

import pytest

from cryodl_plugin.tests.slices_fixtures import FilesTest
from cryodl_plugin.tests.virtual_screen import VirtualScreen

pytestmark = pytest.mark.gui


class TestOnScreen(FilesTest):
    """xdotool does what a person would."""

    @classmethod
    def setUpClass(cls):
        """Make the screen."""
        if shutil.which("Xvfb") is None or shutil.which("xdotool") is None:
            raise unittest.SkipTest("Xvfb or xdotool is not installed")
        super().setUpClass()
        cls.screen = VirtualScreen("1160x860x24")

    @classmethod
    def tearDownClass(cls):
        """Stop it."""
        cls.screen.stop()
        super().tearDownClass()

    def open(self, kind):
        """Open a window; return its process and where things are."""
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "cryodl_plugin.tests.slices_probe"]
            + [kind, self.folder],
            env=self.screen.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, self.answer(process)

    def answer(self, process):
        """Return the next line of the process."""
        line = process.stdout.readline()
        if not line:
            self.fail(process.communicate()[1])
        return json.loads(line)

    def do(self, *words):
        """Use mouse and keys, with pauses in which the window can answer."""
        subprocess.run(
            ["xdotool", *map(str, words)], env=self.screen.environment(), check=True, timeout=20
        )

    def testSlices(self):
        """Scroll, move the threshold, add a point, remove one by mistake, undo, save."""
        process, places = self.open("slices")
        x, y = places["threshold"]
        self.do("mousemove", *places["place"], "click", 4, "sleep", 0.1, "click", 4, "sleep", 0.2)
        # The slider's handle is at its left end: drag it to the middle.
        left = x - places["threshold_width"] // 2 + 12
        self.do("mousemove", left, y, "mousedown", 1, "sleep", 0.1)
        self.do("mousemove", left + 30, y, "sleep", 0.1, "mousemove", x, y, "sleep", 0.1)
        self.do("mouseup", 1, "mousemove", *places["place"], "sleep", 0.1, "key", "a")
        self.do("sleep", 0.2, "click", 3, "sleep", 0.2, "key", "ctrl+z", "sleep", 0.2)
        self.do("mousemove", *places["save"], "click", 1)
        saved = self.answer(process)
        self.assertEqual(saved["z"], 14)
        self.assertTrue(0.3 < saved["threshold"] < 0.7, saved)
        (added,) = saved["added"]
        for found, expected in zip(added["xyz"], (40, 15, 14)):
            self.assertAlmostEqual(found, expected, delta=0.5)
        self.assertEqual(saved["removed"], [])
        above = sum(i / 9 >= saved["threshold"] for i in range(10))
        self.assertEqual(saved["shown"], above + 1)
        self.assertEqual(saved["count"], f"{above + 1} of 11 shown, {above + 1} here")

    def testGallery(self):
        """Choose one, then a range with shift, leave one out, save."""
        process, places = self.open("gallery")
        tiles = places["tiles"]
        self.do("mousemove", *tiles[0], "click", 1, "sleep", 0.1, "mousemove", *tiles[2])
        self.do("click", 1, "sleep", 0.1, "mousemove", *tiles[5], "keydown", "shift", "click", 1)
        self.do("keyup", "shift", "mousemove", *tiles[3], "click", 1, "sleep", 0.1)
        self.do("mousemove", *places["save"], "click", 1)
        saved = self.answer(process)
        self.assertEqual(saved["keys"], [1, 3, 5, 6])
        self.assertEqual(saved["count"], "4 of 90")
