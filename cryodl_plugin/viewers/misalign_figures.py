"""Figures of a refinement with misalignment correction, drawn without any window."""

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.viewers.figures import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    ORANGE,
    messageFigure,
    newFigure,
    tidy,
)

_DIRECTIONS = 500
_ANGLE_BINS = (36, 18)
_ACTION_WORDS = {
    "network": "corrected by the network",
    "relion": "RELION's own map",
    "unfil": "unregularised map",
    "fallback": "correction FAILED, RELION's own map",
    "failed": "correction FAILED",
}


def iterationsFigure(table, gateAngstrom=None, gateOrder=None):
    """Return resolution and angular sampling by iteration, with where the network worked.

    Parameters
    ----------
    table : list of Iteration
        See `cryodl_plugin.convert.misalign_results`.
    gateAngstrom, gateOrder : number or None
        Where the correction is to begin.
    """
    if not table:
        return messageFigure("No iteration has ended yet.")
    figure = newFigure(11, 4.6)
    left, right = figure.subplots(1, 2)
    numbers = [row.number for row in table]
    for axes in (left, right):
        _shadeNetwork(axes, table)
        axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25, axis="y")
    _line(left, table, "resolution", BLUE, "RELION's resolution")
    _line(left, table, "fscResolution", ORANGE, "FSC 0.143")
    if gateAngstrom:
        left.axhline(gateAngstrom, color=GREY, lw=1, ls="--", label="start of the correction")
    left.invert_yaxis()
    tidy(left, "Resolution", "iteration", "Å")
    _line(right, table, "accuracyDegrees", BLUE, "estimated accuracy (°)")
    _line(right, table, "changeDegrees", GREEN, "change of angles (°)")
    right.set_yscale("log")
    low, high = right.get_ylim()
    right.set_ylim(low, high * (high / low) ** 0.12)  # room for the words along the top
    for axis in (right.yaxis.set_major_formatter, right.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "125" else "")
    tidy(right, "Angles", "iteration", "degrees")
    _drawOrders(right, table, gateOrder)
    for axes in (left, right):
        axes.legend(fontsize=9, frameon=False)
    return figure


def _line(axes, table, name, color, label):
    points = [(r.number, getattr(r, name)) for r in table if getattr(r, name) is not None]
    if points:
        axes.plot(*zip(*points), color=color, lw=1.8, marker="o", ms=4, label=label)


def _shadeNetwork(axes, table):
    """Shade the iterations in which the network corrected the half maps, or failed to."""
    shown = set()
    for row in table:
        color = {"network": GREEN, "fallback": "#b23a48", "failed": "#b23a48"}.get(row.action)
        if color:
            label = "network" if row.action == "network" else "failed"
            label = None if label in shown else shown.add(label) or label
            axes.axvspan(
                row.number - 0.5, row.number + 0.5, color=color, alpha=0.12, lw=0, label=label
            )


def _drawOrders(axes, table, gateOrder):
    """Write the HEALPix order along the top, where it changes."""
    last = None
    for row in table:
        if row.healpixOrder is not None and row.healpixOrder != last:
            last = row.healpixOrder
            reached = gateOrder is not None and last >= gateOrder
            axes.annotate(
                f"order {last}",
                (row.number - 0.5, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, -12),
                textcoords="offset points",
                fontsize=9,
                color=DARK if reached else GREY,
            )


def anglesFigure(directions):
    """Return how many particles look along which direction: by rot and tilt, and on a sphere.

    Parameters
    ----------
    directions : numpy.ndarray
        ``(n, 2)`` rot and tilt in degrees.
    """
    if not len(directions):
        return messageFigure("No particle has been aligned yet.")
    figure = newFigure(11, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    rot = (directions[:, 0] + 180) % 360 - 180
    tilt = directions[:, 1]
    # Bins of equal cosine of the tilt hold equal parts of the sphere.
    edges = np.degrees(np.arccos(np.linspace(1, -1, _ANGLE_BINS[1] + 1)))
    counts, _, _ = np.histogram2d(rot, tilt, [np.linspace(-180, 180, _ANGLE_BINS[0] + 1), edges])
    mean = counts.mean()
    image = left.pcolormesh(
        np.linspace(-180, 180, _ANGLE_BINS[0] + 1), edges, counts.T / mean, cmap="viridis"
    )
    left.set_xticks(range(-180, 181, 60))
    left.set_yticks(range(0, 181, 30))
    left.invert_yaxis()
    tidy(left, f"{len(tilt)} particles, fields of equal area", "rot (°)", "tilt (°)")
    bar = figure.colorbar(image, ax=left, shrink=0.9)
    bar.set_label("particles over the mean", fontsize=10)
    bar.ax.tick_params(labelsize=9)
    _drawViews(right, rot, tilt)
    return figure


def _drawViews(axes, rot, tilt):
    """Draw the views on the half sphere seen along z; opposite views show the same."""
    a, b = np.radians(rot), np.radians(tilt)
    x, y, z = np.cos(a) * np.sin(b), np.sin(a) * np.sin(b), np.cos(b)
    sign = np.where(z < 0, -1, 1)
    stretch = sign * np.sqrt(1 / (1 + np.abs(z)))  # keeps areas
    size = 24 if len(x) > 2000 else 14
    axes.hexbin(
        x * stretch,
        y * stretch,
        gridsize=size,
        extent=(-1, 1, -1, 1),
        cmap="viridis",
        mincnt=1,
        vmin=0,
        linewidths=0.2,
    )
    around = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(around), np.sin(around), color=GREY, lw=1)
    for text, place in {"x": (1.15, 0), "y": (0, 1.15)}.items():
        axes.text(*place, text, ha="center", va="center", fontsize=11, color=DARK)
    axes.set_aspect("equal")
    axes.set_xlim(-1.24, 1.24)
    axes.set_ylim(-1.24, 1.24)
    axes.axis("off")
    axes.set_title("Views seen along z", fontsize=11, color=DARK)


def weightsFigure(weights, samplingRate, threshold):
    """Return resolution by direction and sphericity, by iteration, of the directional weights.

    Parameters
    ----------
    weights : dict
        Iteration -> ``(n, n, n)`` weight by direction, zero frequency in the middle.
    samplingRate : float
        In Å/px.
    threshold : float
        Weight that stands for an FSC of 0.143.
    """
    if not weights:
        return messageFigure(
            "The network has not worked yet: there is no weight by direction of any iteration."
        )
    figure = newFigure(11, 4.6)
    left, right = figure.subplots(1, 2)
    numbers, spread = list(weights), []
    around = convert.hemisphere(_DIRECTIONS)
    for weight in weights.values():
        curves = convert.directionalCurves(weight, around)
        reached = convert.directionalResolutions(curves, weight.shape[0], samplingRate, threshold)
        sphericity = results.sphericityOf(around, 1 / reached)
        spread.append((*np.percentile(reached, (2, 50, 98)), sphericity))
    best, middle, worst, sphericity = np.array(spread).T
    left.fill_between(
        numbers, best, worst, color=BLUE, alpha=0.18, lw=0, label="96 % of directions"
    )
    left.plot(numbers, middle, color=BLUE, marker="o", ms=4, label="median direction")
    left.plot(numbers, worst, color=ORANGE, lw=1.2, marker="v", ms=4, label="worst directions")
    left.invert_yaxis()
    left.legend(fontsize=9, frameon=False)
    tidy(left, "Resolution by direction", "iteration", "Å")
    right.plot(numbers, sphericity, color=GREEN, marker="o", ms=4)
    right.set_ylim(0, 1.05)
    tidy(right, "Sphericity", "iteration", "1 is isotropic")
    for axes in (left, right):
        axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25, axis="y")
    return figure


def logLines(rows):
    """Return what the calls of the correction reported, a line each."""
    lines = []
    for row in rows:
        half = f"half {row['half']}" if row["half"] else "all particles"
        details = [row["reason"], row["role"]]
        if row["resolution_0143"]:
            details.insert(0, f"FSC 0.143 at {float(row['resolution_0143']):.2f} Å")
        details.append(f"{float(row['seconds'] or 0):.1f} s")
        words = _ACTION_WORDS.get(row["action"], row["action"])
        lines.append(
            f"iteration {row['iteration'] or '?':>3}  {half:<13}  {words}  "
            f"({'; '.join(filter(None, details))})"
        )
        if row["message"]:
            lines.append(f"{'':15}{row['message']}")
    return lines
