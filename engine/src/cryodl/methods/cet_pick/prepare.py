"""The work of ``cryodl cet-pick prepare``: checked lists, binned tomograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc import open_tomogram, write_volume
from cryodl.core.run.folder import RunFolder
from cryodl.methods.cet_pick.axes import points_from_working
from cryodl.methods.cet_pick.config import PrepareConfig
from cryodl.methods.cet_pick.figures import LABEL_COLOUR, slices_with_points
from cryodl.methods.cet_pick.inputs import (
    CheckedTomogram,
    named_points,
    named_tomograms,
    open_labelled,
)
from cryodl.methods.cet_pick.lists import PointTable, write_point_list, write_tomogram_list
from cryodl.methods.cet_pick.tomogram import Preparation

_LOOKED_AT_PX = 16.0  # of an unknown particle: enough to see whether points lie on matter


def run_prepare(config: PrepareConfig, run: RunFolder) -> None:
    """Check tomograms and points, bin them, and write the lists for training.

    Raises
    ------
    InputError
        Files that do not match, points outside, wrong axes or binning.
    """
    tomograms = named_tomograms(config.tomograms)
    given = config.points or []
    points = (
        named_points(given, tomograms, config.point_order) if given else [None] * len(tomograms)
    )
    checked = open_labelled(
        tomograms,
        points,
        order=config.order,
        preparation=Preparation(),
        contrast="auto",
        bbox_px=_LOOKED_AT_PX,
        pixel_size_angstrom=config.pixel_size,
        coordinate_pixel_size_angstrom=config.coordinate_pixel_size,
        log=run.log,
    )
    files = [_tomogram_file(config, run, entry) for entry in checked]
    write_tomogram_list(
        run.path("train_imgs.txt"), [(e.name, f) for e, f in zip(checked, files, strict=True)]
    )
    run.add_file("images", "train_imgs.txt")
    if given:
        _write_points(config, run, checked)
    run.report.fact("tomograms", str(len(checked)))
    run.report.fact("points", str(sum(len(entry.kinds) for entry in checked)))
    for entry in checked:
        shown = {"points": (entry.points_xyz, LABEL_COLOUR)}
        run.report.heading(entry.name)
        run.report.figure(
            slices_with_points(entry.tomogram, shown, _LOOKED_AT_PX / 2),
            "Slices with the points. The circles must sit on particles.",
        )


def _write_points(
    config: PrepareConfig, run: RunFolder, checked: Sequence[CheckedTomogram]
) -> None:
    table = PointTable({}, {})
    for entry in checked:
        if not len(entry.points_xyz):
            continue
        places = points_from_working(entry.points_xyz, entry.tomogram.order)
        table.points_px[entry.name] = (places + 0.5) / config.binning - 0.5
        table.kinds[entry.name] = ["" if k == "particle" else k for k in entry.kinds]
    write_point_list(run.path("train_coords.txt"), table)
    run.add_file("coordinates", "train_coords.txt")


def _tomogram_file(config: PrepareConfig, run: RunFolder, entry: CheckedTomogram) -> str:
    """Return the file to train on: the tomogram as it is, or its binned copy."""
    if config.binning == 1:
        return str(entry.tomogram.path.resolve())
    name = f"{entry.name}_bin{config.binning}.mrc"
    volume = open_tomogram(entry.tomogram.path, pixel_size_angstrom=config.pixel_size)
    run.add_file(f"tomogram_{entry.name}", name)
    write_volume(
        run.path(name),
        binned(volume.data, config.binning),
        pixel_size_angstrom=volume.pixel_size_angstrom * config.binning,
        label=f"cryodl cet-pick prepare, binned by {config.binning}",
    )
    run.log(f"{entry.name}: binned by {config.binning}")
    return str(Path(name))


def binned(data: NDArray, factor: int) -> NDArray[np.float32]:
    """Return means of `factor`^3 voxels; what is over at the far borders is left out."""
    depth, height, width = (edge // factor for edge in data.shape)
    found = np.empty((depth, height, width), dtype=np.float32)
    for k in range(depth):
        slab = np.asarray(data[k * factor : (k + 1) * factor], dtype=np.float32)
        slab = slab[:, : height * factor, : width * factor].mean(0)
        found[k] = slab.reshape(height, factor, width, factor).mean((1, 3))
    return found
