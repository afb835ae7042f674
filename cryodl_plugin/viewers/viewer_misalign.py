"""Views of a refinement with misalignment correction; most of them while it runs."""

import os

from pyworkflow.viewer import View

from cryodl_plugin import convert
from cryodl_plugin.constants import FSC_THRESHOLD, MEAN_COSINE_THRESHOLD
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.protocols import CryoDLProtMisalignRefine
from cryodl_plugin.viewers import figures, misalign_figures
from cryodl_plugin.viewers.base import CryoDLViewerBase
from cryodl_plugin.viewers.windows import SlicesView, chimeraView

_COLUMNS, _LINES = 142, 32


class CryoDLViewerMisalignRefine(CryoDLViewerBase):
    """Iterations, directions, what the network did, maps."""

    _label = "viewer of refinement with misalignment correction"
    _targets = [CryoDLProtMisalignRefine]
    _rows = {
        "Results": [
            (
                "showIterations",
                "Resolution and angles by iteration",
                "RELION's own resolution and that at FSC 0.143, the accuracy of the angles, the "
                "sampling, and where the network worked. Shows what there is while it runs.",
            ),
            (
                "showAngles",
                "Angular distribution",
                "How many particles show which view, in the newest iteration.",
            ),
            (
                "showFscs",
                "FSC by iteration",
                "RELION's FSC of some iterations and of the final half maps.",
            ),
            (
                "showLog",
                "What the network did",
                "A line for each call: whether the start was reached, what was given back, and "
                "what went wrong.",
            ),
            (
                "showWeights",
                "Resolution by direction and sphericity",
                "By iteration, of the weight that the correction worked with, where it did.",
            ),
            (
                "showDirections",
                "Directional histogram of the final map",
                "How many directions of the final half maps reach which resolution, and where "
                "they are; sphericity is in the summary.",
            ),
            (
                "showMaps",
                "Slices",
                "The reference, the mean of the half maps that the particles were last aligned "
                "to, and RELION's own map of all particles.",
            ),
            ("showChimera", "Final map in ChimeraX", "RELION's own map. Needs ChimeraX."),
        ],
    }

    def _folder(self):
        return self.protocol.refineFolder()

    def viewIterations(self):
        """Return resolution and angles by iteration."""
        figure = misalign_figures.iterationsFigure(
            results.readIterations(self._folder()),
            self.protocol.startResolution.get(),
            self.protocol.startHealpix.get(),
        )
        return self.showFigure(figure, "Iterations")

    def viewAngles(self):
        """Return the angular distribution."""
        path = results.dataFile(self._folder())
        directions = results.readDirections(path) if path else []
        return self.showFigure(misalign_figures.anglesFigure(directions), "Angular distribution")

    def viewFscs(self):
        """Return FSC curves."""
        curves = results.readFscCurves(self._folder())
        if not curves:
            return [self.say("No iteration has ended yet.")]
        return self.showFigure(figures.fscFigure(curves, "FSC of the half maps"), "FSC")

    def viewLog(self):
        """Return the lines of the log."""
        rows = results.logRows(os.path.join(self._folder(), results.LOG_NAME))
        if not rows:
            return [self.say("RELION has not called the correction yet.")]
        return [
            LinesView(misalign_figures.logLines(rows), "What the network did", self.getTkRoot())
        ]

    def viewWeights(self):
        """Return directional resolution by iteration."""
        paths = results.readWeights(self._folder())
        weights = {number: convert.readMap(path) for number, path in paths.items()}
        figure = misalign_figures.weightsFigure(
            weights, self.protocol.samplingRate(), self._weightThreshold()
        )
        return self.showFigure(figure, "Directions by iteration")

    def _weightThreshold(self):
        """Return which weight stands for an FSC of 0.143: 3DFSCs of the engine are mean cosines."""
        source = self.protocol.getEnumText("aniso")
        published = self.protocol.getEnumText("method") == "published"
        if source == "fsc" or (source == "min" and published):
            return MEAN_COSINE_THRESHOLD
        return FSC_THRESHOLD

    def viewDirections(self):
        """Return the directional histogram of the final half maps."""
        weight = convert.readMap(self.protocol.readResult()["fsc3d"])
        figure = figures.directionFigure(
            weight, self.protocol.samplingRate(), MEAN_COSINE_THRESHOLD
        )
        return self.showFigure(figure, "Directional resolution")

    def viewMaps(self):
        """Return slices."""
        title = f"Maps - {self.protocol.getRunName()}"
        return [SlicesView(self._maps(), title, self.getTkRoot())]

    def _maps(self):
        maps = {"reference": convert.readMap(self.protocol.referenceFile())}
        done = results.completeIterations(self._folder())
        if done:
            halves = [
                convert.readMap(
                    results.iterationFile(self._folder(), done[-1], f"half{h}_class001.mrc")
                )
                for h in (1, 2)
            ]
            maps[f"aligned to, iteration {done[-1]}"] = (halves[0] + halves[1]) / 2
        if results.isFinished(self._folder()):
            final = results.finalFile(self._folder(), "class001.mrc")
            maps["final, RELION's own"] = convert.readMap(final)
        return maps

    def viewChimera(self):
        """Return ChimeraX with the final map, or a message."""
        return [chimeraView([self.protocol.volume.getFileName()], self.getTkRoot())]


class LinesView(View):
    """Lines of text in a window with a scroll bar."""

    def __init__(self, lines, title, parent=None):
        super().__init__()
        self.lines = lines
        self.title = title
        self.parent = parent
        self.window = None

    def show(self):
        """Open the window; tests use ``lines`` instead."""
        import tkinter as tk

        own = self.parent is None
        self.window = tk.Tk() if own else tk.Toplevel(self.parent)
        self.window.title(self.title)
        box = tk.Text(
            self.window,
            width=_COLUMNS,
            height=min(len(self.lines) + 1, _LINES),
            wrap=tk.WORD,
            font="TkFixedFont",
            background="white",
            padx=12,
            pady=8,
        )
        box.tag_configure("failed", foreground="#b23a48")
        for line in self.lines:
            box.insert(tk.END, f"{line}\n", "failed" if "FAILED" in line else "")
        box.configure(state=tk.DISABLED)
        bar = tk.Scrollbar(self.window, command=box.yview)
        box.configure(yscrollcommand=bar.set)
        bar.pack(side=tk.RIGHT, fill=tk.Y)
        box.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        self.window.lift()
        if own:
            self.window.mainloop()
