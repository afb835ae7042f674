"""Figures of Autoencoder3D: how many groups, and where particles lie by their codes."""

import numpy as np

from cryodl_plugin.convert.maps import plainName
from cryodl_plugin.viewers.figures import BLUE, GREEN, GREY, ORANGE, tidy

_COLORS = {"code": BLUE, "invariant": ORANGE, "voxels": GREEN, "joint": "#8b5bb5"}
_NAMES = {
    "code": "codes",
    "invariant": "invariants of rotation",
    "voxels": "volumes in their poses",
    "joint": "all three",
}
_COMPONENTS = 6


def drawSweep(figure, trials, clusters):
    """Draw stability and separation of every number of groups that was tried.

    Parameters
    ----------
    figure : Figure
        Drawn anew.
    trials : list of dict
        ``features``, ``clusters``, ``stability``, ``silhouette``.
    clusters : int
        What was taken in the end.
    """
    figure.clear()
    titles = {"stability": "Do both halves agree?", "silhouette": "Are they apart?"}
    for axes, (name, title) in zip(figure.subplots(1, 2), titles.items()):
        for features in dict.fromkeys(trial["features"] for trial in trials):
            own = [trial for trial in trials if trial["features"] == features]
            axes.plot(
                [trial["clusters"] for trial in own],
                [trial[name] for trial in own],
                color=_COLORS.get(features, GREY),
                marker="o",
                ms=4,
                label=_NAMES.get(features, features),
            )
        axes.axvline(clusters, color=GREY, ls="--", lw=1)
        axes.grid(alpha=0.25)
        axes.set_xlim(
            min(axes.get_xlim()[0], clusters - 0.6), max(axes.get_xlim()[1], clusters + 0.6)
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(min(0, axes.get_ylim()[0]), 1.03)
        tidy(axes, title, "groups", name)
    figure.axes[0].legend(fontsize=9, frameon=False)
    return figure


def principalComponents(codes):
    """Return codes (N, d) along their principal components, (N, at most 6)."""
    centred = np.asarray(codes, float) - np.mean(codes, axis=0)
    left, powers, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * powers)[:, :_COMPONENTS]


def mostSure(files):
    """Return the number of the slice across z in which a network is surest, and its chances there.

    Parameters
    ----------
    files : dict
        Class -> map of probability.

    Returns
    -------
    int, ndarray
        Slice, and (classes, y, x).
    """
    import mrcfile

    total = 0
    for path in files.values():
        with mrcfile.mmap(plainName(path), permissive=True) as mrc:
            total = total + np.array([float(np.sum(plane, dtype=np.float64)) for plane in mrc.data])
    z = int(np.argmax(total))
    planes = []
    for path in files.values():
        with mrcfile.mmap(plainName(path), permissive=True) as mrc:
            planes.append(np.array(mrc.data[z], np.float32))
    return z, np.stack(planes)


def drawLevel(figure, plane, chances, level, title):
    """Draw a slice, and over it what is above a probability, colored by the likeliest class."""
    figure.clear()
    low, high = np.percentile(plane, (1, 99))
    anything = chances.sum(axis=0)
    kinds = np.ma.masked_where(anything < level, chances.argmax(axis=0))
    for axes, name in zip(figure.subplots(1, 2), (title, "what is above the probability")):
        axes.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    axes.imshow(kinds, cmap="tab10", vmin=0, vmax=9, alpha=0.55, origin="lower")
    axes.contour(anything, levels=[level], colors=[ORANGE], linewidths=0.8)
    return figure
