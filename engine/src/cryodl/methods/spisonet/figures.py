"""Figures of the spIsoNet reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.run.figures import central_slices, new_figure, shell_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cryodl.methods.spisonet.fsc3d import Fsc3D


def directional_curves(result: Fsc3D, box_size_px: int, pixel_size_angstrom: float) -> Figure:
    """Draw the FSC of whole shells with the range and spread over directions around it."""
    figure = shell_curves(
        {"whole shell": result.global_fsc},
        box_size_px=box_size_px,
        pixel_size_angstrom=pixel_size_angstrom,
    )
    axis: Axes = figure.axes[0]
    table = result.table()
    frequency = table["cdlShell"] / (box_size_px * pixel_size_angstrom)
    axis.fill_between(
        frequency,
        table["cdlMinimum"],
        table["cdlMaximum"],
        alpha=0.18,
        label="range over directions",
    )
    axis.plot(frequency, table["cdlMean"], linewidth=1.2, label="mean over directions")
    axis.legend(frameon=False, fontsize=9)
    return figure


def fourier_slices(volume: np.ndarray) -> Figure:
    """Draw the central slices of a weight in Fourier space, black 0 to white 1."""
    return central_slices({"": volume}, symmetric=True)


def amplitude_curves(
    spectra: Mapping[str, np.ndarray], pixel_size_angstrom: float, box_size_px: int
) -> Figure:
    """Draw mean amplitudes by resolution on a logarithmic scale."""
    figure = shell_curves(
        spectra,
        box_size_px=box_size_px,
        pixel_size_angstrom=pixel_size_angstrom,
        thresholds=(),
        label="Mean amplitude",
    )
    axis = figure.axes[0]
    positive = np.concatenate([values[1:][values[1:] > 0] for values in spectra.values()])
    axis.set_yscale("log")
    if len(positive):
        axis.set_ylim(positive.min() * 0.7, positive.max() * 1.5)
    return figure


def view_histogram(rot_degrees: np.ndarray, tilt_degrees: np.ndarray) -> Figure:
    """Draw the density of views over rot and cos(tilt), in which even views are flat."""
    figure = new_figure(width=7.0, height=3.4)
    axis = figure.axes[0]
    _, _, _, picture = axis.hist2d(
        (np.asarray(rot_degrees) + 180) % 360 - 180,
        np.cos(np.radians(tilt_degrees)),
        bins=(36, 18),
        range=((-180, 180), (-1, 1)),
        cmap="viridis",
    )
    figure.colorbar(picture, ax=axis, label="particles")
    axis.set_xlabel("rot (degrees)")
    axis.set_ylabel("cos(tilt)")
    return figure
