"""Open the slice viewer or the gallery in a process of its own, for somebody to use with a mouse.

    python -m cryodl_plugin.tests.slices_probe slices|gallery FOLDER

Once the window is drawn, one line of JSON says where on the screen things are; another tells what
was saved. An exception in a callback of Tk ends the process with status 3. Needs a display.
"""

import json
import os
import sys
import tkinter as tk
import traceback

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.viewers.slices.gallery import GalleryItem, GalleryModel
from cryodl_plugin.viewers.slices.gallery_window import GalleryView
from cryodl_plugin.viewers.slices.model import SliceModel, TomogramEntry
from cryodl_plugin.viewers.slices.points import Points
from cryodl_plugin.viewers.slices.window import SliceView

SHAPE = (24, 60, 80)
_DRAWN_MILLISECONDS = 400


def failLoudly(*error):
    """End the process: Tk would only write to the terminal."""
    traceback.print_exception(*error)
    os._exit(3)


def tell(**values):
    """Write a line of JSON."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def middle(widget):
    """Return the middle of a widget on the screen."""
    return [
        widget.winfo_rootx() + widget.winfo_width() // 2,
        widget.winfo_rooty() + widget.winfo_height() // 2,
    ]


def slices(folder):
    """Return the slice viewer with ten points, and a function that says where things are."""
    path = os.path.join(folder, "t.mrc")
    convert.writeMap(path, np.random.default_rng(0).standard_normal(SHAPE), 8.0)
    xyz = [[6 + 7 * i, 30, 12] for i in range(10)]
    points = Points(8, 8.0, tsIds=["T"] * 10, xyz=xyz, scores=np.linspace(0, 1, 10))
    view = SliceView(SliceModel([TomogramEntry("T", path, 8.0)], points), "probe")

    def save(points):
        tell(
            z=int(view.model.position[2]),
            shown=len(points.shown()),
            count=view.panel.count.cget("text"),
            **points.changes(),
        )
        return "saved"

    view.onSave = save

    def where():
        widget = view.canvas.get_tk_widget()
        axes = view.drawing.axes[0]
        x, y = axes.transData.transform((40, 15))
        bar = view.panel.threshold.scale
        return {
            "place": [
                widget.winfo_rootx() + int(x),
                widget.winfo_rooty() + widget.winfo_height() - int(y),
            ],
            "threshold": middle(bar),
            "threshold_width": bar.winfo_width(),
            "save": middle(view.panel.saveButton),
        }

    return view, where


def gallery(_folder):
    """Return the gallery with thirty pictures."""
    rng = np.random.default_rng(0)
    items = [GalleryItem(i + 1, rng.random((8, 8, 8)), str(i + 1)) for i in range(90)]
    view = GalleryView(GalleryModel(items), "probe")

    def save(keys):
        tell(keys=keys, count=view.count.cget("text"))
        return "saved"

    view.onSave = save

    def where():
        left, top = view.gallery.view.winfo_rootx(), view.gallery.view.winfo_rooty()
        pitch = view.model.pitch()
        return {
            "tiles": [
                [left + pitch * i + pitch // 2, top + pitch // 2] for i in range(view.model.columns)
            ],
            "save": middle(view.saveButton),
        }

    return view, where


def main():
    """Open what is asked for."""
    kind, folder = sys.argv[1:3]
    tk.Tk.report_callback_exception = failLoudly
    view, where = {"slices": slices, "gallery": gallery}[kind](folder)
    root = tk.Tk()
    root.withdraw()
    view.parent = root
    view.show()
    view.window.after(_DRAWN_MILLISECONDS, lambda: tell(**where()))
    root.mainloop()


if __name__ == "__main__":
    main()
