"""Figures of aligned and averaged subtomograms, drawn without any window."""

import numpy as np

from cryodl_plugin.viewers.figures import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    ORANGE,
    drawFsc,
    messageFigure,
    newFigure,
    tidy,
)

_MOST_ROUNDS = 8
_PERCENTILES = (0.5, 99.8)
_NOISE_SCORE = 6
_WORDS = {
    "score": ("Score", "units of the noise"),
    "margin": ("Ahead of the next pose", "units of the noise"),
    "confidence": ("Confidence", "probability"),
    "spread": ("Spread by the noise", "degrees about each axis"),
}


def scoresFigure(values):
    """Return a histogram of score, margin, confidence and spread.

    Parameters
    ----------
    values : dict
        See `cryodl_plugin.convert.alignment.poseValues`.
    """
    names = [name for name in _WORDS if name in values]
    if not names:
        return messageFigure("No scores are known of these subtomograms.")
    figure = newFigure(3.2 * max(len(names), 2), 3.6)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names):
        numbers = values[name][np.isfinite(values[name])]
        title, unit = _WORDS[name]
        bins = np.linspace(0, 1, 21) if name == "confidence" else 25
        axes.hist(numbers, bins=bins, color=BLUE, alpha=0.85)
        if name == "score":
            axes.axvspan(0, _NOISE_SCORE, color=GREY, alpha=0.18, lw=0)
            axes.axvline(_NOISE_SCORE, color=GREY, lw=1, ls="--", label="noise reaches here")
            axes.set_xlim(left=0)
            axes.legend(fontsize=8, frameon=False)
        tidy(axes, title, unit, "subtomograms" if axes is figure.axes[0] else "")
    return figure


def directionsFigure(rotations):
    """Return from where particles are seen, on both halves of the sphere in equal areas.

    Parameters
    ----------
    rotations : (n, 3, 3) array
        A of each pose: its last row is the beam in the frame of the reference.
    """
    if not len(rotations):
        return messageFigure("No particle has been aligned yet.")
    beams = np.asarray(rotations)[:, 2]
    figure = newFigure(9.5, 4.8)
    for axes, (name, sign) in zip(figure.subplots(1, 2), (("z upwards", 1), ("z downwards", -1))):
        own = beams[np.where(beams[:, 2] >= 0, 1, -1) == sign]
        stretch = np.sqrt(1 / (1 + np.abs(own[:, 2])))
        axes.scatter(own[:, 0] * stretch, own[:, 1] * stretch, s=14, color=BLUE, alpha=0.55, lw=0)
        around = np.linspace(0, 2 * np.pi, 200)
        axes.plot(np.cos(around), np.sin(around), color=GREY, lw=1)
        for degrees in (30, 60):
            ring = np.sqrt(1 - np.cos(np.radians(degrees)))
            axes.plot(ring * np.cos(around), ring * np.sin(around), color=GREY, lw=0.5, ls=":")
        axes.text(1.12, 0, "x", ha="center", va="center", fontsize=11, color=DARK)
        axes.text(0, 1.12, "y", ha="center", va="center", fontsize=11, color=DARK)
        axes.set_aspect("equal")
        axes.set_xlim(-1.22, 1.22)
        axes.set_ylim(-1.22, 1.22)
        axes.axis("off")
        axes.set_title(f"{name}: {len(own)} of {len(beams)}", fontsize=11, color=DARK)
    figure.suptitle("Beam in the frame of the average, rings every 30 degrees", fontsize=11)
    return figure


def roundsFigure(averages):
    """Return the middle slices across z and y of each average, a column for each.

    Parameters
    ----------
    averages : dict
        Label -> ``(n, n, n)``; of many some are drawn, the last always.
    """
    if not averages:
        return messageFigure("No round has ended yet.")
    labels = list(averages)
    if len(labels) > _MOST_ROUNDS:
        rows = np.unique(np.linspace(0, len(labels) - 1, _MOST_ROUNDS, dtype=int))
        labels = [labels[i] for i in rows]
    figure = newFigure(max(1.6 * len(labels), 4.8), 3.9)
    places = np.reshape(figure.subplots(2, len(labels)), (2, len(labels)))
    for column, label in zip(places.T, labels):
        data = averages[label]
        middle = data.shape[0] // 2
        low, high = np.percentile(data, _PERCENTILES)
        for axes, plane in zip(column, (data[middle], data[:, middle])):
            axes.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-9), origin="lower")
            axes.set_xticks([])
            axes.set_yticks([])
        column[0].set_title(label, fontsize=10, color=DARK)
    places[0, 0].set_ylabel("across z", fontsize=10)
    places[1, 0].set_ylabel("across y", fontsize=10)
    return figure


def progressFigure(rows):
    """Return resolution, score, angular change and classes round by round.

    Parameters
    ----------
    rows : list of dict
        The engine's metrics, one for each round.
    """
    rows = [row for row in rows if row.get("step")]
    if not rows:
        return messageFigure("No round has ended yet.")
    names = sorted({n for row in rows for n in row if n.endswith("_particles")})
    figure = newFigure(13 if names else 11, 3.9)
    places = figure.subplots(1, 4 if names else 3)
    panels = (
        ("resolution", "Resolution", "Å (FSC 0.143)", BLUE),
        ("score", "Median score", "units of the noise", GREEN),
        ("change_degrees", "Median turn", "degrees", ORANGE),
    )
    for axes, (name, title, unit, color) in zip(places, panels):
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        axes.plot(*zip(*points), color=color, marker="o", ms=4, lw=1.8)
        tidy(axes, title, "round", unit)
    places[0].invert_yaxis()
    if min(row["change_degrees"] for row in rows) > 0:
        places[2].set_yscale("log")
        # Plain numbers, and as few as a decade or two needs.
        places[2].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        places[2].yaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else ""
        )
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        label = name.removesuffix("_particles").replace("class", "class ")
        places[3].plot(*zip(*points), marker="o", ms=4, lw=1.5, label=label)
    if names:
        places[3].set_ylim(bottom=0)
        places[3].legend(fontsize=9, frameon=False)
        tidy(places[3], "Classes", "round", "subtomograms")
    for axes in places:
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def fscFigure(final, byRound):
    """Return the curves of the result beside those of the rounds: label -> (frequency, values)."""
    figure = newFigure(12, 4.6)
    left, right = figure.subplots(1, 2)
    drawFsc(left, final, "Half sets that never met")
    drawFsc(right, byRound, "Corrected for the mask, round by round")
    return figure


def changeFigure(angles, shifts, title):
    """Return histograms of how far particles were turned and moved."""
    figure = newFigure(9, 3.8)
    left, right = figure.subplots(1, 2)
    for axes, values, name, unit in (
        (left, angles, "Turned", "degrees"),
        (right, shifts, "Moved", "px"),
    ):
        axes.hist(values, bins=25, color=BLUE, alpha=0.85)
        median = float(np.median(values))
        axes.axvline(median, color=ORANGE, lw=1.8, label=f"median {median:.2g}")
        axes.legend(fontsize=9, frameon=False)
        tidy(axes, name, unit, "subtomograms" if axes is left else "")
    figure.suptitle(title, fontsize=11)
    return figure
