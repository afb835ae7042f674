"""The data files of the published program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.plain_pickle import read_plain_pickle
from cryodl.errors import InputError


@dataclass(frozen=True)
class LegacySubvolumes:
    """What a data file of the published program holds, in our order of axes.

    Attributes
    ----------
    names : list of str
        One for each particle.
    volumes : list of ndarray or None
        (z, y, x) views of the file; None where the box left the tomogram.
    centres_px : (N, 3) float64
        x, y, z in the tomogram.
    box_size_px : int
        Edge.
    """

    names: list[str]
    volumes: list[NDArray[Any] | None]
    centres_px: NDArray[np.float64]
    box_size_px: int


def read_legacy_subvolumes(path: Path) -> LegacySubvolumes:
    """Read ``{'v_siz': ..., 'vs': {name: {'center', 'id', 'v'}}}``.

    Raises
    ------
    InputError
        Another structure, boxes that are not cubes of one size, or anything that would run code.
    """
    content = read_plain_pickle(path)
    particles = content.get("vs") if isinstance(content, dict) else None
    if not isinstance(particles, dict) or not particles or "v_siz" not in content:
        raise InputError(
            f"{path}: found no 'v_siz' and 'vs' with particles, expected a data file of "
            "Autoencoder3D; give such a file or a STAR file"
        )
    sizes = {int(size) for size in np.asarray(content["v_siz"]).ravel()}
    if len(sizes) != 1:
        raise InputError(f"{path}: found boxes of {sorted(sizes)} px, expected cubes; cut them so")
    box = sizes.pop()
    names, volumes, centres = [], [], []
    for name, entry in particles.items():
        try:
            volume, centre = entry["v"], np.asarray(entry["center"], dtype=np.float64).ravel()
        except (TypeError, KeyError, ValueError):
            raise InputError(
                f"{path}: particle {name} has no 'v' and 'center', expected both; make it again"
            ) from None
        shape = None if volume is None else np.shape(volume)
        if shape not in (None, (box,) * 3) or centre.shape != (3,) or not np.isfinite(centre).all():
            raise InputError(
                f"{path}: particle {name} has shape {shape} at {centre}, expected {box} voxels "
                "along each axis and three coordinates; make it again"
            )
        names.append(str(name))
        volumes.append(None if volume is None else np.asarray(volume).T)
        centres.append(centre)
    return LegacySubvolumes(names, volumes, np.array(centres), box)
