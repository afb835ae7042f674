"""The window of the feature map: clusters to choose, a lasso, pictures, and what leaves."""

from cryodl_plugin.viewers import feature_map
from cryodl_plugin.viewers.figures import newFigure
from cryodl_plugin.viewers.windows import FigureView

_NEAR = 0.06  # of the map's half width: how far from a point a click still means its cluster
_FEW_CORNERS = 5


class MapView(FigureView):
    """Map and pictures, with the clusters as buttons below.

    What is drawn can be replaced: `drawMap` on the axes of the map, `drawChosen` on those beside.

    Parameters
    ----------
    model : MapModel
        What is shown.
    title : str
        Of the window.
    parent : tkinter widget, optional
        Without one the window runs a main loop of its own.
    save : callable, optional
        Gets which are chosen, returns what to tell the user; raises ``ValueError`` with words.
    slices : callable, optional
        Gets which are chosen and shows them in their tomograms.
    """

    widths = (1.35, 1)
    saveLabel = "Save as coordinates"

    def __init__(self, model, title, parent=None, save=None, slices=None):
        super().__init__(newFigure(11.5, 6.2), title, parent)
        self.model, self.onSave, self.onSlices = model, save, slices
        self.axes, self.pictures = self.figure.subplots(1, 2, width_ratios=self.widths)
        self.drawMap()
        self.drawChosen()
        self.lasso = None
        self.checks = {}

    def drawMap(self):
        """Draw the map."""
        feature_map.drawMap(self.axes, self.model)

    def drawChosen(self):
        """Draw what is chosen, beside the map."""
        feature_map.drawPictures(self.pictures, self.model, 8)

    def _addControls(self, tk):
        self.status = tk.Label(self.window, anchor="w", background="white")
        self.status.pack(side=tk.BOTTOM, fill=tk.X, padx=12)
        self._addButtons(tk)
        self._addClusters(tk)
        self._shift = False
        self.canvas.mpl_connect("button_press_event", self._pressed)
        self._startLasso()
        self.say("Shift while drawing takes away.")

    def _addButtons(self, tk):
        frame = tk.Frame(self.window, background="white")
        frame.pack(side=tk.BOTTOM, fill=tk.X, padx=12, pady=(2, 4))
        for text, command in (
            ("Choose none", self.clear),
            ("Invert", self.invert),
            ("Show in tomograms", self.showSlices if self.onSlices else None),
            (self.saveLabel, self.save if self.onSave else None),
        ):
            if command is not None:
                button = tk.Button(frame, text=text, command=command)
                button.pack(side=tk.LEFT, padx=(0, 8))

    def _addClusters(self, tk):
        frame = tk.Frame(self.window, background="white")
        frame.pack(side=tk.BOTTOM, fill=tk.X, padx=12, pady=(4, 0))
        for number, (cluster, count) in enumerate(self.model.clusterNumbers().items()):
            value = tk.BooleanVar(self.window, False)
            button = tk.Checkbutton(
                frame,
                text=f"{cluster}: {count}",
                variable=value,
                command=lambda one=cluster: self.toggle(one),
                background="white",
            )
            button.grid(row=number // 12, column=number % 12, sticky="w", padx=(0, 6))
            self.checks[cluster] = value

    def _startLasso(self):
        from matplotlib.widgets import LassoSelector

        self.lasso = LassoSelector(self.axes, self.drawn, useblit=False)

    def _pressed(self, event):
        self._shift = "shift" in (event.modifiers or ())

    # --- what mouse and buttons do ---------------------------------------------------------

    def drawn(self, corners):
        """Choose what the line goes around; a click chooses the cluster under it."""
        spread = max(
            (max(c[i] for c in corners) - min(c[i] for c in corners) for i in (0, 1)), default=0
        )
        if len(corners) < _FEW_CORNERS or spread < _NEAR / 2:
            cluster = self.model.clusterAt(corners[0], _NEAR) if corners else None
            if cluster is not None:
                self.model.setCluster(cluster, not self.model.isChosen(cluster))
        else:
            self.model.lasso(corners, not self._shift)
        self.refresh()

    def toggle(self, cluster):
        """Choose a cluster, or not, as its button says."""
        self.model.setCluster(cluster, self.checks[cluster].get())
        self.refresh()

    def clear(self):
        """Choose nothing."""
        self.model.clear()
        self.refresh()

    def invert(self):
        """Choose the others."""
        self.model.invert()
        self.refresh()

    def refresh(self):
        """Show what is chosen."""
        for cluster, value in self.checks.items():
            value.set(self.model.isChosen(cluster))
        # The axes stay, for the lasso is tied to them.
        self.drawMap()
        self.drawChosen()
        self._startLasso()
        self.canvas.draw_idle()
        self.say(f"{self.model.count()} of {len(self.model.chosen)} chosen.")

    # --- what leaves -----------------------------------------------------------------------

    def save(self):
        """Make a set of what is chosen."""
        try:
            self.say(self.onSave(self.model.chosen))
        except (OSError, ValueError) as error:
            self.say(str(error))

    def showSlices(self):
        """Show what is chosen in its tomograms."""
        self.onSlices(self.model.chosen if self.model.count() else ~self.model.chosen)

    def say(self, words):
        """Write a line at the bottom."""
        self.status.configure(text=words)
