"""Pictures of simulated data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.run.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gallery(rows: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draw images, or central z slices of volumes, one row a name, one column a particle."""
    columns = max(len(images) for images in rows.values())
    figure = new_figure(len(rows), columns, 1.25 * columns + 0.5, 1.35 * len(rows) + 0.2)
    axes = np.asarray(figure.axes).reshape(len(rows), columns)
    for row, (name, images) in zip(axes, rows.items()):
        for axis in row:
            axis.set_axis_off()
        for axis, image in zip(row, images):
            plane = image[image.shape[0] // 2] if image.ndim == 3 else image
            low, high = np.percentile(plane, (0.5, 99.8))
            axis.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
        row[0].set_title(name, loc="left", fontsize=9)
    return figure
