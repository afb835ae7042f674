"""Pictures of poses and averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE = "#2f6fde"


def histograms(values: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Draw one histogram for each name, side by side."""
    figure = new_figure(1, len(values), 4.0 * len(values), 2.8)
    for axis, (name, numbers) in zip(figure.axes, values.items()):
        axis.hist(numbers, bins=min(40, max(8, len(numbers) // 4)), color=_BLUE)
        axis.set_xlabel(name)
    figure.axes[0].set_ylabel("Particles")
    return figure


def viewing_directions(rotations: NDArray[np.float64]) -> Figure:
    """Draw from where the particles are seen: the beam in the frame of the reference."""
    directions = rotations[:, 2]  # A^T z
    figure = new_figure(1, 2, 8.0, 4.0)
    for axis, (name, side) in zip(figure.axes, (("upper half", 1), ("lower half", -1))):
        chosen = directions[np.sign(directions[:, 2] + 1e-9) == side]
        # Equal areas of the sphere are equal areas of the picture.
        radius = np.sqrt(np.maximum(1 - np.abs(chosen[:, 2]), 0))
        flat = chosen[:, :2] / np.maximum(np.linalg.norm(chosen[:, :2], axis=1), 1e-9)[:, None]
        across, up = (flat * radius[:, None]).T
        axis.scatter(across, up, s=9, alpha=0.5, color=_BLUE, linewidths=0)
        angle = np.linspace(0, 2 * np.pi, 200)
        axis.plot(np.cos(angle), np.sin(angle), color="0.6", linewidth=0.8)
        axis.set_aspect("equal")
        axis.set_axis_off()
        axis.set_title(f"{name}: {len(chosen)}", fontsize=10)
    return figure


def averages_by_round(averages: Mapping[str, NDArray[np.float32]]) -> Figure:
    """Draw the slices through the centre across z and y of each average, a column a round."""
    figure = new_figure(2, len(averages), max(2.0 * len(averages), 4.0), 4.2)
    axes = np.asarray(figure.axes).reshape(2, len(averages))
    for column, (name, volume) in zip(axes.T, averages.items()):
        middle = volume.shape[0] // 2
        low, high = np.percentile(volume, (0.5, 99.8))
        for axis, plane in zip(column, (volume[middle], volume[:, middle])):
            axis.imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
            axis.set_xticks([])
            axis.set_yticks([])
        column[0].set_title(name, fontsize=10)
    axes[0, 0].set_ylabel("across z")
    axes[1, 0].set_ylabel("across y")
    return figure


def by_round(values: Mapping[str, list[float]]) -> Figure:
    """Draw numbers over the rounds, one panel each."""
    figure = new_figure(1, len(values), 4.2 * len(values), 2.8)
    for axis, (name, numbers) in zip(figure.axes, values.items()):
        axis.plot(np.arange(1, len(numbers) + 1), numbers, marker="o", color=_BLUE)
        axis.set_xlabel("Round")
        axis.set_ylabel(name)
    return figure
