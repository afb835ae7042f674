"""Latents of particles as a map: axes and colours to choose from; without any window."""

import numpy as np
from matplotlib import colormaps

from cryodl_plugin.viewers.feature_map import MapModel, drawPoints
from cryodl_plugin.viewers.figures import BLUE, DARK, GREY, ORANGE

KINDS = ("cluster", "class", "tomogram")
"""Columns that hold kinds, not amounts."""
_WORDS = {
    "beam_angle": "angle to the beam (°)",
    "defocus": "defocus (Å)",
    "misfit": "misfit",
    "held_out": "held out",
}
_NOT_AXES = (*KINDS, "name", "id", "beam_angle", "defocus", "misfit", "held_out")
_PALE = 0.25
_ROOM = 1.08
_MOST_KINDS = 12


class LatentModel(MapModel):
    """Particles by their latents.

    Parameters
    ----------
    columns : dict
        Name -> one value a particle: ``cluster``, axes such as ``pc1``, and what to colour by;
        ``id`` is that of Scipion's item.
    volumes : list of (n, n, n) array, optional
        Density of each cluster.
    """

    def __init__(self, columns, volumes=()):
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        names = self.axisChoices()
        self.x, self.y = names[0], names[min(1, len(names) - 1)]
        self.volumes = list(volumes)
        count = len(self.columns[self.x])
        clusters = self.columns.get("cluster", np.ones(count)).astype(int)
        self.colorBy = "cluster" if "cluster" in self.columns else self.colorChoices()[0]
        super().__init__(np.zeros((count, 2)), clusters, np.zeros((0, 1, 1)))
        self.setAxes(self.x, self.y)

    def axisChoices(self):
        """Return the columns that can be axes."""
        return [name for name in self.columns if name not in _NOT_AXES]

    def colorChoices(self):
        """Return the columns that can be colours; the axes come last."""
        first = [n for n in self.columns if n in _NOT_AXES and n not in ("name", "id")]
        kept = [n for n in first if len(np.unique(self.columns[n])) > 1]
        return kept + self.axisChoices()

    def setAxes(self, x, y):
        """Show two columns; the map runs from -1 to 1 along both."""
        self.x, self.y = x, y
        self.limits = [_limits(self.columns[name]) for name in (x, y)]
        for axis, (name, (low, high)) in enumerate(zip((x, y), self.limits)):
            self.places[:, axis] = 2 * (self.columns[name] - low) / (high - low) - 1

    def corners(self, line):
        """Return a line on the map in the values of the columns."""
        return [
            [
                float(low + (value + 1) / 2 * (high - low))
                for value, (low, high) in zip(p, self.limits)
            ]
            for p in line
        ]

    def ids(self):
        """Return the ids of the chosen particles in Scipion."""
        return [int(i) for i in self.columns["id"][self.chosen]]

    def colors(self):
        """Return a colour for each particle, and the words that explain them."""
        values, words = self.columns[self.colorBy], _WORDS.get(self.colorBy, self.colorBy)
        kinds, numbers = np.unique(values, return_inverse=True)
        if self.colorBy in KINDS or values.dtype.kind in "US":
            shown = [str(k if values.dtype.kind in "US" else int(k)) for k in kinds[:_MOST_KINDS]]
            more = " ..." if len(kinds) > _MOST_KINDS else ""
            return colormaps["tab20"](numbers % 20), list(zip(shown, range(20))), words + more
        low, high = np.percentile(values, (2, 98))
        scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
        return colormaps["viridis"](scaled), [(f"{low:.3g}", 0.0), (f"{high:.3g}", 1.0)], words

    def density(self):
        """Return the density of what is chosen, mixed from those of its clusters, or None."""
        if not self.volumes:
            return None
        clusters = self.clusters[self.chosen] if self.count() else self.clusters
        shares = np.bincount(clusters, minlength=len(self.volumes) + 1)[1:]
        shares = shares[: len(self.volumes)] / max(shares.sum(), 1)
        return sum(share * volume for share, volume in zip(shares, self.volumes))


def drawLatents(axes, model):
    """Draw the particles; what is not chosen is pale once anything is."""
    axes.clear()
    colors, legend, words = model.colors()
    pale = ~model.chosen & (model.count() > 0)
    colors[pale, 3] = _PALE
    size = 26 if len(model.places) < 2000 else 6
    drawPoints(axes, model.places, colors, model.chosen, size)
    if model.colorBy == "cluster":
        for cluster in model.clusterNumbers():
            x, y = np.median(model.places[model.clusters == cluster], axis=0)
            box = {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1}
            axes.text(x, y, str(cluster), ha="center", va="center", color=DARK, bbox=box)
    else:
        chart = colormaps["viridis" if isinstance(legend[0][1], float) else "tab20"]
        for name, place in legend:
            axes.scatter([], [], color=chart(place), s=40, label=name)
        axes.legend(title=words, fontsize=9, title_fontsize=9, framealpha=0.85, loc="best")
    for name, limits, number in ((model.x, axes.set_xlim, 0), (model.y, axes.set_ylim, 1)):
        limits(-_ROOM, _ROOM)
        low, high = model.limits[number]
        ticks = [-1, 0, 1]
        texts = [f"{low + (t + 1) / 2 * (high - low):.3g}" for t in ticks]
        (axes.set_xticks if number == 0 else axes.set_yticks)(ticks, texts, fontsize=9)
        (axes.set_xlabel if number == 0 else axes.set_ylabel)(name, fontsize=10)
    for side in axes.spines.values():
        side.set_color(GREY)
    axes.set_title("click a cluster, or draw around particles", fontsize=11, color=ORANGE)


def drawChosen(axes, model):
    """Draw the density of the chosen particles, or where they lie along the first axis."""
    axes.clear()
    count = model.count()
    words = f"{count} chosen" if count else f"all {len(model.chosen)}"
    density = model.density()
    if density is None:
        values, bins = model.columns[model.x], 24
        limits = model.limits[0]
        axes.hist(values, bins=bins, range=limits, color=GREY, alpha=0.4, label="all")
        axes.hist(values[model.chosen], bins=bins, range=limits, color=BLUE, label="chosen")
        axes.legend(fontsize=9, frameon=False)
        axes.set_xlabel(model.x, fontsize=10)
        axes.set_ylabel("particles", fontsize=10)
        axes.set_title(words, fontsize=11, color=DARK)
        axes.set_aspect("auto")
        axes.axis("on")
        return
    middle = [n // 2 for n in density.shape]
    views = [density[middle[0]], density[:, middle[1]], density[:, :, middle[2]]]
    sums = [density.sum(axis=axis) for axis in range(3)]
    sheet = np.vstack([_row(views), _row(sums)])
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, origin="upper", aspect="equal")
    axes.axis("off")
    axes.set_title(f"{words}: middle slices, and sums below\n(decoded)", fontsize=11, color=DARK)


def _row(images):
    """Return images side by side, from 0 to 1, with white between them."""
    low, high = np.percentile(np.concatenate([i.ravel() for i in images]), (1, 99.7))
    parts = [np.pad((i - low) / max(high - low, 1e-12), 1, constant_values=1.0) for i in images]
    return np.hstack([part[::-1] for part in parts]).clip(0, 1)


def _limits(values):
    low, high = float(np.min(values)), float(np.max(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
