"""Figures that several reports share. Drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(rows: int = 1, columns: int = 1, width: float = 9.0, height: float = 3.4) -> Figure:
    """Return an empty figure that needs no display, with a grid of axes in ``figure.axes``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.subplots(rows, columns)
    return figure


def central_slices(volumes: Mapping[str, np.ndarray], *, symmetric: bool = False) -> Figure:
    """Draw the three central slices of each volume, one row a volume.

    Parameters
    ----------
    volumes
        Name -> array (z, y, x).
    symmetric
        True takes the colour range of each volume as [0, 1], for Fourier weights.
    """
    figure = new_figure(len(volumes), 3, 7.5, 2.5 * len(volumes))
    axes = np.asarray(figure.axes).reshape(len(volumes), 3)
    for row, (name, volume) in zip(axes, volumes.items()):
        z, y, x = (n // 2 for n in volume.shape)
        planes = (
            (volume[z], "x", "y"),
            (volume[:, y], "x", "z"),
            (volume[:, :, x], "y", "z"),
        )
        low, high = (0.0, 1.0) if symmetric else np.percentile(volume, (0.5, 99.8))
        for axis, (plane, right, up) in zip(row, planes):
            axis.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
            axis.set_xlabel(right, labelpad=1)
            axis.set_ylabel(up, labelpad=1)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_title(name, loc="left", fontsize=10)
    return figure


def shell_curves(
    curves: Mapping[str, np.ndarray],
    *,
    box_size_px: int,
    pixel_size_angstrom: float,
    thresholds: Sequence[float] = (0.143, 0.5),
    label: str = "Fourier shell correlation",
) -> Figure:
    """Draw curves over resolution shells, shell 0 first, with the resolution in Angstrom below."""
    figure = new_figure(width=7.0, height=3.6)
    axis = figure.axes[0]
    for name, values in curves.items():
        shells = np.arange(len(values)) / (box_size_px * pixel_size_angstrom)
        axis.plot(shells, values, label=name, linewidth=1.6)
    for threshold in thresholds:
        axis.axhline(threshold, color="0.6", linewidth=0.8, linestyle="--")
    axis.axhline(0.0, color="0.8", linewidth=0.8)
    ticks = np.linspace(0.0, 0.5 / pixel_size_angstrom, 6)
    axis.set_xticks(ticks)
    axis.set_xticklabels(["∞"] + [f"{1 / tick:.3g}" for tick in ticks[1:]])
    axis.set_xlabel("Resolution (Å)")
    axis.set_ylabel(label)
    axis.set_ylim(-0.1, 1.05)
    axis.legend(frameon=False, fontsize=9)
    return figure


def loss_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draw losses by epoch, one line a term."""
    figure = new_figure(width=7.0, height=3.2)
    axis = figure.axes[0]
    for name, values in history.items():
        axis.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=1.6)
    axis.set_xlabel("Epoch")
    axis.set_ylabel("Loss")
    if history:
        axis.legend(frameon=False, fontsize=9)
    return figure
