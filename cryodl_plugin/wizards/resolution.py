"""The window that chooses a resolution limit: the map low-passed to it, and where it is on the FSC.

Scipion's own filter preview goes through all resolutions evenly, so that those that matter share
the last notch of its slider. Here the slider goes through Fourier shells.
"""

import numpy as np
from pyworkflow.gui import dialog

from cryodl_plugin import convert
from cryodl_plugin.constants import FSC_THRESHOLD
from cryodl_plugin.viewers import figures

_FIRST_SHELL = 3
SOFT_SHELLS = 3


class LowPassPreview:
    """The central slice of a map at any resolution, quickly: one sum, one small transform.

    Parameters
    ----------
    data : numpy.ndarray
        ``(n, n, n)`` [z, y, x].
    pixelSize : float
        In Å.
    """

    def __init__(self, data, pixelSize):
        from scipy import fft

        self.box, self.pixelSize = data.shape[0], pixelSize
        self._spectrum = fft.rfftn(data).astype(np.complex64)
        self._fft = fft

    def slice(self, shell):
        """Return the slice across z in the middle of the map, low-passed to a shell."""
        n = self.box
        along = np.fft.fftfreq(n) * n
        near = np.abs(along) <= shell + SOFT_SHELLS
        half = np.arange(n // 2 + 1)
        half = half[half <= shell + SOFT_SHELLS]
        kept = self._spectrum[np.ix_(near, near, half)]
        z, y = along[near][:, None, None], along[near][:, None]
        radius = np.sqrt(z**2 + y**2 + half**2)
        edge = np.clip((radius - shell) / SOFT_SHELLS, 0, 1)
        weight = (1 + np.cos(np.pi * edge)) / 2
        # The plane z = n // 2 of a transform is the sum over kz with the phase of that shift.
        phase = np.exp(2j * np.pi * z * (n // 2) / n)
        plane = np.zeros((n, n // 2 + 1), np.complex64)
        plane[np.ix_(near, half)] = (kept * weight * phase).sum(axis=0)
        return self._fft.irfft2(plane, s=(n, n)) / n

    def shellOf(self, resolution):
        """Return the nearest shell of a resolution in Å, inside what the slider covers."""
        shell = round(self.box * self.pixelSize / resolution)
        return min(max(shell, _FIRST_SHELL), self.lastShell)

    def resolutionOf(self, shell):
        """Return the resolution in Å of a shell."""
        return self.box * self.pixelSize / shell

    @property
    def lastShell(self):
        """Return the shell of the Nyquist frequency."""
        return self.box // 2


class ResolutionDialog(dialog.Dialog):
    """Slice, FSC and slider; ``resolution`` holds the choice in Å."""

    def __init__(self, parent, preview, curves, start):
        self.preview, self.curves = preview, curves
        self.shell = preview.shellOf(start)
        super().__init__(
            parent,
            "Resolution limit",
            buttons=[("Select", dialog.RESULT_YES), ("Cancel", dialog.RESULT_CANCEL)],
            default="Select",
        )

    @property
    def resolution(self):
        """Return the chosen resolution in Å."""
        return round(self.preview.resolutionOf(self.shell), 2)

    def body(self, bodyFrame):
        """Fill the window."""
        import tkinter as tk

        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg

        self.figure = figures.newFigure(9, 4.2)
        self.canvas = FigureCanvasTkAgg(self.figure, master=bodyFrame)
        self.canvas.get_tk_widget().pack(fill=tk.BOTH, expand=True)
        self.words = tk.Label(bodyFrame, font="helvetica 11 bold")
        self.words.pack(pady=(6, 0))
        slider = tk.Scale(
            bodyFrame,
            from_=_FIRST_SHELL,
            to=self.preview.lastShell,
            orient=tk.HORIZONTAL,
            showvalue=False,
            command=self._moved,
        )
        slider.set(self.shell)
        slider.pack(fill=tk.X, padx=40)
        ends = [self.preview.resolutionOf(s) for s in (_FIRST_SHELL, self.preview.lastShell)]
        tk.Label(bodyFrame, text="   to   ".join(f"{end:.1f} Å" for end in ends)).pack()
        self._draw()

    def _moved(self, value):
        if int(float(value)) != self.shell:
            self.shell = int(float(value))
            self._draw()

    def _draw(self):
        drawLimit(self.figure, self.preview, self.curves, self.shell)
        self.words.configure(text=f"Limit resolution: {self.resolution:.2f} Å")
        self.canvas.draw_idle()


def drawLimit(figure, preview, curves, shell):
    """Draw the low-passed slice beside the FSC with the limit marked."""
    figure.clear()
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    image = preview.slice(shell)
    low, high = np.percentile(image, (0.5, 99.7))
    left.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")
    left.set_title("half map 1, low-passed", fontsize=11)
    left.set_xticks([])
    left.set_yticks([])
    if curves:
        figures.drawFsc(right, curves, "FSC of the half maps")
    else:
        figures.tidy(right, "no FSC: one map alone", "resolution (Å)")
        right.set_xlim(0, 0.5 / preview.pixelSize)
        figures.resolutionTicks(right)
    limit = 1 / preview.resolutionOf(shell)
    right.axvline(limit, color=figures.ORANGE, lw=2)


def suggestion(known, curves, pixelSize):
    """Return the resolution in Å to start from: known, or where the FSC falls, or half Nyquist."""
    if known:
        return known
    for frequency, values in curves.values():
        return convert.resolutionAt(frequency, values, FSC_THRESHOLD)
    return 4 * pixelSize
