"""The slices of the report of ``cryodl simulate tomogram``."""

import numpy as np
import pytest

from cryodl.commands.simulate_pictures import tomogram_slices


@pytest.mark.parametrize("shape", [(64, 128, 128), (24, 100, 60), (40, 40, 40)])
def test_both_rows_have_one_scale_and_no_gap(shape):
    volume = np.random.default_rng(0).normal(size=shape)
    depth, height, width = shape
    points = np.array([[10.0, 12.0, depth // 2]])
    figure = tomogram_slices(volume, volume, points, np.array([1]))
    figure.draw_without_rendering()
    for above, below in (figure.axes[0::2], figure.axes[1::2]):
        one, two = (axis.get_window_extent() for axis in (above, below))
        assert one.width == pytest.approx(two.width, rel=0.03)
        assert one.height / two.height == pytest.approx(height / depth, rel=0.05)
        assert 0 < one.y0 - two.y1 < 0.15 * figure.bbox.height
        assert [len(axis.collections) for axis in (above, below)] == [1, 0]
