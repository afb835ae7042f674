"""Figures of particles: slices of many side by side, where they look, where they lie."""

import numpy as np

from cryodl_plugin.convert import tomography
from cryodl_plugin.convert.maps import plainName
from cryodl_plugin.viewers.figures import BLUE, DARK, GREY, messageFigure, newFigure, tidy

_ACROSS, _DOWN = 8, 4
_PERCENTILES = (1, 99.5)


def galleryFigure(items, title, slab=3):
    """Return the middle of each subtomogram, a few slices averaged, with its id.

    Parameters
    ----------
    items : list
        (id, file) of each; at most 32 are drawn, spread over the list.
    title : str
        Of the figure.
    slab : int
        Slices that are averaged.
    """
    if not items:
        return messageFigure("no images")
    chosen = [
        items[i] for i in np.unique(np.linspace(0, len(items) - 1, _ACROSS * _DOWN, dtype=int))
    ]
    rows = -(-len(chosen) // _ACROSS)
    figure = newFigure(1.35 * _ACROSS, 1.5 * rows + 0.5)
    places = np.atleast_1d(figure.subplots(rows, _ACROSS)).ravel()
    for axes in places:
        axes.axis("off")
    for axes, (key, path) in zip(places, chosen):
        image = middleSlab(path, slab)
        low, high = np.percentile(image, _PERCENTILES)
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
        axes.set_title(str(key), fontsize=8, color=DARK, pad=2)
    figure.suptitle(f"{title}: {len(chosen)} of {len(items)}", fontsize=11)
    return figure


def middleSlab(path, slab=3):
    """Return the mean of the middle slices across z of an MRC file; reads only these."""
    import mrcfile

    with mrcfile.mmap(plainName(path), permissive=True) as mrc:
        middle = mrc.data.shape[0] // 2
        first = max(middle - slab // 2, 0)
        return np.asarray(mrc.data[first : first + slab], dtype=np.float32).mean(axis=0)


def viewingFigure(transforms, title):
    """Return how often each direction of view and each in-plane turn occurs.

    Parameters
    ----------
    transforms : list of (4, 4) array
        Scipion's matrices.
    title : str
        Of the figure.
    """
    angles = [tomography.matrixToEuler(tomography.transformToPose(one)[0]) for one in transforms]
    if not angles:
        return messageFigure("no particles")
    if not np.any(angles):
        return messageFigure(f"none of these {len(angles)} particles has a pose yet")
    rot, tilt, psi = np.array(angles).T
    figure = newFigure(10, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    left.scatter(rot, tilt, s=14, color=BLUE, alpha=0.6, lw=0)
    left.set_xlim(-180, 180)
    left.set_ylim(180, 0)
    tidy(left, f"Directions of {len(angles)} particles", "rot (°)", "tilt (°)")
    right.hist(psi, bins=np.linspace(-180, 180, 25), color=BLUE, alpha=0.85)
    tidy(right, "Turn in the plane", "psi (°)", "particles")
    figure.suptitle(title, fontsize=11)
    return figure


def placesFigure(positions, size):
    """Return where particles lie in their tomogram, from above and from the side.

    Parameters
    ----------
    positions : (n, 3) array
        (x, y, z) voxels from the first one.
    size : (int, int, int)
        Of the tomogram, (x, y, z).
    """
    positions = np.reshape(positions, (-1, 3))
    figure = newFigure(9.5, 4.6)
    for axes, (one, two) in zip(figure.subplots(1, 2), ((0, 1), (0, 2))):
        axes.scatter(positions[:, one], positions[:, two], s=16, color=BLUE, lw=0)
        axes.set_xlim(0, size[one])
        axes.set_ylim(0, size[two])
        axes.set_aspect("equal")
        axes.grid(alpha=0.2, color=GREY)
        names = "xyz"
        tidy(axes, f"{names[one]}{names[two]}", f"{names[one]} (px)", f"{names[two]} (px)")
    return figure
