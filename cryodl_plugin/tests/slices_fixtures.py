"""Small volumes, points and models for the tests of the slice viewer."""

import os
import tempfile

import mrcfile
import numpy as np

from cryodl_plugin.tests.fixtures import PlainTest
from cryodl_plugin.viewers.slices.model import SliceModel, TomogramEntry
from cryodl_plugin.viewers.slices.points import Points

SHAPE = (8, 20, 30)


def ramp(shape=SHAPE):
    """Return a volume whose value says where it is: 10000 z + 100 y + x."""
    z, y, x = np.indices(shape)
    return (10000 * z + 100 * y + x).astype(np.float32)


class FilesTest(PlainTest):
    """A test with a folder for files."""

    def setUp(self):
        """Make the folder."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def path(self, name):
        """Return a path in the folder."""
        return os.path.join(self.folder, name)

    def write(self, name, data, sampling=4.0):
        """Write a volume as it is, whatever its type; return the path."""
        with mrcfile.new(self.path(name), overwrite=True) as mrc:
            mrc.set_data(data)
            mrc.set_volume()
            mrc.voxel_size = sampling
        return self.path(name)

    def points(self, **values):
        """Return four points in two tomograms, with scores."""
        given = {
            "boxSize": 6,
            "sampling": 4.0,
            "ids": [3, 7, 8, 20],
            "tsIds": ["TS_1", "TS_1", "TS_1", "TS_2"],
            "xyz": [[5, 6, 2], [20, 10, 4], [25, 15, 4], [9, 9, 3]],
            "scores": [0.1, 0.5, 0.9, 0.5],
            "groups": [1, 1, 2, 2],
            **values,
        }
        return Points(**given)

    def model(self, points=None, sampling=4.0, **overlays):
        """Return a model of two tomograms."""
        names = [self.write(f"t{i}.mrc", ramp() + i) for i in (1, 2)]
        entries = [TomogramEntry(f"TS_{i + 1}", n, sampling) for i, n in enumerate(names)]
        entries[0].overlays = overlays
        return SliceModel(entries, points)
