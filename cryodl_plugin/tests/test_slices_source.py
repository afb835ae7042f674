"""The slice viewer's sources and points: what is read from disk, what is done to points."""

import csv
import os
import time

import mrcfile
import numpy as np

from cryodl_plugin.tests.fixtures import PlainTest
from cryodl_plugin.tests.slices_fixtures import SHAPE, FilesTest, ramp
from cryodl_plugin.viewers.slices.points import ADDED, Points
from cryodl_plugin.viewers.slices.source import SourceError, VolumeSource, slab, splitIndex


class TestSource(FilesTest):
    """Slices come from disk as they are."""

    def testPlanesOfEachAxis(self):
        """A slice across z, y and x holds the values of that place, in order."""
        source = VolumeSource.open(self.write("a.mrc", ramp()))
        data = ramp()
        for axis, place in ((0, 5), (1, 7), (2, 11)):
            image, extent = source.plane(axis, place)
            np.testing.assert_array_equal(image, np.take(data, place, axis))
            rows, columns = image.shape
            self.assertEqual(extent, (-0.5, columns - 0.5, -0.5, rows - 0.5))

    def testSlabIsTheMean(self):
        """Three slices are averaged; at the border only those that are there."""
        source = VolumeSource(ramp())
        np.testing.assert_allclose(source.plane(0, 4, 3)[0], ramp()[3:6].mean(axis=0))
        np.testing.assert_allclose(source.plane(0, 0, 3)[0], ramp()[:2].mean(axis=0))
        np.testing.assert_allclose(source.plane(0, 7, 50)[0], ramp().mean(axis=0))

    def testSlabBounds(self):
        """A slab has the wanted number of slices about its middle, and never none."""
        self.assertEqual(slab(10, 5, 100), (8, 13))
        self.assertEqual(slab(10, 4, 100), (9, 13))
        self.assertEqual(slab(-4, 1, 100), (0, 1))
        self.assertEqual(slab(400, 3, 100), (98, 100))
        self.assertEqual(slab(0, 9, 1), (0, 1))

    def testWindowAndThinning(self):
        """A part of a slice lies where it belongs; blocks are averaged across z only."""
        source = VolumeSource(ramp())
        image, extent = source.plane(0, 2, window=[(4, 10), (6, 26)], most=10)
        self.assertEqual(extent, (5.5, 25.5, 3.5, 9.5))
        blocks = ramp()[2, 4:10, 6:26].reshape(3, 2, 10, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(image, blocks)
        image, extent = source.plane(1, 3, most=10)
        np.testing.assert_array_equal(image, ramp()[::3, 3, ::3])
        self.assertEqual(extent[0], -0.5)
        image, _ = source.plane(0, 2, window=[(0, 7), (0, 30)], most=15)
        np.testing.assert_allclose(image[-1, 0], ramp()[2, 6, :2].mean())

    def testWindowOutsideIsCut(self):
        """What lies outside is not read."""
        image, extent = VolumeSource(ramp()).plane(0, 2, window=[(-9, 99), (-9, 99)])
        self.assertEqual(image.shape, SHAPE[1:])
        self.assertEqual(extent, (-0.5, 29.5, -0.5, 19.5))

    def testTypes(self):
        """8 and 16 bits, signed or not, and half precision are shown like any other."""
        for kind in (np.int8, np.int16, np.uint16, np.float16, np.float32):
            data = (ramp() % 100).astype(kind)
            source = VolumeSource.open(self.write("t.mrc", data))
            self.assertEqual(source.plane(0, 1)[0].dtype, np.float32)
            np.testing.assert_array_equal(source.plane(0, 1)[0], data[1].astype(np.float32))
            low, high = source.contrast(1, 99)
            self.assertLess(low, high)

    def testContrast(self):
        """Percentiles of normal noise are those of the normal distribution."""
        data = np.random.default_rng(0).normal(5, 2, (16, 128, 128))
        low, high = VolumeSource(data).contrast(2.275, 97.725)
        self.assertAlmostEqual(low, 1, delta=0.1)
        self.assertAlmostEqual(high, 9, delta=0.1)

    def testFlatAndBrokenValues(self):
        """A constant volume and one without any number still have a contrast."""
        self.assertEqual(VolumeSource(np.full(SHAPE, 3.0)).contrast(1, 99), (3.0, 4.0))
        empty = VolumeSource(np.full(SHAPE, np.nan))
        self.assertEqual(empty.contrast(1, 99), (0.0, 1.0))
        self.assertTrue(np.isfinite(empty.plane(0, 0)[0]).all())

    def testOneSliceAlone(self):
        """An image is a volume of one slice."""
        self.assertEqual(VolumeSource(np.zeros((5, 6))).shape, (1, 5, 6))

    def testStack(self):
        """The volume of a stack that is asked for is shown."""
        with mrcfile.new(self.path("s.mrc")) as mrc:
            mrc.set_data(np.stack([ramp(), -ramp()]))
        source = VolumeSource.open(f"2@{self.path('s.mrc')}")
        np.testing.assert_array_equal(source.plane(0, 3)[0], -ramp()[3])

    def testNames(self):
        """Scipion's ways to name a file."""
        self.assertEqual(splitIndex("a/b.mrc"), (0, "a/b.mrc"))
        self.assertEqual(splitIndex("12@a/b.mrcs"), (12, "a/b.mrcs"))
        self.assertEqual(splitIndex("b.mrc:mrc"), (0, "b.mrc"))
        self.assertEqual(splitIndex("me@home/b.mrc"), (0, "me@home/b.mrc"))

    def testWhatCannotBeShown(self):
        """One line for a missing file, a text, a broken file, and complex numbers."""
        with open(self.path("text.mrc"), "w", encoding="utf-8") as file:
            file.write("no volume")
        whole = self.write("whole.mrc", ramp())
        with open(whole, "rb") as file:
            head = file.read()[:1500]
        with open(self.path("cut.mrc"), "wb") as file:
            file.write(head)
        for name in ("missing.mrc", "text.mrc", "cut.mrc", "missing.em"):
            with self.assertRaisesRegex(SourceError, f"^{name}: ") as caught:
                VolumeSource.open(self.path(name))
            self.assertNotIn("\n", str(caught.exception))
        with self.assertRaisesRegex(SourceError, "complex"):
            VolumeSource(np.zeros((2, 2, 2), complex), "c")
        with self.assertRaisesRegex(SourceError, "expected a volume"):
            VolumeSource(np.zeros((2, 0, 2)), "c")

    def testEightGigabytes(self):
        """A sparse file of 8 GB opens at once, and a slice takes the memory of a slice."""
        shape = (512, 2048, 2048)
        path = self.path("huge.mrc")
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.zeros((1, 2, 2), np.float32))
            mrc.set_volume()
        with open(path, "r+b") as file:
            for word, value in zip((0, 4, 8, 28, 32, 36), shape[::-1] * 2):
                file.seek(word)
                file.write(int(value).to_bytes(4, "little"))
            file.truncate(1024 + 4 * shape[0] * shape[1] * shape[2])
        begun = time.perf_counter()
        source = VolumeSource.open(path)
        source.contrast(1, 99)
        self.assertEqual(source.plane(0, 256, 3, most=700)[0].shape, (1024, 1024))
        source.plane(1, 1000, most=700)
        image, extent = source.plane(2, 1000, most=700)
        self.assertLessEqual(image.size, 1 << 14)
        self.assertGreaterEqual(extent[1], shape[1] - 0.5)
        self.assertEqual(source.plane(2, 9, window=[(0, 90), (0, 90)])[0].shape, (90, 90))
        self.assertLess(time.perf_counter() - begun, 8)


class TestPoints(FilesTest):
    """Adding, removing, threshold, undo, and what leaves."""

    def testShown(self):
        """By tomogram, above the threshold, those by hand at any."""
        points = self.points()
        self.assertEqual(list(points.shown("TS_1")), [0, 1, 2])
        points.threshold = 0.5
        self.assertEqual(list(points.shown()), [1, 2, 3])
        points.threshold = 0.95
        points.add("TS_1", (1, 2, 3))
        self.assertEqual(list(points.shown()), [4])

    def testUndoGoesBackStepByStep(self):
        """Any series of additions and removals can be taken back to the beginning."""
        points = self.points()
        before = points.changes()
        rng = np.random.default_rng(4)
        for _ in range(60):
            shown = points.shown()
            if rng.random() < 0.5 and len(shown):
                points.remove(int(rng.choice(shown)))
            else:
                points.add("TS_2", rng.random(3))
        self.assertTrue(points.canUndo())
        while points.canUndo():
            points.undo()
        self.assertEqual(points.changes(), before)
        self.assertEqual(len(points), 4)
        self.assertIsNone(points.undo())

    def testRemovingTwiceIsOnce(self):
        """A point that is gone cannot be removed again."""
        points = self.points()
        points.remove(1)
        points.remove(1)
        points.undo()
        self.assertEqual(list(points.shown()), [0, 1, 2, 3])

    def testNearest(self):
        """The nearest shown point of that tomogram, within reach, at another sampling too."""
        points = self.points()
        self.assertEqual(points.near("TS_1", (21, 10, 4)), 1)
        self.assertEqual(points.near("TS_1", (10.5, 5, 2), scale=0.5, within=1), 1)
        self.assertIsNone(points.near("TS_1", (21, 10, 40), within=10))
        points.remove(1)
        self.assertEqual(points.near("TS_1", (21, 10, 4)), 2)
        self.assertIsNone(points.near("TS_9", (0, 0, 0)))

    def testChangesNameIdentifiers(self):
        """Identifiers of the set, not rows; a point added and removed again leaves no trace."""
        points = self.points()
        points.remove(1)
        points.remove(points.add("TS_2", (1, 1, 1)))
        points.add("TS_1", (1, 2, 3), group=5)
        points.threshold = 0.2
        changes = points.changes()
        self.assertEqual(changes["removed"], [7])
        added = [{"tomogram": "TS_1", "xyz": [1.0, 2.0, 3.0], "group": 5, "score": 0.0}]
        self.assertEqual(changes["added"], added)
        self.assertEqual((changes["threshold"], changes["sampling"]), (0.2, 4.0))

    def testScoresThatTellNothing(self):
        """No scores, or all the same, are no reason for a threshold."""
        self.assertTrue(self.points().hasScores())
        self.assertFalse(self.points(scores=[1, 1, 1, 1]).hasScores())
        self.assertFalse(self.points(scores=[]).hasScores())
        self.assertFalse(Points().hasScores())
        self.assertEqual(Points().scoreRange(), (0.0, 0.0))

    def testExport(self):
        """Plain text of one tomogram; a table of all."""
        points = self.points()
        points.threshold = 0.5
        self.assertEqual(points.export(self.path("p.txt"), "TS_1"), 2)
        np.testing.assert_allclose(np.loadtxt(self.path("p.txt")), points.xyz[1:3])
        points.add("TS_2", (1.25, 2, 3))
        self.assertEqual(points.export(self.path("p.csv")), 4)
        with open(self.path("p.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([r["tomogram"] for r in rows], ["TS_1", "TS_1", "TS_2", "TS_2"])
        self.assertEqual((rows[-1]["x"], rows[-1]["score"]), ("1.25", ""))
        self.assertEqual(sorted(os.listdir(self.folder)), ["p.csv", "p.txt"])


class TestIdentifiers(PlainTest):
    """What tells points by hand from those of a set."""

    def testHandMadePointsHaveNone(self):
        """Scipion counts from 1."""
        points = Points()
        points.add("T", (1, 2, 3))
        self.assertEqual(list(points.ids), [ADDED])
