"""Figures of the picker: training, scores, labelled particles."""

import numpy as np

from cryodl_plugin.convert.maps import plainName
from cryodl_plugin.viewers import figures
from cryodl_plugin.viewers.figures import BLUE, GREEN, GREY, ORANGE, tidy

_HELD_OUT = {"recall": BLUE, "precision": ORANGE, "threshold": GREY}
_NO_LOSS = (*_HELD_OUT, "expected_error")
_BINS = 50
_CYCLE = (BLUE, GREEN, "#8b5bb5", "#b23a48")
_MOST_BOXES = 60


def drawTraining(figure, rows, progress):
    """Draw the losses, and beside them what the held-out labels say after each epoch."""
    figure.clear()
    losses = [{k: v for k, v in row.items() if k not in _NO_LOSS} for row in rows]
    validated = [row for row in rows if "recall" in row]
    left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1))
    figures.drawLoss(left, losses, {})
    axes = right.subplots()
    for name, color in _HELD_OUT.items():
        points = [(row.get("epoch", i + 1), row[name]) for i, row in enumerate(validated)]
        if points:
            style = "--" if name == "threshold" else "-"
            axes.plot(*zip(*points), color=color, ls=style, marker="o", ms=3, label=name)
    tidy(axes, "Expected on held-out labels", "epoch")
    axes.set_ylim(0, 1.03)
    axes.grid(alpha=0.25)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if validated:
        axes.legend(fontsize=9, frameon=False)
    else:
        axes.text(0.5, 0.5, "no validation yet", ha="center", color=GREY, fontsize=12)
        axes.set_xlim(0, 1)
    done = progress.get("fraction", 0) if progress else 1
    if done < 1:
        figure.suptitle(f"{100 * done:.0f} % done   {progress.get('note', '')}", fontsize=11)
    return figure


def drawScores(figure, scores, threshold):
    """Draw how many maxima have which score, and which are picks.

    Parameters
    ----------
    figure : Figure
        Drawn anew.
    scores : dict
        Kind -> scores of all maxima of the heat maps.
    threshold : float or dict
        Of all kinds, or kind -> its own.
    """
    figure.clear()
    axes = figure.subplots()
    edges = np.linspace(0, 1, _BINS + 1)
    for (kind, values), color in zip(scores.items(), _CYCLE * len(scores)):
        own = threshold.get(kind, 0.5) if isinstance(threshold, dict) else threshold
        values = np.asarray(values, float)
        count = int((values > own).sum())
        name = f"{kind}: " if kind else ""
        axes.hist(values, edges, color=color, alpha=0.25)
        label = f"{name}{count} of {len(values)} above {own:.2f}"
        axes.hist(values[values > own], edges, color=color, alpha=0.8, label=label)
        axes.axvline(own, color=ORANGE, lw=1.8)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    tidy(axes, "" if scores else "Maxima of the score maps", "score", "number")
    if scores:  # above the bars, which may be high anywhere
        axes.legend(
            title="Maxima of the score maps",
            fontsize=10,
            frameon=False,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=2,
        )
    return figure


def meanBox(places, files, halfPx, seed=0):
    """Return the mean of boxes around points, [z, y, x], and how many there were.

    Parameters
    ----------
    places : dict
        Name -> (n, 3) points x, y, z in voxels.
    files : dict
        Name -> MRC file.
    halfPx : int
        The box is ``2 halfPx + 1`` voxels.
    seed : int
        Of the choice where there are many points.
    """
    import mrcfile

    every = [(name, point) for name, points in places.items() for point in points]
    random = np.random.default_rng(seed)
    if len(every) > _MOST_BOXES:
        every = [every[i] for i in random.choice(len(every), _MOST_BOXES, replace=False)]
    total, count = np.zeros((2 * halfPx + 1,) * 3, np.float64), 0
    for name in dict.fromkeys(name for name, _ in every):
        with mrcfile.mmap(plainName(files[name]), permissive=True) as mrc:
            for _, point in (entry for entry in every if entry[0] == name):
                z, y, x = np.round(point).astype(int)[::-1]
                index = [np.arange(c - halfPx, c + halfPx + 1) for c in (z, y, x)]
                inside = [np.clip(i, 0, n - 1) for i, n in zip(index, mrc.data.shape)]
                low = [int(i[0]) for i in inside]
                box = mrc.data[tuple(slice(i[0], i[-1] + 1) for i in inside)]
                total += np.asarray(box, np.float32)[np.ix_(*(i - j for i, j in zip(inside, low)))]
                count += 1
    return total / max(count, 1), count


def drawDiameter(figure, box, diameterPx, count):
    """Draw the mean of the labelled particles from above and from the side, with a circle."""
    from matplotlib.patches import Circle

    figure.clear()
    middle = box.shape[0] // 2
    slab = slice(middle - 1, middle + 2)
    views = {"from above (x y)": box[slab].mean(0), "from the side (x z)": box[:, slab].mean(1)}
    for axes, (name, image) in zip(figure.subplots(1, 2), views.items()):
        low, high = np.percentile(image, (1, 99))
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
        axes.add_patch(Circle((middle, middle), diameterPx / 2, fill=False, ec=ORANGE, lw=2))
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(f"mean of {count} labelled particles", fontsize=11)
    return figure
