"""Maps of very many points stay quick to draw."""

import time
import unittest

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryodl_plugin.viewers.feature_map import drawPoints
from cryodl_plugin.viewers.latent_map import LatentModel, drawLatents


def modelOf(count):
    """Return a latent space of normal points in eight clusters."""
    random = np.random.default_rng(0)
    columns = {name: random.normal(size=count) for name in ("pc1", "pc2")}
    return LatentModel(columns | {"cluster": random.integers(1, 9, count), "id": np.arange(count)})


def newAxes():
    """Return axes that can be drawn without a window."""
    figure = Figure((6, 6), dpi=100)
    FigureCanvasAgg(figure)
    return figure.subplots()


class TestManyPoints(unittest.TestCase):
    """A hundred thousand points: drawn at once, every one, in its colour."""

    def testDrawAndChooseWithinASecond(self):
        """CPU seconds; twice as many are allowed, for others may share the core."""
        model, axes = modelOf(100_000), newAxes()
        axes.figure.canvas.draw()
        started = time.process_time()
        turn = np.linspace(0, 2 * np.pi, 100)
        inside = model.lasso(list(zip(0.3 * np.cos(turn), 0.3 * np.sin(turn))))
        drawLatents(axes, model)
        axes.figure.canvas.draw()
        self.assertLess(time.process_time() - started, 2.0)
        self.assertEqual(inside, model.count())
        self.assertGreater(inside, 10_000)

    def testEveryPointIsThereInItsColour(self):
        """Few and many points show the same; those that are pale lie below."""
        count = 6000
        places = np.random.default_rng(1).uniform(-1, 1, (count, 2))
        colors = np.tile([[1.0, 0, 0, 1], [0, 0, 1.0, 0.25]], (count // 2, 1))
        axes = newAxes()
        drawPoints(axes, places, colors, colors[:, 3] == 1, 20)
        drawn = np.concatenate([line.get_xydata() for line in axes.lines])
        self.assertEqual(sorted(map(tuple, drawn)), sorted(map(tuple, places)))
        alphas = [line.get_color()[3] for line in axes.lines]
        self.assertEqual(alphas, sorted(alphas))
        for line in axes.lines:
            here = np.isin(places[:, 0], line.get_xdata())
            np.testing.assert_allclose(colors[here], np.tile(line.get_color(), (here.sum(), 1)))
        axes.clear()
        drawPoints(axes, places[:50], colors[:50], colors[:50, 3] == 1, 20)
        self.assertEqual(len(axes.collections[0].get_offsets()), 50)
