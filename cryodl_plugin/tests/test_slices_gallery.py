"""The gallery without a window: pages, choosing, pictures."""

import mrcfile
import numpy as np

from cryodl_plugin.tests.slices_fixtures import FilesTest
from cryodl_plugin.viewers.slices.gallery import (
    ORDER_CLASS,
    ORDER_SCORE,
    ORDER_SET,
    GalleryItem,
    GalleryModel,
)


def gallery(count=23, **values):
    """Return a gallery of small volumes with scores and classes, four by three on a page."""
    rng = np.random.default_rng(0)
    items = [
        GalleryItem(10 * i, rng.random((6, 6, 6)), str(i), (7 * i) % count, i % 3)
        for i in range(1, count + 1)
    ]
    return GalleryModel(items, columns=4, rows=3, **values)


class TestPages(FilesTest):
    """What is on a page."""

    def testPages(self):
        """All items once, the last page not full, no page beyond."""
        made = gallery()
        self.assertEqual(made.pages(), 2)
        seen = [item.key for item in made.shown()]
        made.turn(1)
        seen += [item.key for item in made.shown()]
        self.assertEqual(seen, [10 * i for i in range(1, 24)])
        made.turn(5)
        self.assertEqual(made.page, 1)
        made.turn(-9)
        self.assertEqual(made.page, 0)

    def testGridKeepsThePlace(self):
        """A larger window still shows what was seen."""
        made = gallery()
        made.turn(1)
        first = made.shown()[0].key
        made.setGrid(5, 2)
        self.assertIn(first, [item.key for item in made.shown()])
        made.setGrid(0, 0)
        self.assertEqual((made.columns, made.rows), (1, 1))

    def testOrders(self):
        """By score from the best, by class; items without a score come last."""
        made = gallery()
        made.items[4].score = np.nan
        self.assertEqual(made.orders(), [ORDER_SET, ORDER_SCORE, ORDER_CLASS])
        made.setGrid(23, 1)
        made.setOrder(ORDER_SCORE)
        scores = [item.score for item in made.shown()]
        self.assertEqual(scores[:-1], sorted(scores[:-1], reverse=True))
        self.assertTrue(np.isnan(scores[-1]))
        made.setOrder(ORDER_CLASS)
        classes = [item.classId for item in made.shown()]
        self.assertEqual(classes, sorted(classes))
        self.assertEqual(GalleryModel([GalleryItem(1, np.ones((2, 2, 2)))]).orders(), [ORDER_SET])

    def testPlaces(self):
        """A click in the grid finds the item, beside it none."""
        made = gallery()
        self.assertEqual(made.itemAt(1, 2).key, 100)
        self.assertIsNone(made.itemAt(4, 0))
        self.assertIsNone(made.itemAt(-1, 0))
        made.turn(1)
        self.assertIsNone(made.itemAt(3, 2))


class TestChoosing(FilesTest):
    """What is chosen and taken back."""

    def testToggle(self):
        """Twice is as before; what leaves is in the order of the set."""
        made = gallery()
        made.toggle([50])
        made.toggle([20])
        self.assertEqual(made.chosen(), [20, 50])
        made.toggle([50])
        self.assertEqual(made.chosen(), [20])

    def testAllNoneInvertPage(self):
        """The buttons."""
        made = gallery()
        made.selectPage()
        self.assertEqual(len(made.selected), 12)
        made.invert()
        self.assertEqual(len(made.selected), 11)
        made.selectAll()
        self.assertEqual(len(made.selected), 23)
        made.selectNone()
        self.assertEqual(made.chosen(), [])

    def testRangeFollowsTheOrder(self):
        """From one to another as they are shown, either way round."""
        made = gallery()
        made.selectRange(50, 20)
        self.assertEqual(made.chosen(), [20, 30, 40, 50])
        made.selectNone()
        made.setOrder(ORDER_CLASS)
        shown = [item.key for item in made.shown()]
        made.selectRange(shown[0], shown[2])
        self.assertEqual(made.selected, set(shown[:3]))

    def testUndo(self):
        """Step by step to the beginning."""
        made = gallery()
        made.toggle([10])
        made.selectAll()
        made.undo()
        self.assertEqual(made.chosen(), [10])
        self.assertTrue(made.undo())
        self.assertFalse(made.undo())
        self.assertEqual(made.chosen(), [])


class TestPictures(FilesTest):
    """What is drawn."""

    def volume(self):
        """Return a volume that is bright at (z, y, x) = (4, 6, 2) only."""
        data = np.zeros((8, 8, 8), np.float32)
        data[4, 6, 2] = 1
        return data

    def testSidesAndOrientation(self):
        """The middle slice, y (or z) upwards, as in the slice viewer."""
        made = GalleryModel([GalleryItem(1, self.volume())], columns=1, rows=1, thickness=1, tile=8)
        for side, place in (("xy", (6, 2)), ("xz", None), ("yz", None)):
            made.side = side
            image = made.image(made.items[0])
            if place is None:
                self.assertEqual(image.max(), 0)
            else:
                self.assertEqual(np.unravel_index(image.argmax(), image.shape), place)
        made.side = "xy"
        page, _ = made.montage()
        row, column = np.unravel_index(np.nanargmax(page), page.shape)
        self.assertEqual((row - 2, column - 2), (7 - 6, 2))

    def testAnySizeFillsTheTile(self):
        """Smaller and larger boxes, odd ones, and those that are no cubes."""
        for shape in ((3, 3, 3), (40, 41, 43), (200, 200, 200), (4, 10, 30), (1, 9, 9)):
            made = GalleryModel([GalleryItem(1, np.random.rand(*shape))], tile=32)
            image = made.image(made.items[0])
            self.assertEqual(image.shape, (32, 32), shape)
            self.assertTrue(0 <= image.min() < image.max() <= 1.000001, shape)

    def testUnreadable(self):
        """A missing file leaves its place dark and is named; the others are drawn."""
        made = gallery(5)
        made.items[1].source = self.path("no.mrc")
        page, unreadable = made.montage()
        self.assertEqual(unreadable, [1])
        pitch = made.pitch()
        self.assertTrue(np.isnan(page[:pitch, pitch : 2 * pitch]).all())
        self.assertTrue(np.isfinite(page[10, 10]))
        self.assertEqual(page.shape, (3 * pitch, 4 * pitch))

    def testStackItems(self):
        """A volume of a stack of 8-bit volumes."""
        with mrcfile.new(self.path("s.mrc")) as mrc:
            mrc.set_data(np.stack([np.zeros((8, 8, 8)), 100 * self.volume()]).astype(np.int8))
        made = GalleryModel(
            [GalleryItem(1, f"2@{self.path('s.mrc')}")], columns=1, rows=1, thickness=1, tile=8
        )
        self.assertEqual(made.image(made.items[0])[6, 2], 1)

    def testFewPicturesAreKept(self):
        """Memory does not grow with the set."""
        made = gallery(700)
        made.setTile(16)
        for item in made.items:
            made.image(item)
        self.assertLessEqual(len(made._images), 600)

    def testEmptySet(self):
        """Nothing to show, nothing to choose."""
        made = GalleryModel([])
        self.assertEqual((made.pages(), made.shown(), made.chosen()), (1, [], []))
        self.assertTrue(np.isnan(made.montage()[0]).all())
