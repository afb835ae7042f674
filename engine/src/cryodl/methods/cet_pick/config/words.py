"""Sentences and choices that several commands of cet_pick share."""

from __future__ import annotations

from typing import Literal

Order = Literal["auto", "zyx", "imod", "xzy", "zxy", "xyz"]
Contrast = Literal["auto", "dark", "bright"]

TOMOGRAMS = "Tomograms (MRC), or one text list with the columns image_name and rec_path."
COORDINATES = (
    "Labelled particles: one file for each tomogram in the same order (or of the same name), or "
    "one list with an image_name column. IMOD point text, text, CSV or STAR; a column kind names "
    "several kinds of particles."
)
ORDER = (
    "Which axis of the file is the thickness: zyx the slowest (usual), imod the middle one "
    "(reconstructions of IMOD that were not rotated), auto the clearly shortest. xzy, zxy and xyz "
    "have the meaning of the published program (imod, zyx, and thickness along x)."
)
CONTRAST = (
    "Whether matter is dark or bright in the tomograms; auto looks at the labelled particles."
)
PIXEL = "Pixel size of the tomograms, in place of the headers'."
POINT_PIXEL = "Pixel size that the coordinates count in, if it is not that of the tomograms."
