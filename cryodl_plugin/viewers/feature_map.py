"""A map of pictures: which points are chosen, how it is drawn; without any window."""

import numpy as np
from matplotlib import colormaps
from matplotlib.path import Path

from cryodl_plugin.viewers.figures import DARK, GREY, ORANGE

_PALETTE = "tab20"
_PALE = 0.35
_COLUMNS = 6
_PERCENTILES = (2, 99.5)
_RIMMED = 5000
_LEVELS = 15
_HANDFUL = 25_000


class MapModel:
    """Points of a map, some of them chosen.

    Parameters
    ----------
    places : (n, 2) array
        Where they lie.
    clusters : (n,) int array
        Numbers from 1.
    images : (n, e, e) array
        A picture of each.
    """

    def __init__(self, places, clusters, images):
        self.places = np.asarray(places, float).reshape(-1, 2)
        self.clusters = np.asarray(clusters, int)
        self.images = images
        self.chosen = np.zeros(len(self.places), bool)

    def clusterNumbers(self):
        """Return the numbers of the clusters with how many points each has."""
        numbers, counts = np.unique(self.clusters, return_counts=True)
        return dict(zip(map(int, numbers), map(int, counts)))

    def isChosen(self, cluster):
        """Tell whether all of a cluster is chosen."""
        return bool(self.chosen[self.clusters == cluster].all())

    def setCluster(self, cluster, chosen):
        """Choose all of a cluster, or none of it."""
        self.chosen[self.clusters == cluster] = chosen

    def lasso(self, corners, chosen=True):
        """Choose what lies inside a line; `chosen` False takes it away. Return how many."""
        inside = self.inside(corners)
        self.chosen[inside] = chosen
        return int(inside.sum())

    def inside(self, corners):
        """Return which points lie inside a line."""
        if len(corners) < 3:
            return np.zeros(len(self.places), bool)
        return Path(corners).contains_points(self.places)

    def clusterAt(self, place, within):
        """Return the cluster of the nearest point, or None where none is near."""
        if not len(self.places):
            return None
        distance = np.linalg.norm(self.places - np.asarray(place, float), axis=1)
        nearest = int(distance.argmin())
        return int(self.clusters[nearest]) if distance[nearest] <= within else None

    def clear(self):
        """Choose nothing."""
        self.chosen[:] = False

    def invert(self):
        """Choose the others."""
        self.chosen = ~self.chosen

    def count(self):
        """Return how many are chosen."""
        return int(self.chosen.sum())

    def pictures(self, most):
        """Return numbers of points to show, spread over the chosen ones, or over all."""
        numbers = np.flatnonzero(self.chosen) if self.count() else np.arange(len(self.chosen))
        if len(numbers) > most:
            numbers = numbers[np.linspace(0, len(numbers) - 1, most).astype(int)]
        return numbers


def drawPoints(axes, places, colors, chosen, size):
    """Draw points in their colours (n, 4), with a rim around what is chosen.

    Very many points get no rim and colours of few levels: a hundred thousand are then drawn in a
    fraction of a second, and a map can be drawn anew after each click.
    """
    if len(places) <= _RIMMED:
        edges = np.where(chosen[:, None], np.array([0, 0, 0, 0.9]), np.zeros(4))
        axes.scatter(*places.T, c=colors, s=size, edgecolors=edges, linewidths=0.8)
        return
    levels = np.round(colors * _LEVELS).astype(np.int64) @ (_LEVELS + 1) ** np.arange(4)
    # Pale ones first, and in handfuls, or the last colour would lie on top of all others.
    for alpha in np.unique(colors[:, 3]):
        rows = np.flatnonzero(colors[:, 3] == alpha)
        for part in np.array_split(rows, -(-len(rows) // _HANDFUL)):
            _, first, kinds = np.unique(levels[part], return_index=True, return_inverse=True)
            for kind, one in enumerate(first):
                here = places[part[kinds == kind]]
                axes.plot(*here.T, ls="", marker="o", ms=1.8, mew=0, color=colors[part[one]])


def drawMap(axes, model):
    """Draw the map; what is not chosen is pale once anything is."""
    axes.clear()
    colors = colormaps[_PALETTE]((model.clusters - 1) % 20)
    pale = ~model.chosen & (model.count() > 0)
    colors[pale, 3] = _PALE
    drawPoints(axes, model.places, colors, model.chosen, 26)
    for cluster in model.clusterNumbers():
        x, y = np.median(model.places[model.clusters == cluster], axis=0)
        box = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1}
        axes.text(x, y, str(cluster), ha="center", va="center", fontsize=10, color=DARK, bbox=box)
    axes.set_xlim(-1.06, 1.06)
    axes.set_ylim(-1.06, 1.06)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(GREY)
    axes.set_title("click a cluster, or draw around points", fontsize=11, color=ORANGE)


def drawPictures(axes, model, rows):
    """Draw pictures of the chosen points side by side; of all where none is chosen."""
    axes.clear()
    axes.axis("off")
    numbers = model.pictures(rows * _COLUMNS)
    words = f"{model.count()} chosen" if model.count() else f"all {len(model.chosen)}"
    axes.set_title(f"{words}, {len(numbers)} shown", fontsize=11, color=DARK)
    if not len(numbers):
        return
    edge = model.images.shape[1]
    sheet = np.full((rows * (edge + 1), _COLUMNS * (edge + 1)), np.nan, np.float32)
    shown = model.images[numbers].astype(np.float32)
    low, high = np.percentile(shown, _PERCENTILES)
    for place, image in enumerate(shown):
        row, column = divmod(place, _COLUMNS)
        top, left = row * (edge + 1), column * (edge + 1)
        sheet[top : top + edge, left : left + edge] = image[::-1]
    axes.imshow(sheet, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="upper")
