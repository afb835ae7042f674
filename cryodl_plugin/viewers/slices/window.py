"""The window of the slice viewer: Tk around the figure, and what mouse and keys do."""

import os

from pyworkflow.viewer import View

from cryodl_plugin.viewers.slices.drawing import SliceDrawing
from cryodl_plugin.viewers.slices.source import SourceError

GEOMETRY, SMALLEST = "1100x800", (760, 520)
_WHEEL_ZOOM = 1.25
_LEFT, _MIDDLE, _RIGHT = 1, 2, 3
HELP = """Wheel, Up and Down, Page Up and Page Down, Home and End: through z
Ctrl + wheel, + and -: zoom at the pointer;  0: the whole tomogram
Click: move the crosshair;  middle button: drag the view
a, or a click in mode Add: add a point under the pointer
d, Delete, right click, or a click in mode Remove: remove the nearest point
Ctrl + z: undo;  [ and ]: fewer or more slices averaged;  p: points on or off
n and b: next and previous tomogram;  Ctrl + s: save as a new set

Yellow to violet: by score, group or class.  Green: added by hand.
Circles are as large as the box; they fade with the distance from the slice."""


def rootOrWindow(parent):
    """Return a new window and whether it is the only one, whose main loop nobody runs yet."""
    import tkinter as tk

    parent = parent or getattr(tk, "_default_root", None)
    return (tk.Toplevel(parent), False) if parent else (tk.Tk(), True)


class SliceView(View):
    """A window on a `SliceModel`.

    Parameters
    ----------
    model : SliceModel
        What is shown.
    title : str
        Of the window.
    parent : tkinter widget, optional
        Without one the window runs a main loop of its own.
    save : callable, optional
        Gets the points' changes, returns what to tell the user; raises ``ValueError`` with words.
    tools : dict, optional
        Label -> callable with the model, returning what to tell the user; for other programs.
    """

    def __init__(self, model, title, parent=None, save=None, tools=None):
        super().__init__()
        self.model, self.title, self.parent = model, title, parent
        self.onSave, self.tools = save, tools or {}
        self.drawing = SliceDrawing(model)
        self.figure = self.drawing.figure
        self.window = self.canvas = self.panel = None
        self._pending = self._drag = self._pointer = None
        self._sides = False

    def show(self):
        """Open the window."""
        import tkinter as tk
        from tkinter import ttk

        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg

        from cryodl_plugin.viewers.slices.controls import ControlPanel, styled

        self.window, own = rootOrWindow(self.parent)
        self.window.title(self.title)
        self.window.geometry(GEOMETRY)
        self.window.minsize(*SMALLEST)
        self.window.configure(background=styled(self.window))
        self.panel = ControlPanel(self.window, self)
        self.panel.frame.pack(side=tk.RIGHT, fill=tk.Y)
        self.status = ttk.Label(
            self.window, style="Muted.Slices.TLabel", padding=(10, 3), anchor=tk.W, width=1
        )
        self.status.pack(side=tk.BOTTOM, fill=tk.X)
        self.canvas = FigureCanvasTkAgg(self.figure, master=self.window)
        widget = self.canvas.get_tk_widget()
        widget.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        self._bind()
        self.window.protocol("WM_DELETE_WINDOW", self.close)
        self.window.lift()
        widget.focus_set()
        self.redraw()
        if own:
            self.window.mainloop()

    def _bind(self):
        connect = self.canvas.mpl_connect
        connect("scroll_event", self._scrolled)
        connect("button_press_event", self._pressed)
        connect("button_release_event", self._released)
        connect("motion_notify_event", self._moved)
        connect("resize_event", self._resized)
        step = {"Up": 1, "Down": -1, "Prior": 10, "Next": -10, "Home": -(10**6), "End": 10**6}
        keys = {f"<{key}>": lambda n=n: self.moveBy(n) for key, n in step.items()}
        keys.update(
            {
                "a": self.addHere,
                "d": self.removeHere,
                "<Delete>": self.removeHere,
                "<Control-z>": self.undo,
                "<Control-s>": self.save,
                "n": lambda: self.nextTomogram(1),
                "b": lambda: self.nextTomogram(-1),
                "<bracketleft>": lambda: self.setThickness(self.model.thickness - 1, True),
                "<bracketright>": lambda: self.setThickness(self.model.thickness + 1, True),
                "p": lambda: self.togglePoints(not self.model.showPoints),
                "0": self.resetView,
                "<plus>": lambda: self.zoom(_WHEEL_ZOOM),
                "<minus>": lambda: self.zoom(1 / _WHEEL_ZOOM),
            }
        )
        widget = self.canvas.get_tk_widget()
        for key, call in keys.items():
            widget.bind(key, lambda _event, do=call: do())

    # --- drawing ---------------------------------------------------------------------------

    def redraw(self, sides=True):
        """Draw once Tk has nothing else to do: of many moves of a slider only the last is drawn."""
        self._sides = self._sides or sides
        if self._pending is None and self.window is not None:
            self._pending = self.window.after_idle(self.drawNow)

    def drawNow(self):
        """Draw."""
        self._pending = None
        sides, self._sides = self._sides, False
        try:
            self.drawing.update(sides)
        except (OSError, SourceError) as error:
            self.say(f"This slice cannot be read: {error}")
        self.canvas.draw()

    def refresh(self):
        """Bring controls and picture up to the model."""
        self.drawing.layout()
        self.panel.refresh()
        self.redraw()

    def say(self, words):
        """Show words in the line below the slices."""
        self.status.configure(text=words)

    def _resized(self, _event):
        self.drawing.layout()
        self.redraw()

    # --- mouse -----------------------------------------------------------------------------

    def _place(self, event):
        return self.drawing.placeAt(event.inaxes, event.xdata, event.ydata)

    def _scrolled(self, event):
        place = self._place(event)
        if event.guiEvent.state & 0x4:
            self.zoom(_WHEEL_ZOOM**event.step, place)
        elif event.inaxes in (self.drawing.axes[1], self.drawing.axes[2]):
            axis = "y" if event.inaxes is self.drawing.axes[1] else "x"
            now = self.model.position["xyz".index(axis)]
            self.model.moveTo(**{axis: now + event.step})
            self.redraw()
        else:
            self.moveBy(int(event.step))

    def _pressed(self, event):
        self.canvas.get_tk_widget().focus_set()
        place = self._place(event)
        if place is None:
            return
        self._pointer = place
        mode = self.panel.mode.get()
        if event.button == _MIDDLE:
            self._drag = event.inaxes, place
        elif event.button == _RIGHT or mode == "remove":
            self.removeHere()
        elif mode == "add":
            self.addHere()
        elif event.button == _LEFT:
            self._cross(event, place)
            self._drag = event.inaxes, None

    def _cross(self, event, place):
        self.model.moveTo(x=place[0], y=place[1], z=place[2])
        self.panel.refreshZ()
        self.redraw()

    def _released(self, _event):
        self._drag = None

    def _moved(self, event):
        place = self._pointer = self._place(event)
        if place is None:
            return
        if self._drag is not None and self._drag[0] is event.inaxes:
            if self._drag[1] is None:
                self._cross(event, place)
            else:
                self.model.pan(self._drag[1] - place)
                self.redraw()
                return
        x, y, z = place
        self.say(f"x {x:.0f}   y {y:.0f}   z {z:.0f}   (voxels from 0)")

    # --- what the controls do --------------------------------------------------------------

    def moveBy(self, slices):
        """Move through z."""
        self.model.step(slices)
        self.panel.refreshZ()
        self.redraw(sides=False)

    def moveToZ(self, place):
        """Go to a slice."""
        if self.model.source is not None and round(place) != self.model.position[2]:
            self.model.moveTo(z=place)
            self.redraw(sides=False)
        self.panel.refreshZ()

    def setThickness(self, thickness, show=False):
        """Set how many slices are averaged."""
        before = self.model.thickness
        self.model.setThickness(thickness)
        now = self.model.thickness
        self.panel.thickness.value.configure(text=str(now))
        if show:
            self.panel.thickness.show(now, words=str(now))
        if now != before:
            self.redraw(sides=False)

    def zoom(self, factor, place=None):
        """Magnify at the pointer."""
        self.model.zoomBy(factor, place if place is not None else self._pointer)
        self.redraw()

    def resetView(self):
        """Show the whole tomogram."""
        self.model.resetView()
        self.redraw()

    def toggleSides(self):
        """Show or hide the side views."""
        self.drawing.sideViews = self.panel.sides.get()
        self.drawing.layout()
        self.redraw()

    def setContrast(self, low, high, inverted):
        """Set the percentiles shown as black and white."""
        self.model.setPercentiles(low, high)
        self.model.inverted = inverted
        self.redraw()

    def setThreshold(self, value):
        """Hide points with a lower score."""
        self.model.setThreshold(value)
        self.panel.refreshCount()
        self.panel.drawBars()
        self.redraw(sides=True)

    def setColor(self, name):
        """Colour the points by something else."""
        self.model.colorBy = name
        self.redraw()

    def setBoxSize(self, box):
        """Set the diameter of the circles, in voxels of this tomogram."""
        self.model.points.boxSize = max(2, round(box)) / self.model.scale()
        self.redraw()

    def togglePoints(self, shown=None):
        """Show or hide the points."""
        if shown is not None:
            self.panel.shown.set(shown)
        self.model.showPoints = self.panel.shown.get()
        self.redraw()

    def setOverlay(self, name):
        """Show another mask or score map, or none."""
        self.model.overlayName = None if name == "none" else name
        self.redraw()

    def setOpacity(self, value):
        """Set how much a mask or score map covers."""
        self.model.opacity = value
        self.redraw()

    def chooseTomogram(self, tsId):
        """Show another tomogram."""
        self.model.choose(tsId)
        self._pointer = None
        self.refresh()

    def nextTomogram(self, step):
        """Show the next or the previous tomogram."""
        names = [entry.tsId for entry in self.model.entries]
        if names:
            self.chooseTomogram(names[(names.index(self.model.entry.tsId) + step) % len(names)])

    # --- points ----------------------------------------------------------------------------

    def addHere(self):
        """Add a point under the pointer."""
        if self._pointer is not None and self.model.addPoint(self._pointer):
            self.say("Added a point at {:.0f}, {:.0f}, {:.0f}.".format(*self._pointer))
            self._pointsChanged()

    def removeHere(self):
        """Remove the point nearest to the pointer."""
        if self._pointer is None:
            return
        if self.model.removePoint(self._pointer):
            self.say("Removed a point. Ctrl + z brings it back.")
            self._pointsChanged()
        else:
            self.say("There is no point near enough.")

    def undo(self):
        """Take the last addition or removal back."""
        before = self.model.entry
        if self.model.undo():
            self.say("Undone.")
            if self.model.entry is not before:
                self.refresh()
            self._pointsChanged()

    def _pointsChanged(self):
        self.panel.refreshCount()
        self.panel.drawBars()
        self.redraw()

    # --- what leaves -----------------------------------------------------------------------

    def save(self):
        """Make a new set of what is shown; True when that was begun."""
        if not self.onSave:
            return False
        try:
            words = self.onSave(self.model.points)
        except (OSError, ValueError) as error:
            self.say(str(error))
            return False
        self.model.dirty = False
        self.say(words)
        return True

    def export(self):
        """Ask for a name and write the points as text."""
        from tkinter import filedialog

        name = self.model.entry.tsId if self.model.entry else "points"
        path = filedialog.asksaveasfilename(
            parent=self.window,
            title="Export points",
            initialfile=f"{name}.csv",
            filetypes=[("All tomograms, with scores", "*.csv"), ("x y z of this one", "*.txt")],
        )
        if path:
            self.exportTo(path)

    def exportTo(self, path):
        """Write the points as text."""
        try:
            count = self.model.points.export(path, self.model.entry and self.model.entry.tsId)
        except OSError as error:
            self.say(f"Not written: {error}")
            return
        self.say(f"{count} points written to {os.path.basename(path)}.")

    def tool(self, name):
        """Call another program."""
        from tkinter import messagebox

        words = self.tools[name](self.model)
        if words:
            messagebox.showinfo(name, words, parent=self.window)

    def help(self):
        """Show what mouse and keys do."""
        from tkinter import messagebox

        messagebox.showinfo("Slice viewer", HELP, parent=self.window)

    def close(self):
        """Close; ask first when points would be lost."""
        from tkinter import messagebox

        if self.model.dirty and self.onSave:
            answer = messagebox.askyesnocancel(
                "Slice viewer", "Save the points as a new set?", parent=self.window
            )
            if answer is None or (answer and not self.save()):
                return
        if self._pending is not None:
            self.window.after_cancel(self._pending)
        self.window.destroy()
