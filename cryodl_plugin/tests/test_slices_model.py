"""The slice viewer without a window: its state, and its figure on a canvas without a screen."""

import io
import time
from unittest import mock

import numpy as np

from cryodl_plugin.tests.slices_fixtures import SHAPE, FilesTest, ramp
from cryodl_plugin.viewers.slices import drawing, model
from cryodl_plugin.viewers.slices.drawing import SliceDrawing
from cryodl_plugin.viewers.slices.model import SliceModel, TomogramEntry
from cryodl_plugin.viewers.slices.points import Points
from cryodl_plugin.viewers.slices.source import VolumeSource


class TestModel(FilesTest):
    """What the viewer does with its state."""

    def testBeginsWherePointsAre(self):
        """The first tomogram with points, at their median height, in the middle of x and y."""
        made = self.model(self.points(tsIds=["TS_2"] * 4))
        self.assertEqual(made.entry.tsId, "TS_2")
        self.assertEqual(list(made.position), [15, 10, 4])
        self.assertEqual(list(self.model().position), [15, 10, 4])

    def testMovingStaysInside(self):
        """Neither wheel nor click leaves the tomogram."""
        made = self.model()
        made.step(100)
        self.assertEqual(made.position[2], 7)
        made.step(-100)
        self.assertEqual(made.position[2], 0)
        made.moveTo(x=-3, y=99.7)
        self.assertEqual(list(made.position), [0, 19, 0])
        made.setThickness(500)
        self.assertEqual(made.thickness, 8)
        made.setThickness(-1)
        self.assertEqual(made.thickness, 1)

    def testImageIsTheSlice(self):
        """Each view goes through the crosshair."""
        made = self.model()
        made.moveTo(x=11, y=7, z=3)
        for axis, place in ((0, 3), (1, 7), (2, 11)):
            np.testing.assert_array_equal(made.image(axis)[0], np.take(ramp() + 1, place, axis))

    def testZoomKeepsThePlaceUnderThePointer(self):
        """The place zoomed at stays at the same fraction of the view, unless the border is met."""
        made = self.model()
        place = np.array([14.0, 9.0, 4.0])
        before = [(place[i] - made.limits(i)[0]) / np.ptp(made.limits(i)) for i in range(3)]
        made.zoomBy(2.5, place)
        after = [(place[i] - made.limits(i)[0]) / np.ptp(made.limits(i)) for i in range(3)]
        np.testing.assert_allclose(before, after)
        made.pan((1000, -1000, 0))
        self.assertAlmostEqual(made.limits(0)[1], 29.5)
        self.assertAlmostEqual(made.limits(1)[0], -0.5)
        made.zoomBy(1e-9)
        np.testing.assert_allclose(made.limits(0), (-0.5, 29.5))
        made.zoomBy(1e9)
        self.assertLessEqual(made.zoom, 40)

    def testPercentilesCannotCross(self):
        """White stays above black."""
        made = self.model()
        made.setPercentiles(80, 20)
        self.assertEqual(made.percentiles, [80.0, 80.5])
        made.setPercentiles(-5, 300)
        self.assertEqual(made.percentiles, [0.0, 100.0])
        low, high = made.contrast()
        made.inverted = True
        self.assertEqual(made.contrast(), (high, low))

    def testPointsFadeWithDistance(self):
        """Strong in the slice, faint half a box away, not seen beyond."""
        made = self.model(self.points(boxSize=4))
        made.setThickness(1)
        made.moveTo(z=4)
        numbers, xyz, strength = made.visible(0)
        self.assertEqual(list(numbers), [0, 1, 2])
        self.assertEqual(strength[1], 1)
        self.assertAlmostEqual(strength[0], 0.32)
        np.testing.assert_allclose(xyz[1], [20, 10, 4])
        made.moveTo(z=7)
        self.assertEqual(list(made.visible(0)[0]), [])
        made.moveTo(x=20)
        self.assertEqual(list(made.visible(2)[0]), [1])

    def testOtherSampling(self):
        """Points picked at 4 Å on a tomogram of 2 Å voxels: twice the voxels, and back."""
        made = self.model(self.points(xyz=[[5, 6, 2], [2, 3, 1], [1, 1, 1], [3, 3, 3]]), 2.0)
        self.assertEqual(made.scale(), 2)
        self.assertEqual(made.boxSize(), 12)
        np.testing.assert_allclose(made.visible(0)[1][0], [10, 12, 4])
        self.assertTrue(made.addPoint((7, 9, 3)))
        np.testing.assert_allclose(made.points.xyz[-1], [3.5, 4.5, 1.5])
        self.assertTrue(made.removePoint((7, 9, 3)))
        self.assertEqual(made.points.changes()["added"], [])

    def testAddingOutside(self):
        """A click beside the tomogram adds nothing."""
        made = self.model()
        self.assertFalse(made.addPoint((30, 5, 5)))
        self.assertFalse(made.addPoint((-1, 5, 5)))
        self.assertFalse(made.dirty)
        self.assertTrue(made.addPoint((29.4, -0.4, 0)))
        self.assertTrue(made.dirty)

    def testRemovingFarFromAny(self):
        """A click far from all points removes none."""
        made = self.model(self.points())
        self.assertFalse(made.removePoint((12, 2, 7)))
        self.assertEqual(made.counts(), (3, 4, 4))

    def testThresholdCounts(self):
        """Here, in all, and how many there are; at the lowest score nothing is hidden."""
        made = self.model(self.points())
        made.setThreshold(0.5)
        self.assertEqual(made.counts(), (2, 3, 4))
        made.setThreshold(0.1)
        self.assertIsNone(made.points.threshold)
        self.assertEqual(made.counts(), (3, 4, 4))

    def testUndoShowsWhereItHappened(self):
        """Undo leads back to the tomogram of the point."""
        made = self.model(self.points())
        made.addPoint((1, 1, 1))
        made.choose("TS_2")
        self.assertTrue(made.undo())
        self.assertEqual(made.entry.tsId, "TS_1")
        self.assertFalse(made.undo())

    def testColorChoices(self):
        """Only what tells points apart."""
        self.assertEqual(self.model(self.points()).colorChoices(), ["one colour", "score", "group"])
        self.assertEqual(self.model().colorChoices(), ["one colour"])
        made = self.model(self.points(classes=[1, 2, 1, 1], groups=[], scores=[]))
        self.assertEqual(made.colorChoices(), ["one colour", "class"])
        made.colorBy = model.COLOR_CLASS
        self.assertEqual(list(made.colorValues(np.array([0, 1]))), [1, 2])

    def testOverlayOfAnotherSampling(self):
        """A map of half the size lies over the same places."""
        over = np.zeros((4, 10, 15), np.float32)
        over[2, 3, 5] = 1
        made = self.model(map=self.write("o.mrc", over))
        made.moveTo(z=5)
        image, extent = made.overlay(0)
        self.assertEqual(image.max(), 1)
        self.assertEqual(extent, (-0.5, 29.5, -0.5, 19.5))
        made.moveTo(z=6)
        self.assertEqual(made.overlay(0)[0].max(), 0)
        made.zoomBy(3, (10, 7, 5))
        made.moveTo(z=4)
        image, (left, right, bottom, top) = made.overlay(0)
        row, column = np.unravel_index(image.argmax(), image.shape)
        x = left + (column + 0.5) * (right - left) / image.shape[1]
        y = bottom + (row + 0.5) * (top - bottom) / image.shape[0]
        self.assertAlmostEqual(x, 10.5)
        self.assertAlmostEqual(y, 6.5)

    def testOverlayFollowsTheTomogram(self):
        """A tomogram without a map shows none."""
        made = self.model(map=self.write("o.mrc", ramp()))
        self.assertEqual(made.overlayName, "map")
        made.choose("TS_2")
        self.assertIsNone(made.overlay(0))
        made.choose("TS_1")
        self.assertEqual(made.overlayName, "map")

    def testUnreadableTomogram(self):
        """A missing file is said, and the next tomogram is shown all the same."""
        entries = [
            TomogramEntry("A", self.path("no.mrc")),
            TomogramEntry("B", self.write("b.mrc", ramp())),
        ]
        made = SliceModel(entries)
        self.assertIn("no.mrc", made.problem)
        self.assertFalse(made.addPoint((1, 1, 1)))
        made.choose("B")
        self.assertEqual(made.problem, "")

    def testEmptySet(self):
        """No tomogram, no failure."""
        made = SliceModel([])
        self.assertIn("empty", made.problem)
        self.assertEqual(made.counts(), (0, 0, 0))
        self.assertFalse(made.addPoint((0, 0, 0)))
        self.assertFalse(made.removePoint((0, 0, 0)))

    def testFewFilesStayOpen(self):
        """A set of many tomograms does not hold them all."""
        names = [self.write(f"m{i}.mrc", ramp()) for i in range(7)]
        made = SliceModel([TomogramEntry(f"T{i}", n) for i, n in enumerate(names)])
        for i in range(7):
            made.choose(f"T{i}")
        self.assertLessEqual(len(made._open), 4)


class TestDrawing(FilesTest):
    """The figure, on a canvas without a screen."""

    def draw(self, made, **settings):
        """Return a drawing that has been drawn."""
        result = SliceDrawing(made)
        for name, value in settings.items():
            setattr(result, name, value)
        result.layout()
        result.update()
        result.figure.savefig(io.BytesIO(), format="png", dpi=50)
        return result

    def testPanelsShareOneScale(self):
        """A voxel has the same size in all three, and neighbours are aligned."""
        drawn = self.draw(self.model(self.points()))
        boxes = [drawn.axes[i].get_position() for i in range(3)]
        width, height = drawn.figure.get_size_inches()
        self.assertAlmostEqual(boxes[0].width * width / 30, boxes[0].height * height / 20)
        self.assertAlmostEqual(boxes[1].x0, boxes[0].x0)
        self.assertAlmostEqual(boxes[2].y0, boxes[0].y0)
        self.assertGreater(boxes[0].y0, boxes[1].y1)

    def testSideViewIsTurned(self):
        """The view across x has z along the horizontal and y upwards."""
        made = self.model()
        made.moveTo(x=11)
        drawn = self.draw(made)
        held = drawn._held[2][1]
        np.testing.assert_array_equal(held, (ramp() + 1)[:, :, 11].T)
        self.assertEqual(tuple(drawn.axes[2].images[0].get_extent()), (-0.5, 7.5, -0.5, 19.5))

    def testPlacesUnderThePointer(self):
        """A click in each view gives x, y, z, the third from the crosshair."""
        made = self.model()
        made.moveTo(x=11, y=7, z=3)
        drawn = self.draw(made)
        np.testing.assert_array_equal(drawn.placeAt(drawn.axes[0], 4, 5), [4, 5, 3])
        np.testing.assert_array_equal(drawn.placeAt(drawn.axes[1], 4, 5), [4, 7, 5])
        np.testing.assert_array_equal(drawn.placeAt(drawn.axes[2], 4, 5), [11, 5, 4])
        self.assertIsNone(drawn.placeAt(None, 1, 1))

    def testScrollingReadsOnePlane(self):
        """Moving through z leaves the side views unread."""
        made = self.model()
        drawn = self.draw(made)
        with mock.patch.object(VolumeSource, "plane", autospec=True, wraps=None) as read:
            read.return_value = (np.zeros((20, 30), np.float32), (-0.5, 29.5, -0.5, 19.5))
            made.step(1)
            drawn.update()
            self.assertEqual([call.args[1] for call in read.call_args_list], [0])

    def testColors(self):
        """By score from violet to yellow, by hand green, far ones faint."""
        made = self.model(self.points())
        made.addPoint((2, 2, 4))
        drawn = self.draw(made)
        colors = drawn.colorsOf(np.array([0, 2, 4]), np.array([1, 0.5, 1]))
        self.assertGreater(colors[1, 1], colors[0, 1])
        self.assertEqual(colors[1, 3], 0.5)
        np.testing.assert_allclose(colors[2, :3], drawing.HAND_COLOR)
        for choice in made.colorChoices():
            made.colorBy = choice
            self.draw(made)

    def testOddTomograms(self):
        """One slice, one column, 8 bits, a thin slab, nothing at all: each is drawn."""
        for shape in ((1, 40, 50), (2, 3, 4), (30, 1, 1), (3, 400, 2)):
            path = self.write("odd.mrc", (ramp(shape) % 120).astype(np.int8))
            drawn = self.draw(SliceModel([TomogramEntry("T", path)]))
            self.assertEqual(len(drawn.panels()), 3 if shape[0] > 2 else 1)
        self.assertEqual(self.draw(SliceModel([])).panels(), [])
        made = self.model()
        self.assertEqual(self.draw(made, sideViews=False).panels(), [0])

    def testOverlayColors(self):
        """Opaque where the map is high, clear where it is low; a missing map is left out."""
        over = np.zeros(SHAPE, np.float32)
        over[:, 5:10, 5:10] = 1
        made = self.model(map=self.write("o.mrc", over), gone=self.path("gone.mrc"))
        made.opacity = 0.6
        alpha = self.draw(made).axes[0].images[1].get_array()[..., 3]
        self.assertEqual((alpha[7, 7], alpha[0, 0]), (153, 0))
        made.overlayName = "gone"
        self.assertFalse(self.draw(made).axes[0].images[1].get_visible())

    def testRedrawIsQuick(self):
        """A slice of 1024 x 1024 with 1000 points is on the canvas well within half a second."""
        data = np.random.default_rng(0).integers(-99, 99, (4, 1024, 1024), np.int8)
        rng = np.random.default_rng(1)
        points = Points(20, 4.0, tsIds=["T"] * 1000, xyz=rng.random((1000, 3)) * [1024, 1024, 4])
        made = SliceModel([TomogramEntry("T", self.write("b.mrc", data), 4.0)], points)
        drawn = self.draw(made)
        drawn.figure.canvas.draw()
        times = []
        for z in range(4):
            begun = time.perf_counter()
            made.moveTo(z=z)
            drawn.update()
            drawn.figure.canvas.draw()
            times.append(time.perf_counter() - begun)
        self.assertLess(min(times), 0.5)
