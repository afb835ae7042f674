"""The controls beside the slices. They speak to the window by its methods and show its model."""

import tkinter as tk
from tkinter import ttk

import numpy as np

WIDTH = 268
MODE_LOOK, MODE_ADD, MODE_REMOVE = "look", "add", "remove"
_BARS = 48
_BAR_HEIGHT = 34
_ACCENT, _PALE, _MUTED = "#2563a8", "#c4ccd6", "#5d6875"
_MOST_THICKNESS = 30


def styled(widget):
    """Give ttk the one look of these windows; returns the background colour."""
    style = ttk.Style(widget)
    background = "#f3f4f6"
    for kind in ("TFrame", "TLabel", "TCheckbutton", "TRadiobutton", "TScale", "Horizontal.TScale"):
        style.configure(f"Slices.{kind}", background=background)
    style.configure("Slices.Horizontal.TScale", background=background)
    style.configure("Title.Slices.TLabel", background=background, foreground=_ACCENT)
    style.configure("Muted.Slices.TLabel", background=background, foreground=_MUTED)
    return background


class Slider:
    """A slider with its name on the left and its value on the right."""

    def __init__(self, parent, name, limits, value, command, words="{:.0f}"):
        self.words, self.command, self._silent = words, command, False
        row = ttk.Frame(parent, style="Slices.TFrame")
        row.pack(fill=tk.X, pady=1)
        ttk.Label(row, text=name, width=10, style="Slices.TLabel").pack(side=tk.LEFT)
        self.value = ttk.Label(row, width=7, anchor=tk.E, style="Slices.TLabel")
        self.value.pack(side=tk.RIGHT)
        self.scale = ttk.Scale(
            row,
            from_=limits[0],
            to=limits[1],
            command=self._moved,
            style="Slices.Horizontal.TScale",
        )
        self.scale.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=4)
        self.show(value)

    def _moved(self, value):
        self.value.configure(text=self.words.format(float(value)))
        if not self._silent:
            self.command(float(value))

    def show(self, value, limits=None, words=None):
        """Move the slider without calling anybody."""
        self._silent = True
        if limits is not None:
            self.scale.configure(from_=limits[0], to=limits[1])
        self.scale.set(value)
        self.value.configure(text=words or self.words.format(float(value)))
        self._silent = False

    def enable(self, able):
        """Make it grey or not."""
        self.scale.state(["!disabled" if able else "disabled"])


class ControlPanel:
    """Everything right of the slices, in sections from top to bottom."""

    def __init__(self, parent, window):
        self.window, self.model = window, window.model
        background = styled(parent)
        self.frame = ttk.Frame(parent, width=WIDTH, style="Slices.TFrame")
        self.frame.pack_propagate(False)
        self.buttons = ttk.Frame(self.frame, style="Slices.TFrame", padding=(10, 4, 10, 8))
        self.buttons.pack(side=tk.BOTTOM, fill=tk.X)
        self.body = self._scrolled(background)
        self._addTomogram()
        self._addSlices()
        self._addContrast()
        self._addPoints()
        self._addOverlay()
        self._addButtons()
        self.refresh()

    def _scrolled(self, background):
        """Return a frame that scrolls where the window is too low for all of it."""
        view = tk.Canvas(self.frame, background=background, highlightthickness=0, width=WIDTH)
        bar = ttk.Scrollbar(self.frame, orient=tk.VERTICAL, command=view.yview)
        view.configure(yscrollcommand=bar.set)
        view.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        body = ttk.Frame(view, style="Slices.TFrame", padding=(10, 2, 10, 2))
        item = view.create_window(0, 0, window=body, anchor=tk.NW)

        def fit(_event=None):
            view.configure(scrollregion=(0, 0, 1, body.winfo_reqheight()))
            view.itemconfigure(item, width=view.winfo_width())
            if body.winfo_reqheight() > view.winfo_height() > 1:
                bar.pack(side=tk.RIGHT, fill=tk.Y, before=view)
            else:
                bar.pack_forget()

        body.bind("<Configure>", fit)
        view.bind("<Configure>", fit)
        return body

    def _section(self, title):
        line = ttk.Frame(self.body, style="Slices.TFrame")
        line.pack(fill=tk.X, pady=(8, 1))
        ttk.Label(line, text=title, style="Title.Slices.TLabel").pack(side=tk.LEFT)
        ttk.Separator(line).pack(side=tk.LEFT, fill=tk.X, expand=True, padx=(6, 0))
        return self.body

    def _row(self, parent):
        row = ttk.Frame(parent, style="Slices.TFrame")
        row.pack(fill=tk.X, pady=1)
        return row

    def _choice(self, row, label, command):
        """Return a list to choose from, with its name on the left."""
        ttk.Label(row, text=label, width=10, style="Slices.TLabel").pack(side=tk.LEFT)
        box = ttk.Combobox(row, state="readonly", width=8)
        box.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=(4, 0))
        box.bind("<<ComboboxSelected>>", lambda _event: command(box.get()))
        return box

    def _check(self, row, text, value, command):
        variable = tk.BooleanVar(row, value)
        ttk.Checkbutton(
            row, text=text, variable=variable, command=command, style="Slices.TCheckbutton"
        ).pack(side=tk.LEFT)
        return variable

    # --- sections --------------------------------------------------------------------------

    def _addTomogram(self):
        body = self._section("Tomogram")
        row = self._row(body)
        ttk.Button(row, text="<", width=2, command=lambda: self.window.nextTomogram(-1)).pack(
            side=tk.LEFT
        )
        self.tomogram = ttk.Combobox(
            row, state="readonly", values=[e.tsId for e in self.model.entries], width=8
        )
        self.tomogram.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=3)
        self.tomogram.bind(
            "<<ComboboxSelected>>", lambda _event: self.window.chooseTomogram(self.tomogram.get())
        )
        ttk.Button(row, text=">", width=2, command=lambda: self.window.nextTomogram(1)).pack(
            side=tk.LEFT
        )
        self.details = ttk.Label(body, style="Muted.Slices.TLabel")
        self.details.pack(anchor=tk.W)

    def _addSlices(self):
        body = self._section("Slices")
        self.z = Slider(body, "Slice z", (0, 1), 0, self.window.moveToZ)
        self.z.words = "{:.0f}"
        self.thickness = Slider(body, "Mean of", (1, 2), 1, self.window.setThickness)
        row = self._row(body)
        self.sides = self._check(row, "Side views", True, self.window.toggleSides)
        ttk.Button(row, text="Whole view", command=self.window.resetView).pack(side=tk.RIGHT)

    def _addContrast(self):
        body = self._section("Contrast (percentiles)")
        low, high = self.model.percentiles
        words = "{:.1f} %"
        self.low = Slider(body, "Black", (0, 50), low, self._contrastMoved, words)
        self.high = Slider(body, "White", (50, 100), high, self._contrastMoved, words)
        self.inverted = self._check(self._row(body), "Inverted", False, self._contrastMoved)

    def _contrastMoved(self, _value=None):
        self.window.setContrast(self.low.scale.get(), self.high.scale.get(), self.inverted.get())

    def _addPoints(self):
        body = self._section("Points")
        self.bars = tk.Canvas(body, height=_BAR_HEIGHT, highlightthickness=0, background="white")
        self.bars.pack(fill=tk.X, pady=(2, 0))
        self.bars.bind("<Configure>", lambda _event: self.drawBars())
        self.threshold = Slider(
            body, "Score from", (0, 1), 0, lambda v: self.window.setThreshold(v), "{:.3g}"
        )
        self.count = ttk.Label(body, style="Slices.TLabel")
        self.count.pack(anchor=tk.W)
        self.color = self._choice(self._row(body), "Colour by", self.window.setColor)
        self.box = Slider(body, "Circle (px)", (2, 100), 20, self.window.setBoxSize)
        self.mode = tk.StringVar(body, MODE_LOOK)
        row = self._row(body)
        for mode, text in ((MODE_LOOK, "Look"), (MODE_ADD, "Add"), (MODE_REMOVE, "Remove")):
            ttk.Radiobutton(
                row, text=text, variable=self.mode, value=mode, style="Slices.TRadiobutton"
            ).pack(side=tk.LEFT, padx=(0, 8))
        row = self._row(body)
        self.shown = self._check(row, "Shown", True, self.window.togglePoints)
        self.undo = ttk.Button(row, text="Undo", command=self.window.undo)
        self.undo.pack(side=tk.RIGHT)

    def _addOverlay(self):
        body = self._section("Mask or score map")
        self.overlay = self._choice(self._row(body), "Shown", self.window.setOverlay)
        self.opacity = Slider(
            body, "Opacity", (0, 1), self.model.opacity, self.window.setOpacity, "{:.2f}"
        )

    def _addButtons(self):
        window = self.window
        grid = (
            [("Save as new set", window.save)] if window.onSave else [],
            [("Export text", window.export), ("Help", window.help)],
            [(name, lambda one=name: window.tool(one)) for name in window.tools],
        )
        for line in grid:
            row = self._row(self.buttons)
            for text, command in line:
                button = ttk.Button(row, text=text, command=command)
                button.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=1)
                if command == window.save:
                    self.saveButton = button

    # --- showing ---------------------------------------------------------------------------

    def refresh(self):
        """Show the model as it is now."""
        model = self.model
        if model.entry is not None:
            self.tomogram.set(model.entry.tsId)
            x, y, z = model.size()
            words = f"{x} x {y} x {z}, {model.entry.sampling:.2f} Å/px" if model.source else ""
            self.details.configure(text=words or "cannot be shown")
        last = max(int(model.size()[2]) - 1, 0)
        z = int(model.position[2])
        self.z.show(z, (0, max(last, 1)), str(z + 1))
        self.z.enable(last > 0)
        most = max(2, min(_MOST_THICKNESS, last + 1))
        self.thickness.show(model.thickness, (1, most), str(model.thickness))
        self.thickness.enable(last > 0)
        self.low.show(model.percentiles[0])
        self.high.show(model.percentiles[1])
        self._refreshPoints()
        overlays = list(model.entry.overlays) if model.entry else []
        self.overlay.configure(values=[*overlays, "none"] if overlays else [])
        self.overlay.set((model.overlayName or "none") if overlays else "")
        self.overlay.state(["!disabled" if overlays else "disabled"])
        self.opacity.enable(bool(overlays))

    def refreshZ(self):
        """Show the slice's number only, for quick scrolling."""
        z = int(self.model.position[2])
        self.z.show(z, words=str(z + 1))

    def _refreshPoints(self):
        model = self.model
        scored = model.points.hasScores()
        low, high = model.points.scoreRange() if scored else (0, 1)
        value = low if model.points.threshold is None else model.points.threshold
        self.threshold.show(value, (low, high), None if scored else "none")
        self.threshold.enable(scored)
        self.refreshCount()
        self.color.configure(values=model.colorChoices())
        self.color.set(model.colorBy)
        box = model.boxSize()
        self.box.show(box, (2, max(100, 2 * box)), f"{box:.0f}")
        self.drawBars()

    def refreshCount(self):
        """Show how many points there are."""
        here, shown, every = self.model.counts()
        words = f"{shown} of {every} shown, {here} here"
        self.count.configure(text=words if every else "add some with a or in mode Add")
        self.undo.state(["!disabled" if self.model.points.canUndo() else "disabled"])
        if hasattr(self, "saveButton"):
            self.saveButton.state(["!disabled" if shown else "disabled"])

    def drawBars(self):
        """Draw how many points have which score; those below the threshold are pale."""
        self.bars.delete("all")
        points = self.model.points
        width = self.bars.winfo_width()
        if not points.hasScores() or width < 2:
            words = "points have no scores" if len(points) else "no points yet"
            self.bars.create_text(width // 2, _BAR_HEIGHT // 2, text=words, fill=_MUTED)
            return
        low, high = points.scoreRange()
        known = points.scores[points.alive & np.isfinite(points.scores)]
        counts, edges = np.histogram(known, _BARS, (low, high))
        heights = np.sqrt(counts / max(counts.max(), 1)) * (_BAR_HEIGHT - 3)
        for i, height in enumerate(heights):
            left, right = i * width / _BARS, (i + 1) * width / _BARS - 1
            passes = points.threshold is None or edges[i + 1] > points.threshold
            self.bars.create_rectangle(
                left,
                _BAR_HEIGHT - height,
                max(right, left + 1),
                _BAR_HEIGHT,
                fill=_ACCENT if passes else _PALE,
                width=0,
            )
