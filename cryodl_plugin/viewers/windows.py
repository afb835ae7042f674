"""Windows for figures: plain Tk, no Java, and nothing that waits for the window to close."""

import os
import webbrowser

from pyworkflow.viewer import MessageView, View

from cryodl_plugin.viewers import figures

REFRESH_MILLISECONDS = 3000
_BACKGROUND = "white"
_ACROSS_X = 2  # shows z, where preferred orientation does its damage most often


class FigureView(View):
    """A matplotlib figure in a window with zoom and save."""

    def __init__(self, figure, title, parent=None):
        super().__init__()
        self.figure = figure
        self.title = title
        self.parent = parent
        self.window = None
        self.canvas = None

    def show(self):
        """Open the window; tests use ``figure`` instead."""
        import tkinter as tk

        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg, NavigationToolbar2Tk

        own = self.parent is None
        self.window = tk.Tk() if own else tk.Toplevel(self.parent)
        self.window.title(self.title)
        self.window.configure(background=_BACKGROUND)
        self.canvas = FigureCanvasTkAgg(self.figure, master=self.window)
        toolbar = NavigationToolbar2Tk(self.canvas, self.window, pack_toolbar=False)
        toolbar.pack(side=tk.BOTTOM, fill=tk.X)
        self._addControls(tk)
        self.canvas.get_tk_widget().pack(side=tk.TOP, fill=tk.BOTH, expand=True)
        self.canvas.draw()
        self.window.lift()
        if own:
            self.window.mainloop()

    def _addControls(self, tk):
        """Add what is between the figure and the toolbar; nothing here."""


class LossView(FigureView):
    """The training curve, drawn anew every few seconds while the window is open."""

    def __init__(self, protocol, parent=None):
        super().__init__(figures.newFigure(9.5, 4.4), "Training", parent)
        self.protocol = protocol
        self.refresh()

    def refresh(self):
        """Read what the engine has written so far and draw it."""
        figures.drawLoss(self.figure, self.protocol.readMetrics(), self.protocol.readProgress())

    def _addControls(self, tk):
        self._folder = os.path.abspath(self.protocol.engineFolder())
        self._seen = self._state()
        self.window.after(REFRESH_MILLISECONDS, self._tick)

    def _state(self):
        names = [os.path.join(self._folder, n) for n in ("metrics.jsonl", "progress.json")]
        return [os.stat(n).st_mtime_ns for n in names if os.path.exists(n)]

    def _tick(self):
        if self._state() != self._seen:
            self._seen = self._state()
            self.refresh()
            self.canvas.draw_idle()
        self.window.after(REFRESH_MILLISECONDS, self._tick)


class SlicesView(FigureView):
    """Slices of maps side by side, with a slider, an axis, and their power by direction."""

    def __init__(self, maps, title, parent=None, axis=_ACROSS_X):
        self.maps = maps
        self.axis = axis
        self.position = next(iter(maps.values())).shape[0] // 2
        self.power = False
        super().__init__(figures.slicesFigure(maps, axis), title, parent)

    def draw(self):
        """Draw the slices that the controls ask for."""
        figures.drawSlices(self.figure, self.maps, self.axis, self.position, self.power)

    def _addControls(self, tk):
        frame = tk.Frame(self.window, background=_BACKGROUND)
        frame.pack(side=tk.BOTTOM, fill=tk.X, padx=12, pady=4)
        axis, power = tk.IntVar(self.window, self.axis), tk.BooleanVar(self.window, False)
        last = next(iter(self.maps.values())).shape[0] - 1
        slider = tk.Scale(
            frame, from_=0, to=last, orient=tk.HORIZONTAL, label="slice", background=_BACKGROUND
        )
        slider.set(self.position)

        def changed(*_):
            self.axis, self.position, self.power = axis.get(), slider.get(), power.get()
            slider.configure(state=tk.DISABLED if self.power else tk.NORMAL)
            self.draw()
            self.canvas.draw_idle()

        slider.configure(command=changed)
        slider.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=(0, 16))
        for value, name in enumerate("zyx"):
            tk.Radiobutton(
                frame,
                text=f"across {name}",
                variable=axis,
                value=value,
                command=changed,
                background=_BACKGROUND,
            ).pack(side=tk.LEFT)
        tk.Checkbutton(
            frame,
            text="power in Fourier space",
            variable=power,
            command=changed,
            background=_BACKGROUND,
        ).pack(side=tk.LEFT, padx=(16, 0))


class ReportView(View):
    """The engine's report page in the web browser; a message with its path where there is none."""

    def __init__(self, path, parent=None):
        super().__init__()
        self.path = os.path.abspath(path)
        self.parent = parent

    def show(self):
        """Open the page."""
        if not webbrowser.open(f"file://{self.path}"):
            MessageView(
                f"No web browser could be opened. The report is\n{self.path}",
                "Report",
                tkParent=self.parent,
            ).show()


def chimeraView(files, parent=None):
    """Return a view of maps in ChimeraX, or a message where it is not installed."""
    from pwem.viewers.viewer_chimera import Chimera, ChimeraView

    program = Chimera.getProgram()
    if program and os.path.exists(program):
        return ChimeraView([os.path.abspath(name) for name in files])
    where = program or "no place"
    return MessageView(
        f"ChimeraX is not installed (looked for {where}). Install scipion-em-chimera, or use the "
        "other views here, which need nothing else.",
        "ChimeraX",
        tkParent=parent,
    )
