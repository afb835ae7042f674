"""The three views of a tomogram: plain matplotlib, drawn without any window."""

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from cryodl_plugin.viewers.slices.model import COLOR_SCORE
from cryodl_plugin.viewers.slices.source import SourceError

PLAIN_COLOR = (1.0, 0.82, 0.1)
HAND_COLOR = (0.25, 0.95, 0.45)
CROSS_COLOR = "#4fb3ff"
BACKGROUND = "#1b2027"
_WORDS_COLOR = "#c3ccd8"
_GAP, _EDGE = 8, 10
_THINNEST = 24
_SMALLEST_SIDE_VIEW = 2
_CLASS_COLORS, _SCORE_COLORS, _OVERLAY_COLORS = "tab10", "plasma", "autumn"
_PANELS = {0: (0, 1), 1: (0, 2), 2: (2, 1)}
"""Array axis across which a panel looks -> its horizontal and vertical axis (0 x, 1 y, 2 z)."""


class SliceDrawing:
    """Draws a `SliceModel` into a figure; `update` draws anew only what has changed.

    The view across z is at the left top, that across y under it and that across x at its right, all
    in one scale, so that a thing lies in one line in all of them.
    """

    def __init__(self, model, figure=None):
        self.model = model
        self.figure = figure or Figure(figsize=(8, 7.6), dpi=100)
        self.figure.set_facecolor(BACKGROUND)
        self.sideViews = True
        self.axes, self._parts, self._held = {}, {}, {}
        for axis in _PANELS:
            self._addPanel(axis)
        self._words = self.figure.text(
            0.5, 0.5, "", color=_WORDS_COLOR, ha="center", va="center", fontsize=12, wrap=True
        )
        self.layout()

    def _addPanel(self, axis):
        axes = self.figure.add_axes((0, 0, 1, 1), facecolor="black")
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        empty = np.zeros((1, 1, 4), np.uint8)
        style = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
        self.axes[axis] = axes
        self._parts[axis] = {
            "image": axes.imshow(np.zeros((1, 1), np.float32), cmap="gray", **style),
            "overlay": axes.imshow(empty, zorder=1, **style),
            "circles": None,
            "dots": axes.scatter([], [], s=6, linewidths=0, zorder=4),
            "across": axes.axhline(0, color=CROSS_COLOR, lw=0.8, alpha=0.75),
            "up": axes.axvline(0, color=CROSS_COLOR, lw=0.8, alpha=0.75),
            "title": axes.text(
                0.008,
                0.985,
                "",
                transform=axes.transAxes,
                color=_WORDS_COLOR,
                fontsize=9,
                va="top",
                bbox={"facecolor": BACKGROUND, "alpha": 0.6, "lw": 0, "pad": 2},
                zorder=6,
            ),
        }

    # --- where -----------------------------------------------------------------------------

    def panels(self):
        """Return the array axes whose views are shown; a single slice has no side views."""
        if self.model.source is None:
            return []
        side = self.sideViews and self.model.size()[2] > _SMALLEST_SIDE_VIEW
        return [0, 1, 2] if side else [0]

    def layout(self):
        """Place the panels for the present size of the figure and of the tomogram."""
        width, height = self.figure.get_size_inches() * self.figure.dpi
        shown = self.panels()
        for axis, axes in self.axes.items():
            axes.set_visible(axis in shown)
        self._words.set_text("" if shown else self.model.problem)
        if not shown:
            return
        nx, ny, nz = (float(n) for n in self.model.size())
        roomX, roomY = width - 2 * _EDGE, height - 2 * _EDGE
        thick = 0.0
        if len(shown) > 1:
            scale = min((roomX - _GAP) / (nx + nz), (roomY - _GAP) / (ny + nz))
            thick = max(nz * scale, _THINNEST)
            roomX, roomY = roomX - _GAP - thick, roomY - _GAP - thick
        scale = max(min(roomX / nx, roomY / ny), 1e-3)
        wide, high = nx * scale, ny * scale
        total = wide + thick + (_GAP if thick else 0), high + thick + (_GAP if thick else 0)
        left, top = (width - total[0]) / 2, (height + total[1]) / 2
        places = {
            0: (left, top - high, wide, high),
            1: (left, top - high - _GAP - thick, wide, thick),
            2: (left + wide + _GAP, top - high, thick, high),
        }
        for axis in shown:
            x, y, w, h = places[axis]
            self.axes[axis].set_position((x / width, y / height, w / width, h / height))
        self._held.clear()

    def placeAt(self, axes, x, y):
        """Return (x, y, z) in voxels of a point in a panel, the third from the crosshair."""
        axis = next((a for a, one in self.axes.items() if one is axes and one.get_visible()), None)
        if axis is None or x is None or y is None:
            return None
        place = self.model.position.astype(float)
        across, up = _PANELS[axis]
        place[across], place[up] = x, y
        return place

    # --- what ------------------------------------------------------------------------------

    def update(self, sides=True):
        """Draw the model as it is now; `sides` False leaves the images of the side views."""
        model = self.model
        for axis in self.panels():
            parts, axes = self._parts[axis], self.axes[axis]
            across, up = _PANELS[axis]
            axes.set_xlim(model.limits(across))
            axes.set_ylim(model.limits(up))
            if axis == 0 or sides:
                self._drawImage(axis, parts)
                self._drawOverlay(axis, parts)
            self._drawPoints(axis, parts, across, up)
            parts["across"].set_ydata([model.position[up]] * 2)
            parts["up"].set_xdata([model.position[across]] * 2)
            for name in ("across", "up"):
                parts[name].set_visible(len(self.panels()) > 1)
            parts["title"].set_text(self._title(axis))

    def _title(self, axis):
        model = self.model
        place, last = model.position[2 - axis], model.size()[2 - axis]
        if axis:
            return f"{'zyx'[axis]} {place + 1}"
        words = f"{model.entry.tsId}   z {place + 1} of {last}"
        return words + (f"   mean of {model.thickness} slices" if model.thickness > 1 else "")

    def _drawImage(self, axis, parts):
        model = self.model
        low, high = model.contrast()
        most = self._pixels(axis)
        # The side views stay as they are while one scrolls: their planes are costly to read.
        key = (
            model.entry.tsId,
            int(model.position[2 - axis]),
            model.thickness if axis == 0 else 0,
            *(round(v, 2) for i in range(3) for v in model.limits(i)),
            most,
        )
        if self._held.get(axis, (None,))[0] != key:
            image, extent = _turned(axis, *model.image(axis, most))
            self._held[axis] = (key, image)
            parts["image"].set_data(image)
            parts["image"].set_extent(extent)
        parts["image"].set_cmap("gray" if low < high else "gray_r")
        parts["image"].set_clim(*sorted((low, high)))

    def _pixels(self, axis):
        """Return how many pixels a panel has along its longer side: no more are read."""
        box = self.axes[axis].get_position()
        width, height = self.figure.get_size_inches() * self.figure.dpi
        return int(min(max(box.width * width, box.height * height, 128), 1400))

    def _drawOverlay(self, axis, parts):
        try:
            found = self.model.overlay(axis, self._pixels(axis))
            limits = self.model.overlayRange() if found else None
        except SourceError:
            found = None
        parts["overlay"].set_visible(found is not None)
        if found is None:
            return
        (image, extent), (low, high) = _turned(axis, *found), limits
        share = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
        colors = colormaps[_OVERLAY_COLORS](share, bytes=True)
        colors[..., 3] = (255 * self.model.opacity * np.sqrt(share)).astype(np.uint8)
        parts["overlay"].set_data(colors)
        parts["overlay"].set_extent(extent)

    def _drawPoints(self, axis, parts, across, up):
        numbers, xyz, strength = self.model.visible(axis)
        colors = self.colorsOf(numbers, strength)
        places = xyz[:, [across, up]]
        if parts["circles"] is not None:
            parts["circles"].remove()
        size = np.full(len(numbers), self.model.boxSize())
        parts["circles"] = EllipseCollection(
            size,
            size,
            np.zeros(len(numbers)),
            units="xy",
            offsets=places,
            offset_transform=self.axes[axis].transData,
            facecolors="none",
            edgecolors=colors,
            linewidths=1.4,
            zorder=3,
        )
        self.axes[axis].add_collection(parts["circles"], autolim=False)
        parts["dots"].set_offsets(places)
        parts["dots"].set_facecolors(colors)

    def colorsOf(self, numbers, strength):
        """Return the colours (n, 4) of points: by value, green if by hand, faint if far."""
        model = self.model
        colors = np.tile(np.array((*PLAIN_COLOR, 1.0)), (len(numbers), 1))
        values = model.colorValues(numbers)
        if values is not None and len(numbers):
            if model.colorBy == COLOR_SCORE:
                low, high = model.points.scoreRange()
                known = np.nan_to_num((values - low) / max(high - low, 1e-12))
                colors = colormaps[_SCORE_COLORS](0.35 + 0.65 * np.clip(known, 0, 1))
            else:
                colors = colormaps[_CLASS_COLORS](values.astype(int) % 10)
        colors[model.points.ids[numbers] == 0, :3] = HAND_COLOR
        colors[:, 3] = strength
        return colors


def _turned(axis, image, extent):
    """Return an image as its panel shows it: the view across x has z along the horizontal."""
    if axis != 2:
        return image, extent
    return image.T, (*extent[2:], *extent[:2])
