"""Windows of latents and of the densities that belong to them."""

import time

import numpy as np

from cryodl_plugin.viewers import latent_map
from cryodl_plugin.viewers.figures import DARK, newFigure
from cryodl_plugin.viewers.map_window import MapView
from cryodl_plugin.viewers.windows import FigureView

_FRAME_MILLISECONDS = 250
_PERCENTILES = (1, 99.8)


class LatentView(MapView):
    """A map of latents with a choice of axes and colours."""

    widths = (1.5, 1)
    saveLabel = "Save as new set"
    line = None
    """The line that was drawn, while what is chosen is what lies in it and nothing else."""

    def drawn(self, corners):
        """Choose what the line goes around, and keep it."""
        first = not self.model.count()
        super().drawn(corners)
        inside = self.model.inside(corners)
        alone = first and len(corners) > 2 and (inside == self.model.chosen).all()
        self.line = list(corners) if alone else None

    def toggle(self, cluster):
        """Choose a cluster, or not, as its button says."""
        self.line = None
        super().toggle(cluster)

    def clear(self):
        """Choose nothing."""
        self.line = None
        super().clear()

    def invert(self):
        """Choose the others."""
        self.line = None
        super().invert()

    def drawMap(self):
        """Draw the particles."""
        latent_map.drawLatents(self.axes, self.model)

    def drawChosen(self):
        """Draw what is chosen."""
        latent_map.drawChosen(self.pictures, self.model)

    def _addControls(self, tk):
        super()._addControls(tk)
        from tkinter import ttk

        frame = tk.Frame(self.window, background="white")
        frame.pack(side=tk.TOP, fill=tk.X, padx=12, pady=(6, 0))
        model, self.choices = self.model, {}
        for name, values, chosen in (
            ("across", model.axisChoices(), model.x),
            ("up", model.axisChoices(), model.y),
            ("colour", model.colorChoices(), model.colorBy),
        ):
            tk.Label(frame, text=name, background="white").pack(side=tk.LEFT, padx=(0, 4))
            box = ttk.Combobox(frame, values=values, state="readonly", width=14)
            box.set(chosen)
            box.bind("<<ComboboxSelected>>", lambda _event: self.choose())
            box.pack(side=tk.LEFT, padx=(0, 16))
            self.choices[name] = box

    def choose(self):
        """Show the axes and colours that were chosen."""
        self.line = None  # it belongs to the other axes
        self.model.setAxes(self.choices["across"].get(), self.choices["up"].get())
        self.model.colorBy = self.choices["colour"].get()
        self.refresh()


class SeriesView(FigureView):
    """Densities of a series: slices of one of them, and the next and the next as a movie.

    Parameters
    ----------
    volumes : dict
        Label -> (n, n, n).
    title : str
        Of the window.
    parent : tkinter widget, optional
        Without one the window runs a main loop of its own.
    """

    def __init__(self, volumes, title, parent=None):
        super().__init__(newFigure(10.5, 4.6), title, parent)
        self.names, self.volumes = list(volumes), list(volumes.values())
        self.number, self.forward, self.images = 0, 1, []
        self.position = self.volumes[0].shape[0] // 2
        self.range = np.percentile(np.stack(self.volumes), _PERCENTILES)
        sums = [v.sum(axis=1) for v in self.volumes]
        self.sumRange = np.percentile(np.stack(sums), _PERCENTILES)
        self.draw()

    def _panels(self):
        """Return words, image and range of grey of each panel."""
        volume = self.volumes[self.number]
        return (
            (f"across z, slice {self.position}", volume[self.position], self.range),
            ("across y, the middle", volume[:, volume.shape[1] // 2], self.range),
            ("sum along y", volume.sum(axis=1), self.sumRange),
        )

    def draw(self):
        """Show the density whose turn it is; only what changes is drawn anew."""
        if not self.images:
            for axes, (_, image, (low, high)) in zip(self.figure.subplots(1, 3), self._panels()):
                high = max(high, low + 1e-9)
                shown = axes.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")
                axes.set_xticks([])
                axes.set_yticks([])
                self.images.append(shown)
        for shown, (words, image, _) in zip(self.images, self._panels()):
            shown.set_data(image)
            shown.axes.set_title(words, fontsize=10, color=DARK)
        words = f"{self.names[self.number]}   ({self.number + 1} of {len(self.names)})"
        self.figure.suptitle(words, fontsize=12, color=DARK)

    def step(self):
        """Go to the next density, to and fro."""
        if len(self.volumes) > 1:
            if not 0 <= self.number + self.forward < len(self.volumes):
                self.forward = -self.forward
            self.number += self.forward
        self.draw()

    def _addControls(self, tk):
        frame = tk.Frame(self.window, background="white")
        frame.pack(side=tk.BOTTOM, fill=tk.X, padx=12, pady=4)
        self.play = tk.BooleanVar(self.window, False)
        tk.Checkbutton(
            frame, text="movie", variable=self.play, command=self._tick, background="white"
        ).pack(side=tk.LEFT, padx=(0, 16))
        last = self.volumes[0].shape[0] - 1
        for name, value, most in (
            ("density", self.number, len(self.volumes) - 1),
            ("slice", self.position, last),
        ):
            slider = tk.Scale(
                frame, from_=0, to=most, orient=tk.HORIZONTAL, label=name, background="white"
            )
            slider.set(value)
            slider.configure(command=lambda value, name=name: self._moved(name, int(float(value))))
            slider.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=(0, 12))
            setattr(self, f"{name}Slider", slider)

    def _moved(self, name, value):
        old = (self.number, self.position)
        if name == "density":
            self.number = value
        else:
            self.position = value
        if old != (self.number, self.position):
            self.draw()
            self.canvas.draw_idle()

    def _tick(self):
        if not self.play.get():
            return
        begun = time.monotonic()
        self.step()
        self.canvas.draw()
        self.densitySlider.set(self.number)
        # Where drawing takes longer than a frame there must be time for everything else.
        spent = round(1000 * (time.monotonic() - begun))
        self.window.after(_FRAME_MILLISECONDS + 2 * spent, self._tick)
