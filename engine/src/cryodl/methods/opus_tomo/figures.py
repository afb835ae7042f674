"""Pictures of latents and densities for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MANY = 3000


def comparison(rows: Sequence[Sequence[NDArray[np.float32]]]) -> Figure:
    """Draw sums along z of what the encoder sees, the density as measured, and the particle."""
    figure = new_figure(len(rows), 3, 7.5, 2.6 * len(rows))
    axes = np.asarray(figure.axes).reshape(len(rows), 3)
    names = ("given to the encoder", "density through CTF and wedge", "particle")
    for row, images in zip(axes, rows, strict=True):
        for axis, image, name in zip(row, images, names, strict=True):
            axis.imshow(image, cmap="gray", origin="lower")
            axis.set_title(name, fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def scatter(
    places: NDArray[np.floating],
    colours: Mapping[str, NDArray],
    labels: tuple[str, str] = ("component 1", "component 2"),
    centres: NDArray[np.floating] | None = None,
) -> Figure:
    """Draw points (n, 2) once for each way to colour them.

    Parameters
    ----------
    places
        (n, 2).
    colours
        Name -> numbers, or texts for kinds.
    labels
        Of the axes.
    centres
        (k, 2), numbered from 1.
    """
    figure = new_figure(1, len(colours), 4.2 * len(colours), 3.9)
    size = 14 if len(places) < _MANY else 3
    for axis, (name, given) in zip(figure.axes, colours.items(), strict=True):
        values, cmap = _as_numbers(np.asarray(given))
        drawn = axis.scatter(places[:, 0], places[:, 1], c=values, s=size, cmap=cmap, linewidths=0)
        if cmap == "viridis":
            figure.colorbar(drawn, ax=axis, shrink=0.8)
        if centres is not None:
            for number, (x, y) in enumerate(centres, start=1):
                axis.annotate(str(number), (x, y), fontsize=10, weight="bold", ha="center")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
    return figure


def _as_numbers(values: NDArray) -> tuple[NDArray, str]:
    if values.dtype.kind in "fc":
        return values, "viridis"
    _, numbers = np.unique(values, return_inverse=True)
    return numbers, "tab10" if numbers.max(initial=0) < 10 else "tab20"


def bars(names: Sequence[str], values: Sequence[float], label: str) -> Figure:
    """Draw one bar each."""
    figure = new_figure(width=7.0, height=2.8)
    axis = figure.axes[0]
    axis.bar(np.arange(len(values)), values, color="#2f6fde")
    axis.set_xticks(np.arange(len(names)), names, fontsize=8)
    axis.set_ylabel(label)
    return figure


def volume_rows(volumes: Mapping[str, NDArray[np.floating]], columns: int = 10) -> Figure:
    """Draw slices across z and sums along y of volumes, one column each, one range of grey."""
    chosen = list(volumes.items())[:: max(1, -(-len(volumes) // columns))]
    figure = new_figure(2, len(chosen), 1.7 * len(chosen) + 0.6, 3.8)
    axes = np.asarray(figure.axes).reshape(2, len(chosen))
    pictures = [
        [volume[volume.shape[0] // 2] for _, volume in chosen],
        [volume.sum(axis=1) for _, volume in chosen],
    ]
    for row, images in zip(axes, pictures, strict=True):
        low, high = np.percentile(np.stack(images), (0.5, 99.8))
        for axis, image, (name, _) in zip(row, images, chosen, strict=True):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")
            axis.set_xticks([])
            axis.set_yticks([])
            if row is axes[0]:
                axis.set_title(name, fontsize=9)
    return figure
