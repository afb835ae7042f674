"""What a person sees after an exploration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import loss_curves, new_figure
from cryodl.core.run.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 6


def report_exploration(
    run: RunFolder,
    boxes: NDArray[np.float16],
    places: NDArray[np.float64],
    clusters: NDArray[np.int64],
    method: str,
    losses: Sequence[float],
) -> None:
    """Fill the report of an exploration."""
    report = run.report
    report.fact("blobs", str(len(clusters)))
    report.fact("clusters", str(int(clusters.max())))
    report.heading("Map")
    report.figure(
        map_figure(places, clusters),
        f"Each point is a blob; alike lies near alike ({method}). Colours and numbers are the "
        "clusters.",
    )
    report.heading("Mean of each cluster")
    report.figure(
        gallery(boxes, clusters),
        "Mean of the boxes of each cluster from above (x right, y up) and, below it, from the side "
        "(x right, z up), and how many they are.",
    )
    report.heading("Training")
    report.figure(loss_curves({"loss": losses}), "Loss of telling boxes apart.")
    report.distrust(
        "The map tells what looks alike, not what it is. Look at the members of a cluster in their "
        "tomograms before you use it as labels."
    )


def map_figure(places: NDArray[np.float64], clusters: NDArray[np.int64]) -> Figure:
    """Draw the map, clusters by colour, with their numbers."""
    figure = new_figure(width=7.0, height=5.6)
    axis = figure.axes[0]
    x, y = places.T
    axis.scatter(x, y, c=(clusters - 1) % 20, cmap="tab20", vmin=-0.5, vmax=19.5, s=9, lw=0)
    for cluster in np.unique(clusters):
        x, y = np.median(places[clusters == cluster], axis=0)
        box = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1}
        axis.text(x, y, str(cluster), ha="center", va="center", fontsize=9, bbox=box)
    axis.set_xticks([])
    axis.set_yticks([])
    return figure


def gallery(boxes: NDArray[np.float16], clusters: NDArray[np.int64]) -> Figure:
    """Draw the mean box of each cluster, seen along z and along y."""
    found = np.unique(clusters)
    rows = 2 * -(-len(found) // _COLUMNS)
    figure = new_figure(rows, _COLUMNS, 1.4 * _COLUMNS, 1.5 * rows)
    axes = np.asarray(figure.axes).reshape(rows, _COLUMNS)
    for axis in figure.axes:
        axis.axis("off")
    middle, half = boxes.shape[1] // 2, max(1, boxes.shape[1] // 6)
    slab = slice(middle - half, middle + half)
    for number, cluster in enumerate(found):
        members = boxes[clusters == cluster]
        mean = members.astype(np.float32).mean(axis=0)
        row, column = 2 * (number // _COLUMNS), number % _COLUMNS
        for below, image in enumerate((mean[slab].mean(0), mean[:, slab].mean(1))):
            axes[row + below, column].imshow(image, cmap="gray", origin="lower")
        axes[row, column].set_title(f"{cluster}: {len(members)}", fontsize=9)
    return figure
