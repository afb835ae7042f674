"""Pictures of picks for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import new_figure
from cryodl.methods.cet_pick.tomogram import WorkingTomogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN_EDGE_PX = 512  # larger slices are shown by every second pixel and so on
LABEL_COLOUR, PICK_COLOUR, HELD_COLOUR = "#2a9d3f", "#e8751a", "#2f6fde"


def slices_with_points(
    tomogram: WorkingTomogram,
    points: Mapping[str, tuple[NDArray[np.float64], str]],
    radius_px: float,
    *,
    score_map: NDArray[np.float32] | None = None,
    slices: int = 4,
) -> Figure:
    """Draw slices through the points, with a circle around each point near the slice.

    Parameters
    ----------
    tomogram
        The tomogram.
    points
        Name -> points (n, 3; x, y, z of the working array, slices not merged) and their colour.
    radius_px
        Of the circles.
    score_map
        Heat map (z, y, x), shown in a second row.
    slices
        How many.
    """
    _, height, width = tomogram.shape
    chosen = _slices(tomogram, points, slices)
    rows = 1 if score_map is None else 2
    figure = new_figure(rows, len(chosen), 3.1 * len(chosen), 3.3 * rows * height / width)
    step = max(1, -(-max(height, width) // _SHOWN_EDGE_PX))
    for column, k in enumerate(chosen):
        values = tomogram.region(((k, k + 1), (0, height), (0, width)))[0][::step, ::step]
        axis = figure.axes[column]
        low, high = np.percentile(values, (1, 99.5))
        extent = (-0.5, width - 0.5, -0.5, height - 0.5)
        axis.imshow(values, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
        axis.set_title(f"slice {k * tomogram.merged}", fontsize=9)
        _circles(axis, points, k, tomogram.merged, radius_px)
        if score_map is not None:
            below = figure.axes[len(chosen) + column]
            below.imshow(score_map[k], cmap="magma", vmin=0, vmax=1, origin="lower", extent=extent)
    for axis in figure.axes:
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def _slices(
    tomogram: WorkingTomogram,
    points: Mapping[str, tuple[NDArray[np.float64], str]],
    slices: int,
) -> list[int]:
    """Return working slices at even quantiles of the points' heights."""
    heights = np.concatenate([found[:, 2] for found, _ in points.values()] or [np.empty(0)])
    depth = tomogram.shape[0]
    if not len(heights):
        heights = np.arange(depth * tomogram.merged, dtype=float)
    wanted = np.quantile(heights, (np.arange(slices) + 0.5) / slices) / tomogram.merged
    return sorted({int(np.clip(round(float(k)), 0, depth - 1)) for k in wanted})


def _circles(
    axis: object,
    points: Mapping[str, tuple[NDArray[np.float64], str]],
    k: int,
    merged: int,
    radius_px: float,
) -> None:
    from matplotlib.collections import EllipseCollection

    for name, (found, colour) in points.items():
        away = np.abs(found[:, 2] - ((k + 0.5) * merged - 0.5))
        near = away < radius_px
        radii = 2 * np.sqrt(np.maximum(radius_px**2 - away[near] ** 2, 1))
        circles = EllipseCollection(
            radii,
            radii,
            0,
            units="xy",
            offsets=found[near][:, :2],
            offset_transform=axis.transData,  # type: ignore[attr-defined]
            facecolors="none",
            edgecolors=colour,
            linewidths=1.1,
            label=name,
        )
        axis.add_collection(circles)  # type: ignore[attr-defined]


def score_histogram(
    scores: Mapping[str, NDArray[np.float64]], thresholds: Sequence[float]
) -> Figure:
    """Draw how many picks have which score, with the thresholds."""
    figure = new_figure(width=7.0, height=3.0)
    axis = figure.axes[0]
    for name, values in scores.items():
        axis.hist(
            values, bins=[n / 50 for n in range(51)], histtype="step", linewidth=1.6, label=name
        )
    for threshold in thresholds:
        axis.axvline(threshold, color="0.4", linestyle="--", linewidth=1)
    axis.set_xlabel("Score")
    axis.set_ylabel("Maxima of the heat map")
    axis.set_yscale("symlog", linthresh=10)
    if len(scores) > 1:
        axis.legend(frameon=False, fontsize=9)
    return figure


def threshold_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draw what the held-out labels said after each epoch."""
    figure = new_figure(width=7.0, height=3.0)
    axis = figure.axes[0]
    for name, values in curves.items():
        axis.plot(np.arange(1, len(values) + 1), values, marker="o", markersize=3, label=name)
    axis.set_xlabel("Epoch")
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False, fontsize=9)
    return figure
