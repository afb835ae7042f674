"""The gallery: small volumes in a grid, chosen by clicking; a frame for any window, and a window.

The frame knows nothing of sets: give it a `GalleryModel`, read ``model.chosen()``.
"""

import tkinter as tk
from tkinter import ttk

import numpy as np
from pyworkflow.viewer import View

from cryodl_plugin.viewers.slices.controls import WIDTH, Slider, styled
from cryodl_plugin.viewers.slices.gallery import SIDES
from cryodl_plugin.viewers.slices.window import SMALLEST, rootOrWindow

GEOMETRY = "1100x800"
_BACKGROUND, _FRAME, _CHOSEN = (27, 32, 39), "#3a434f", "#3fe07a"
_WORDS, _FAINT = "#f0f3f7", "#8a94a3"
_WAIT_MILLISECONDS = 120
_SHIFT, _TILES = 0x1, (48, 192)
HELP = """Click: choose or leave out.  Shift + click: all from the last one clicked.
Wheel, Page Up and Page Down: pages.  Ctrl + a: all.  Ctrl + z: undo.

Each picture is the mean of some slices in the middle, with the contrast of its own."""


class GalleryFrame(ttk.Frame):
    """A grid of pictures that fills its room and turns pages.

    Parameters
    ----------
    parent : tkinter widget
        Where it goes.
    model : GalleryModel
        What is shown.
    onChange : callable, optional
        Called after the choice or the page has changed.
    """

    def __init__(self, parent, model, onChange=None):
        super().__init__(parent)
        self.model, self.onChange = model, onChange or (lambda: None)
        self.view = tk.Canvas(
            self, background="#{:02x}{:02x}{:02x}".format(*_BACKGROUND), highlightthickness=0
        )
        self.view.pack(fill=tk.BOTH, expand=True)
        self._picture = self._waiting = self._last = None
        self.view.bind("<Configure>", self._resized)
        self.view.bind("<Button-1>", self._clicked)
        for event, pages in (("<Button-4>", -1), ("<Button-5>", 1), ("<Prior>", -1), ("<Next>", 1)):
            self.view.bind(event, lambda _event, n=pages: self.turn(n))
        self.view.bind("<MouseWheel>", lambda event: self.turn(-1 if event.delta > 0 else 1))
        self.view.bind("<Control-a>", lambda _event: self.change(model.selectAll))
        self.view.bind("<Control-z>", lambda _event: self.change(model.undo))
        self.view.focus_set()

    def _resized(self, _event=None):
        if self._waiting is not None:
            self.after_cancel(self._waiting)
        self._waiting = self.after(_WAIT_MILLISECONDS, self.fit)

    def fit(self):
        """Choose as many rows and columns as there is room for, and draw."""
        self._waiting = None
        pitch = self.model.pitch()
        self.model.setGrid(self.view.winfo_width() // pitch, self.view.winfo_height() // pitch)
        self.draw()
        self.onChange()

    def setTile(self, side):
        """Set the size of the pictures in pixels."""
        self.model.setTile(side)
        self._resized()

    def turn(self, pages):
        """Go to another page."""
        before = self.model.page
        self.model.turn(pages)
        if self.model.page != before:
            self.draw()
            self.onChange()

    def change(self, action):
        """Do something with the choice and show it."""
        action()
        self.drawFrames()
        self.onChange()

    def draw(self):
        """Draw this page."""
        page, unreadable = self.model.montage()
        rgb = np.empty((*page.shape, 3), np.uint8)
        rgb[:] = _BACKGROUND
        known = np.isfinite(page)
        rgb[known] = (255 * page[known])[:, None].astype(np.uint8)
        header = f"P6 {rgb.shape[1]} {rgb.shape[0]} 255 ".encode()
        self._picture = tk.PhotoImage(master=self.view, data=header + rgb.tobytes(), format="PPM")
        self.view.delete("all")
        self.view.create_image(0, 0, image=self._picture, anchor=tk.NW)
        if not self.model.items:
            self.view.create_text(
                self.view.winfo_width() // 2,
                self.view.winfo_height() // 2,
                text="The set is empty: there is nothing to show.",
                fill=_FAINT,
            )
        pitch, tile = self.model.pitch(), self.model.tile
        for number, item in enumerate(self.model.shown()):
            row, column = divmod(number, self.model.columns)
            x, y = column * pitch + 6, row * pitch + 4
            self.view.create_text(x + 1, y + 1, text=item.label, anchor=tk.NW, fill="black")
            self.view.create_text(x, y, text=item.label, anchor=tk.NW, fill=_WORDS)
            if number in unreadable:
                self.view.create_text(
                    x + tile // 2 - 4,
                    y + tile // 2,
                    text="cannot\nbe read",
                    fill=_FAINT,
                    justify=tk.CENTER,
                )
        self.drawFrames()

    def drawFrames(self):
        """Draw the frames that tell what is chosen."""
        self.view.delete("frame")
        pitch = self.model.pitch()
        for number, item in enumerate(self.model.shown()):
            row, column = divmod(number, self.model.columns)
            x, y = column * pitch + 2, row * pitch + 2
            chosen = item.key in self.model.selected
            self.view.create_rectangle(
                x,
                y,
                x + pitch - 4,
                y + pitch - 4,
                outline=_CHOSEN if chosen else _FRAME,
                width=3 if chosen else 1,
                tags="frame",
            )

    def _clicked(self, event):
        self.view.focus_set()
        pitch = self.model.pitch()
        item = self.model.itemAt(event.x // pitch, event.y // pitch)
        if item is None:
            return
        if event.state & _SHIFT and self._last is not None:
            self.change(lambda: self.model.selectRange(self._last, item.key))
        else:
            self.change(lambda: self.model.toggle([item.key]))
        self._last = item.key


class GalleryView(View):
    """A window with a gallery and its controls.

    Parameters
    ----------
    model : GalleryModel
        What is shown.
    title : str
        Of the window.
    parent : tkinter widget, optional
        Without one the window runs a main loop of its own.
    save : callable, optional
        Gets the chosen keys, returns what to tell the user; raises ``ValueError`` with words.
    actions : dict, optional
        Label -> callable without arguments, for more buttons.
    """

    def __init__(self, model, title, parent=None, save=None, actions=None):
        super().__init__()
        self.model, self.title, self.parent = model, title, parent
        self.onSave, self.actions = save, actions or {}
        self.window = self.gallery = None

    def show(self):
        """Open the window."""
        self.window, own = rootOrWindow(self.parent)
        self.window.title(self.title)
        self.window.geometry(GEOMETRY)
        self.window.minsize(*SMALLEST)
        self.window.configure(background=styled(self.window))
        panel = ttk.Frame(self.window, width=WIDTH, style="Slices.TFrame", padding=10)
        panel.pack_propagate(False)
        panel.pack(side=tk.RIGHT, fill=tk.Y)
        self._addControls(panel)
        self.gallery = GalleryFrame(self.window, self.model, self.refresh)
        self.gallery.pack(side=tk.LEFT, fill=tk.BOTH, expand=True)
        self.refresh()
        self.window.lift()
        if own:
            self.window.mainloop()

    def _addControls(self, panel):
        self._title(panel, "Page")
        row = self._row(panel)
        ttk.Button(row, text="<", width=2, command=lambda: self.gallery.turn(-1)).pack(side=tk.LEFT)
        self.page = ttk.Label(row, anchor=tk.CENTER, style="Slices.TLabel")
        self.page.pack(side=tk.LEFT, fill=tk.X, expand=True)
        ttk.Button(row, text=">", width=2, command=lambda: self.gallery.turn(1)).pack(side=tk.LEFT)
        self._title(panel, "Pictures")
        self._choice(panel, "View", list(SIDES), self.model.side, self._setSide)
        self._choice(panel, "Order", self.model.orders(), self.model.order, self._setOrder)
        model = self.model
        Slider(panel, "Mean of", (1, 15), model.thickness, self._setThickness)
        Slider(panel, "Size (px)", _TILES, model.tile, lambda v: self.gallery.setTile(v))
        self._title(panel, "Chosen")
        self.count = ttk.Label(panel, style="Slices.TLabel")
        self.count.pack(anchor=tk.W, pady=(0, 3))
        lines = (
            (("All", model.selectAll), ("None", model.selectNone)),
            (("This page", model.selectPage), ("Invert", model.invert)),
            (("Undo", model.undo),),
        )
        for line in lines:
            row = self._row(panel)
            for text, action in line:
                self._button(row, text, lambda do=action: self.gallery.change(do))
        self.status = ttk.Label(
            panel, style="Muted.Slices.TLabel", wraplength=WIDTH - 24, justify=tk.LEFT
        )
        self.status.pack(anchor=tk.W, pady=10)
        bottom = ttk.Frame(panel, style="Slices.TFrame")
        bottom.pack(side=tk.BOTTOM, fill=tk.X)
        self.saveButton = None
        if self.onSave:
            self.saveButton = self._button(self._row(bottom), "Save chosen as new set", self.save)
        for text, action in self.actions.items():
            self._button(self._row(bottom), text, action)
        self._button(self._row(bottom), "Help", self.help)

    def _title(self, panel, text):
        ttk.Label(panel, text=text, style="Title.Slices.TLabel").pack(anchor=tk.W, pady=(10, 2))

    def _row(self, panel):
        row = ttk.Frame(panel, style="Slices.TFrame")
        row.pack(fill=tk.X, pady=1)
        return row

    def _button(self, row, text, command):
        button = ttk.Button(row, text=text, command=command)
        button.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=1)
        return button

    def _choice(self, panel, label, values, value, command):
        row = self._row(panel)
        ttk.Label(row, text=label, width=10, style="Slices.TLabel").pack(side=tk.LEFT)
        box = ttk.Combobox(row, state="readonly", values=values, width=8)
        box.set(value)
        box.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=(4, 0))
        box.bind("<<ComboboxSelected>>", lambda _event: command(box.get()))

    def _setSide(self, side):
        self.model.side = side
        self.gallery.draw()

    def _setOrder(self, order):
        self.model.setOrder(order)
        self.gallery.draw()
        self.refresh()

    def _setThickness(self, thickness):
        if round(thickness) != self.model.thickness:
            self.model.thickness = round(thickness)
            self.gallery.draw()

    def refresh(self):
        """Show page and count."""
        model = self.model
        self.page.configure(text=f"{model.page + 1} of {model.pages()}")
        self.count.configure(text=f"{len(model.selected)} of {len(model.items)}")
        if self.saveButton is not None:
            self.saveButton.state(["!disabled" if model.selected else "disabled"])

    def save(self):
        """Make a new set of what is chosen."""
        try:
            self.status.configure(text=self.onSave(self.model.chosen()))
        except (OSError, ValueError) as error:
            self.status.configure(text=str(error))

    def help(self):
        """Show what mouse and keys do."""
        from tkinter import messagebox

        messagebox.showinfo("Gallery", HELP, parent=self.window)
