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


def tomogram_slices(
    volume: np.ndarray, clean: np.ndarray, coordinates_px: np.ndarray, classes: np.ndarray
) -> Figure:
    """Draw central slices of a tomogram and of the specimen, with the particles near them."""
    from scipy import ndimage

    depth, height, width = volume.shape
    # Rows as tall as what they show, so that both have the same scale and no gap between them.
    tall = 4.1 * (height + depth) / width + 1.3
    figure = new_figure(2, 2, 9.0, min(max(tall, 3.5), 14.0))
    grid = figure.axes[0].get_gridspec()
    if grid is not None:
        grid.set_height_ratios([height, max(depth, height / 8)])
    smooth = ndimage.gaussian_filter(volume, 1.0)
    for column, (name, shown) in enumerate((("tomogram", smooth), ("specimen", clean))):
        for row, (plane, right, up, across, level) in enumerate(
            (
                (shown[depth // 2], 0, 1, 2, depth // 2),
                (shown[:, height // 2], 0, 2, 1, height // 2),
            )
        ):
            axis = figure.axes[2 * row + column]
            low, high = np.percentile(plane, (0.5, 99.5))
            axis.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
            near = np.abs(coordinates_px[:, across] - level) < 4
            if near.any():
                axis.scatter(
                    coordinates_px[near, right],
                    coordinates_px[near, up],
                    s=60,
                    facecolors="none",
                    edgecolors=[f"C{c - 1}" for c in classes[near]],
                    linewidths=1.0,
                )
            axis.set_xlabel("xyz"[right])
            axis.set_ylabel("xyz"[up])
            if row == 0:
                axis.set_title(name, loc="left", fontsize=10)
    return figure


def view_directions(directions_xyz: np.ndarray) -> Figure:
    """Draw unit vectors on a disc of equal area, seen along z."""
    figure = new_figure(width=4.2, height=4.0)
    axis = figure.axes[0]
    shown = directions_xyz[:5000]
    stretch = 1.0 / np.sqrt(1.0 + np.abs(shown[:, 2]))
    for near, marker in ((shown[:, 2] >= 0, "."), (shown[:, 2] < 0, "x")):
        spots = shown[near, :2] * stretch[near, None]
        axis.scatter(spots[:, 0], spots[:, 1], s=8, marker=marker, linewidths=0.6)
    angle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(angle), np.sin(angle), color="0.6", linewidth=0.8)
    axis.set_aspect("equal")
    axis.set_xlabel("x")
    axis.set_ylabel("y")
    axis.set_xticks([])
    axis.set_yticks([])
    return figure
