"""The report page: everything in one file, nothing taken for markup, pictures that show."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.config.parameters import CommandConfig
from cryodl.core.run.figures import central_slices, loss_curves, new_figure, shell_curves
from cryodl.core.run.report import Report


class Page(HTMLParser):
    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def full_report():
    report = Report("cryodl <sample>")
    report.fact("Resolution", "3.5 Å")
    report.distrust("The cone is <empty>.")
    report.heading("Curves & slices")
    report.text("a < b")
    report.table(["shell", "<b>"], [["one", 0.123456], ["two", "<i>"]])
    report.figure(loss_curves({"total": [3.0, 2.0, 1.0]}), 'Loss "falls" <so>')
    return report.html(CommandConfig(output=Path("a & b")), {"map": "<map>.mrc"})


def test_page_is_well_formed_and_takes_nothing_from_elsewhere():
    text = full_report()
    page = Page(text)
    assert page.open == [] and {"table", "figure", "img", "h2"} <= set(page.tags)
    assert page.sources and all(s.startswith("data:image/png;base64,") for s in page.sources)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)


def test_text_is_never_taken_for_markup():
    text = full_report()
    for word in ("&lt;sample&gt;", "&lt;empty&gt;", "a &lt; b", "&lt;map&gt;.mrc", "a &amp; b"):
        assert word in text
    assert "<i>" not in text and "<so>" not in text and "0.1235" in text


def test_picture_is_a_png_with_something_in_it():
    encoded = re.search(r"base64,([^\"]+)", full_report()).group(1)
    assert base64.b64decode(encoded)[:8] == b"\x89PNG\r\n\x1a\n"


def test_slices_show_the_axes_they_say():
    volume = np.zeros((8, 10, 12), np.float32)
    volume[4, 5, 9] = 1.0  # z, y, x
    volume[6, 5, 6] = 2.0
    axes = central_slices({"map": volume}).axes
    xy, xz, yz = (axis.images[0].get_array() for axis in axes)
    assert xy.shape == (10, 12) and xy[5, 9] == 1.0
    assert xz.shape == (8, 12) and xz[6, 6] == 2.0
    assert yz.shape == (8, 10) and yz[6, 5] == 2.0
    labels = [(axis.get_xlabel(), axis.get_ylabel()) for axis in axes]
    assert labels == [("x", "y"), ("x", "z"), ("y", "z")]


def test_shell_curves_put_each_shell_at_its_frequency():
    figure = shell_curves({"fsc": np.ones(9)}, box_size_px=16, pixel_size_angstrom=2.0)
    line = figure.axes[0].lines[0]
    assert line.get_xdata()[-1] == pytest.approx(0.25)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "∞" and ticks[-1] == "4"


def test_empty_figures_are_no_error():
    assert loss_curves({}).axes
    assert len(new_figure(2, 3).axes) == 6
