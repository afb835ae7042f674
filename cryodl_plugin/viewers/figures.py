"""Figures of the viewers: plain matplotlib, drawn without any window."""

import numpy as np
from matplotlib.figure import Figure

from cryodl_plugin import convert
from cryodl_plugin.constants import FSC_THRESHOLD

BLUE, ORANGE, GREEN, GREY, DARK = "#2563a8", "#d9660f", "#3c8c4f", "#8a94a3", "#1c2430"
_CYCLE = (BLUE, ORANGE, GREEN, "#8b5bb5", "#b23a48", GREY)
_AXES = "zyx"
_PERCENTILES = (0.5, 99.7)
_DIRECTIONS = 800
_FEW_POINTS = 60
_COUNTED = ("epoch", "groups", "round")
_NO_LOSS = ("epoch", "step", "learning_rate", "seconds", "phase")


def newFigure(width, height):
    """Return an empty figure of a size in inches, laid out so that no label is cut."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy(axes, title, xLabel="", yLabel=""):
    """Give axes their words and take away what carries none."""
    axes.set_title(title, fontsize=11, color=DARK)
    axes.set_xlabel(xLabel, fontsize=10)
    axes.set_ylabel(yLabel, fontsize=10)
    if xLabel in _COUNTED:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def messageFigure(text):
    """Return a figure that only says something, for results that are not there yet."""
    figure = newFigure(6, 3)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12, color=GREY, wrap=True)
    return figure


def drawLoss(figure, rows, progress):
    """Draw the loss of metric rows by epoch, and its terms beside it, for they differ in scale."""
    figure.clear()
    names = _lossNames(rows)
    places = np.atleast_1d(figure.subplots(1, 2 if names[1:] else 1))
    _drawTerms(places[0], rows, names[:1])
    tidy(places[0], "Training", "epoch", "loss")
    if names[1:]:
        _drawTerms(places[1], rows, names[1:])
        tidy(places[1], "Terms", "epoch")
    if not names:
        places[0].text(0.5, 0.5, "no epoch finished yet", ha="center", color=GREY, fontsize=12)
    done = progress.get("fraction", 0) if progress else 1
    if done < 1:
        figure.suptitle(f"{100 * done:.0f} % done   {progress.get('note', '')}", fontsize=11)
    return figure


def _drawTerms(axes, rows, names):
    """Draw metrics by epoch; the phases of a training by line style."""
    phases = list(dict.fromkeys(row.get("phase", "") for row in rows))
    for phase, style in zip(phases, ("-", "--", ":") * len(phases)):
        own = [row for row in rows if row.get("phase", "") == phase]
        for name, color in zip(names, _CYCLE * len(names)):
            points = [
                (row.get("epoch", i + 1), row[name]) for i, row in enumerate(own) if name in row
            ]
            if points:
                label = f"{name}, {phase}" if phase else name
                marker = "o" if len(points) < _FEW_POINTS else None
                axes.plot(*zip(*points), color=color, ls=style, marker=marker, ms=3, label=label)
    if names:
        axes.legend(fontsize=9, frameon=False)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)


def _lossNames(rows):
    names = {name for row in rows for name, value in row.items() if _isLoss(name, value)}
    return sorted(names, key=lambda name: (name != "loss", name))


def _isLoss(name, value):
    return isinstance(value, (int, float)) and name not in _NO_LOSS


def fscFigure(curves, title, thresholds=None):
    """Return a figure of FSC curves: label -> (frequency in 1/Å, values)."""
    figure = newFigure(7, 4.6)
    drawFsc(figure.add_subplot(), curves, title, thresholds)
    return figure


def drawFsc(axes, curves, title, thresholds=None):
    """Draw FSC curves with the resolution in their labels: at 0.143, or at a curve's threshold."""
    thresholds = thresholds or {}
    for (label, (frequency, values)), color in zip(curves.items(), _CYCLE * 5):
        x, y = np.asarray(frequency, float), np.asarray(values, float)
        resolution = convert.resolutionAt(x, y, thresholds.get(label, FSC_THRESHOLD))
        axes.plot(x, y, color=color, lw=1.8, label=f"{label}: {resolution:.2f} Å")
    axes.axhline(FSC_THRESHOLD, color=GREY, lw=1, ls="--")
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set_ylim(-0.1, 1.05)
    axes.set_xlim(left=0)
    axes.legend(fontsize=9, frameon=False, loc="upper right")
    resolutionTicks(axes)
    tidy(axes, title, "resolution (Å)", "FSC")


def resolutionTicks(axes):
    """Label an axis of frequencies by the resolution, which is what people think in."""
    axes.xaxis.set_major_formatter(lambda value, _: f"{1 / value:.1f}" if value > 0 else "∞")


def directionFigure(volume, samplingRate, threshold):
    """Return curves by direction, a histogram and a map of directional resolution of a 3DFSC."""
    box = volume.shape[0]
    directions = convert.hemisphere(_DIRECTIONS)
    curves = convert.directionalCurves(volume, directions)
    resolutions = convert.directionalResolutions(curves, box, samplingRate, threshold)
    figure = newFigure(12, 4.2)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.05))
    _drawFan(left, curves, convert.frequencies(curves.shape[1], box, samplingRate), threshold)
    _drawHistogram(middle, resolutions)
    _drawHemisphere(figure, right, directions, resolutions)
    return figure


def _drawFan(axes, curves, frequency, threshold):
    mean, spread = curves.mean(axis=0), curves.std(axis=0)
    low, high = curves.min(axis=0), curves.max(axis=0)
    axes.fill_between(frequency, low, high, color=BLUE, alpha=0.15, lw=0, label="all directions")
    axes.fill_between(
        frequency, mean - spread, mean + spread, color=BLUE, alpha=0.3, lw=0, label="± 1 s.d."
    )
    axes.plot(frequency, mean, color=BLUE, lw=2, label="mean")
    axes.axhline(threshold, color=GREY, lw=1, ls="--", label=f"threshold {threshold:g}")
    axes.set_ylim(-0.1, 1.05)
    axes.set_xlim(0, frequency[-1])
    axes.legend(fontsize=9, frameon=False)
    resolutionTicks(axes)
    tidy(axes, "3DFSC by direction", "resolution (Å)", "correlation")


def _drawHistogram(axes, resolutions):
    low, high = resolutions.min(), resolutions.max()
    bins = np.linspace(low, high, 25) if high > low else np.linspace(low - 0.5, low + 0.5, 25)
    share = np.full(len(resolutions), 100 / len(resolutions))
    axes.hist(resolutions, bins=bins, weights=share, color=BLUE, alpha=0.85)
    median = float(np.median(resolutions))
    axes.axvline(median, color=ORANGE, lw=1.8, label=f"median {median:.2f} Å")
    axes.invert_xaxis()
    axes.legend(fontsize=9, frameon=False)
    tidy(axes, "Directional histogram", "resolution at the threshold (Å)", "directions (%)")


def _drawHemisphere(figure, axes, directions, resolutions):
    # Equal-area view along z: each direction takes the same room, as in the histogram.
    x, y, z = directions.T
    stretch = np.sqrt(1 / (1 + z))
    points = axes.scatter(
        x * stretch, y * stretch, c=resolutions, cmap="viridis_r", s=34, marker="o", lw=0
    )
    axes.set_aspect("equal")
    axes.set_xlim(-1.15, 1.15)
    axes.set_ylim(-1.15, 1.15)
    for text, position in {"x": (1.08, 0), "y": (0, 1.08), "z": (0, 0)}.items():
        axes.text(*position, text, ha="center", va="center", fontsize=11, color=DARK)
    axes.axis("off")
    axes.set_title("Directions seen along z", fontsize=11, color=DARK)
    bar = figure.colorbar(points, ax=axes, shrink=0.8)
    bar.set_label("resolution (Å)", fontsize=10)
    bar.ax.tick_params(labelsize=9)


def fourierFigure(volume, title):
    """Return the three central slices of a Fourier volume with values from 0 to 1."""
    figure = newFigure(10, 3.9)
    middle = volume.shape[0] // 2
    image = None
    for axes, axis in zip(figure.subplots(1, 3), (2, 1, 0)):
        image = axes.imshow(
            np.take(volume, middle, axis), cmap="magma", vmin=0, vmax=1, origin="lower"
        )
        across = [name for name in _AXES if name != _AXES[axis]]
        tidy(axes, f"across {_AXES[axis]}", across[1], across[0])
        axes.set_xticks([middle], ["0"])
        axes.set_yticks([middle], ["0"])
    bar = figure.colorbar(image, ax=figure.axes, shrink=0.8)
    bar.ax.tick_params(labelsize=9)
    figure.suptitle(title, fontsize=12)
    return figure


def drawSlices(figure, maps, axis, position, power=False):
    """Draw one slice of each map, or the power in the central section of its Fourier space.

    Parameters
    ----------
    figure : Figure
        Drawn anew.
    maps : dict
        Label -> ``(n, n, n)`` [z, y, x].
    axis : int
        0 for a slice across z, 1 across y, 2 across x.
    position : int
        Voxel along the axis.
    power : bool
        True draws the logarithm of the amplitude; the section holds the zero frequency.
    """
    figure.clear()
    places = np.atleast_1d(figure.subplots(1, len(maps), sharex=True, sharey=True))
    for axes, (label, data) in zip(places, maps.items()):
        image = _section(data, axis) if power else np.take(data, position, axis)
        low, high = np.percentile(image if power else data, _PERCENTILES)
        if power:
            low = np.percentile(image, 5)
        high = high if high > low else low + 1
        axes.imshow(image, cmap="magma" if power else "gray", vmin=low, vmax=high, origin="lower")
        axes.set_title(label, fontsize=11, color=DARK)
        axes.set_xticks([])
        axes.set_yticks([])
        across = [name for name in _AXES if name != _AXES[axis]]
        axes.set_xlabel(across[1], fontsize=10)
        axes.set_ylabel(across[0], fontsize=10)
    return figure


def _section(data, axis):
    """Return the log amplitude of the central Fourier section: that of the projection."""
    transform = np.fft.fftshift(np.fft.fft2(data.sum(axis=axis, dtype=np.float64)))
    return np.log10(np.abs(transform) + 1e-6 * np.abs(transform).max() + 1e-12)


def slicesFigure(maps, axis=0, position=None, power=False):
    """Return a figure of slices, see `drawSlices`; the middle one by default."""
    figure = newFigure(max(7.2, 3.8 * len(maps)), 4.3)
    middle = next(iter(maps.values())).shape[axis] // 2
    return drawSlices(figure, maps, axis, middle if position is None else position, power)
