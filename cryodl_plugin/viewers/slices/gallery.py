"""Many small volumes at a glance: one slice of each, some of them chosen; without any window."""

from dataclasses import dataclass, field

import numpy as np

from cryodl_plugin.viewers.slices.source import SourceError, VolumeSource

SIDES = {"xy": 0, "xz": 1, "yz": 2}
ORDER_SET, ORDER_SCORE, ORDER_CLASS = "as in the set", "best score first", "by class"
_GAP = 4
_KEPT_IMAGES = 600
_PERCENTILES = (1.0, 99.0)


@dataclass
class GalleryItem:
    """A volume of the gallery.

    Parameters
    ----------
    key : hashable
        What a selection is made of, for instance the identifier in a set.
    source : str or array
        A file, or a volume ``[z, y, x]``, or an image ``[y, x]``.
    label : str
        What is written on it.
    score, classId : float, int
        What it can be ordered by.
    """

    key: object
    source: object
    label: str = ""
    score: float = np.nan
    classId: int = 0


@dataclass
class GalleryModel:
    """State of the gallery.

    Parameters
    ----------
    items : list of GalleryItem
        What is shown.
    """

    items: list
    columns: int = 8
    rows: int = 5
    side: str = "xy"
    thickness: int = 3
    page: int = 0
    tile: int = 96
    order: str = ORDER_SET
    selected: set = field(default_factory=set)

    def __post_init__(self):
        self._images = {}
        self._done = []
        self._ordered = None

    # --- pages -----------------------------------------------------------------------------

    def pages(self):
        """Return how many pages there are, at least one."""
        return max(1, -(-len(self.items) // (self.columns * self.rows)))

    def turn(self, pages):
        """Go to another page."""
        self.page = min(max(self.page + pages, 0), self.pages() - 1)

    def setGrid(self, columns, rows):
        """Set how many fit on a page; the first one shown stays on the page."""
        first = self.page * self.columns * self.rows
        self.columns, self.rows = max(1, int(columns)), max(1, int(rows))
        self.page = min(first // (self.columns * self.rows), self.pages() - 1)

    def setOrder(self, order):
        """Set the order and begin at the first page."""
        self.order, self._ordered, self.page = order, None, 0

    def orders(self):
        """Return the orders that make a difference."""
        scores = {item.score for item in self.items if not np.isnan(item.score)}
        choices = [ORDER_SET]
        choices += [ORDER_SCORE] if len(scores) > 1 else []
        return choices + ([ORDER_CLASS] if len({item.classId for item in self.items}) > 1 else [])

    def shown(self):
        """Return the items of this page."""
        count = self.columns * self.rows
        return self._inOrder()[self.page * count : (self.page + 1) * count]

    def _inOrder(self):
        if self._ordered is None:
            keys = {
                ORDER_SCORE: lambda item: (np.isnan(item.score), -np.nan_to_num(item.score)),
                ORDER_CLASS: lambda item: item.classId,
            }
            key = keys.get(self.order)
            self._ordered = sorted(self.items, key=key) if key else list(self.items)
        return self._ordered

    def setTile(self, side):
        """Set the size of the pictures in pixels."""
        self.tile = max(16, round(side))
        self._images.clear()

    # --- choosing --------------------------------------------------------------------------

    def itemAt(self, column, row):
        """Return the item in a place of the grid, or None."""
        if not (0 <= column < self.columns and 0 <= row < self.rows):
            return None
        shown = self.shown()
        number = int(row) * self.columns + int(column)
        return shown[number] if number < len(shown) else None

    def toggle(self, keys):
        """Choose what was not chosen and the other way round."""
        self._choose(self.selected ^ set(keys))

    def selectAll(self):
        """Choose all items of all pages."""
        self._choose({item.key for item in self.items})

    def selectNone(self):
        """Choose nothing."""
        self._choose(set())

    def invert(self):
        """Choose the others."""
        self.toggle(item.key for item in self.items)

    def selectPage(self):
        """Choose all items of this page as well."""
        self._choose(self.selected | {item.key for item in self.shown()})

    def selectRange(self, first, last):
        """Choose all from one item to another, in the order that is shown."""
        order = [item.key for item in self._inOrder()]
        low, high = sorted((order.index(first), order.index(last)))
        self._choose(self.selected | set(order[low : high + 1]))

    def _choose(self, keys):
        self._done.append(self.selected)
        self.selected = set(keys)

    def undo(self):
        """Take the last choice back; False where there is none."""
        if not self._done:
            return False
        self.selected = self._done.pop()
        return True

    def chosen(self):
        """Return the keys of the chosen items, in the order of the set."""
        return [item.key for item in self.items if item.key in self.selected]

    # --- images ----------------------------------------------------------------------------

    def image(self, item):
        """Return the middle slice of an item as grey (tile, tile) 0..1; None if unreadable."""
        key = (item.key, self.side, self.thickness)
        if key not in self._images:
            while len(self._images) >= _KEPT_IMAGES:
                self._images.pop(next(iter(self._images)))
            self._images[key] = self._read(item)
        return self._images[key]

    def _read(self, item):
        try:
            source = (
                VolumeSource.open(item.source)
                if isinstance(item.source, str)
                else VolumeSource(np.asarray(item.source), str(item.label))
            )
        except SourceError:
            return None
        axis = SIDES[self.side] if source.shape[0] > 1 else 0
        image, _ = source.plane(axis, source.shape[axis] // 2, self.thickness)
        low, high = np.percentile(image, _PERCENTILES)
        grey = np.clip((image - low) / (high - low if high > low else 1), 0, 1)
        return _fit(grey, self.tile)

    def montage(self):
        """Return this page as one grey image ``[y, x]`` 0..1, its first row at the top.

        Returns
        -------
        image : (rows * (tile + gap), columns * (tile + gap)) float32
            NaN where there is no picture.
        unreadable : list of int
            Places on the page whose file could not be read.
        """
        pitch = self.tile + _GAP
        page = np.full((self.rows * pitch, self.columns * pitch), np.nan, np.float32)
        unreadable = []
        for number, item in enumerate(self.shown()):
            row, column = divmod(number, self.columns)
            image = self.image(item)
            if image is None:
                unreadable.append(number)
                continue
            top, left = row * pitch + _GAP // 2, column * pitch + _GAP // 2
            # Slices are drawn with y upwards, as everywhere else.
            page[top : top + self.tile, left : left + self.tile] = image[::-1]
        return page, unreadable

    def pitch(self):
        """Return from one tile to the next in pixels."""
        return self.tile + _GAP


def _fit(image, side):
    """Return an image in the middle of a square, larger or smaller as needed."""
    longest = max(image.shape)
    target = np.minimum((np.arange(side) + 0.5) * longest / side, longest - 1e-6)
    square = np.zeros((longest, longest), np.float32)
    top, left = ((longest - n) // 2 for n in image.shape)
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    if longest <= side:
        index = target.astype(int)
        return square[np.ix_(index, index)]
    edges = np.floor(np.arange(side) * longest / side).astype(int)
    sums = np.add.reduceat(np.add.reduceat(square, edges, axis=0), edges, axis=1)
    sizes = np.diff(np.append(edges, longest))
    return sums / np.outer(sizes, sizes).astype(np.float32)
