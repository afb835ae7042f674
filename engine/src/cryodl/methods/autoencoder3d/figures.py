"""One picture for each group, and the work of ``cryodl autoencoder3d figures``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import atomic_path, write_text
from cryodl.core.io.mrc import read_volume
from cryodl.core.run.folder import RunFolder
from cryodl.methods.autoencoder3d.config import FiguresConfig
from cryodl.methods.autoencoder3d.trained import check_run

FOLDER = "clus-center/fig"
_PERCENTILES = (0.5, 99.8)


def run_figures(config: FiguresConfig, run: RunFolder) -> None:
    """Draw the groups of a clustering.

    Raises
    ------
    InputError
        Not a finished clustering.
    """
    result = check_run(config.run, "autoencoder3d cluster")
    volumes = [read_volume(config.run / name).data for name in result[config.show]]
    names = write_figures(run, volumes, result["sizes"], stretch=config.stretch)
    run.add_value("figures", names)
    run.report.fact("groups", str(len(volumes)))


def write_figures(
    run: RunFolder,
    volumes: Sequence[NDArray[np.float32]],
    sizes: Sequence[int],
    *,
    stretch: Literal["common", "each"],
) -> list[str]:
    """Write ``NNN--MM.png`` for each group, an overview and a table of them; return the pictures.

    NNN is the group and MM the number of its particles. The slices along z fill a square, row by
    row, one pixel between them.
    """
    run.path(FOLDER).mkdir(parents=True, exist_ok=True)
    limits = [_limits(volume) for volume in volumes]
    if stretch == "common":
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        limits = [(low, high)] * len(limits)
    names, rows = [], ["group,particles,picture"]
    for group, (volume, size, limit) in enumerate(zip(volumes, sizes, limits, strict=True)):
        name = f"{FOLDER}/{group:03d}--{size}.png"
        run.add_file(f"figure_{group:03d}", name)
        _write_png(run, name, montage(volume, limit))
        names.append(name)
        rows.append(f"{group},{size},{name.rsplit('/', 1)[1]}")
    overview = f"{FOLDER}/overview.png"
    run.add_file("overview", overview)
    shown = [
        np.concatenate(_central(volume, limit), axis=1)
        for volume, limit in zip(volumes, limits, strict=True)
    ]
    _write_png(run, overview, np.concatenate(shown, axis=0))
    table = f"{FOLDER}/index.csv"
    run.add_file("figure_table", table)
    write_text(run.path(table), "\n".join(rows) + "\n")
    return names


def montage(volume: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Return all slices along z in a square, ``g (n + 1)`` pixels along each side."""
    n = volume.shape[0]
    grid = math.ceil(math.sqrt(n))
    picture = np.zeros((grid * (n + 1), grid * (n + 1)), dtype=np.uint8)
    for number, plane in enumerate(_grey(volume, limits)):
        row, column = divmod(number, grid)
        top, left = row * (n + 1), column * (n + 1)
        picture[top : top + n, left : left + n] = plane
    return picture


def _central(
    volume: NDArray[np.float32], limits: tuple[float, float]
) -> tuple[NDArray[np.uint8], ...]:
    grey, middle = _grey(volume, limits), volume.shape[0] // 2
    planes = (grey[middle], grey[:, middle], grey[:, :, middle])
    return tuple(np.pad(np.repeat(np.repeat(p, 3, 0), 3, 1), (0, 3)) for p in planes)


def _limits(volume: NDArray[np.float32]) -> tuple[float, float]:
    low, high = np.percentile(volume, _PERCENTILES)
    return float(low), float(high)


def _grey(volume: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    share = np.clip((volume - low) / max(high - low, 1e-12), 0, 1)
    return (255 * share).round().astype(np.uint8)


def _write_png(run: RunFolder, name: str, picture: NDArray[np.uint8]) -> None:
    from matplotlib.image import imsave

    with atomic_path(run.path(name)) as temporary:
        imsave(temporary, picture, cmap="gray", vmin=0, vmax=255, format="png")
