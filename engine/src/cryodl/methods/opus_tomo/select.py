"""The work of ``cryodl opus-tomo select``: particles by cluster or by a drawn region."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.errors import ConfigError, InputError
from cryodl.methods.opus_tomo.analyzed import Analysis, open_analysis
from cryodl.methods.opus_tomo.comparison import compare_selection
from cryodl.methods.opus_tomo.config import SelectConfig
from cryodl.methods.opus_tomo.figures import scatter


def run_select(config: SelectConfig, run: RunFolder) -> None:
    """Write a STAR file of some of the particles, with all its blocks and columns.

    Raises
    ------
    InputError, ConfigError
        No analysis, an unknown cluster, a lasso that cannot be read, or nothing in it.
    """
    analysis = open_analysis(config.run)
    if config.clusters is not None:
        chosen = by_cluster(config.clusters, analysis)
    else:
        chosen = by_lasso(Path(str(config.lasso)), analysis)
    if config.invert:
        chosen = ~chosen
    if not chosen.any():
        raise InputError(
            f"{config.lasso or config.clusters}: found no particle in the selection, expected "
            "some; draw a larger region or name other clusters"
        )
    names = {name for name, keep in zip(analysis.training.names, chosen, strict=True) if keep}
    particles = read_particles(analysis.folder / "particles.star", require_images=False)
    kept = particles.subset(np.array([name in names for name in particles.names]))
    write_particles(run.path("particles.star"), kept)
    run.add_file("star", "particles.star")
    run.add_value("selected", len(kept))
    run.add_value("of", len(particles))
    run.report.fact("particles", f"{len(kept)} of {len(particles)}")
    places = analysis.arrays["projections"][:, :2]
    if places.shape[1] == 2:
        kinds = np.where(chosen, "taken", "left")
        run.report.figure(scatter(places, {"selection": kinds}), "The selection among the latents.")
    labels = analysis.arrays["labels"]
    compare_selection(run, analysis.training.latents["linear"], chosen, int(labels.max()))
    run.log(f"{len(kept)} of {len(particles)} particles")


def by_cluster(text: str, analysis: Analysis) -> NDArray[np.bool_]:
    """Return which particles are in the clusters that a text such as ``1,3`` names."""
    labels = analysis.arrays["labels"]
    wanted = [int(part) for part in text.replace(" ", "").split(",") if part]
    unknown = [k for k in wanted if not 1 <= k <= labels.max()]
    if unknown:
        raise ConfigError(
            f"--clusters: found {unknown[0]}, expected numbers from 1 to {labels.max()}; see the "
            "report of the analysis"
        )
    found: NDArray[np.bool_] = np.isin(labels, wanted)
    return found


def by_lasso(path: Path, analysis: Analysis) -> NDArray[np.bool_]:
    """Return which particles lie in the polygon of a JSON file.

    ``{"x": "pc1", "y": "pc2", "points": [[0, 0], [1, 0], [1, 1]]}`` in columns of latents.csv.
    """
    try:
        lasso = json.loads(path.read_text(encoding="utf-8"))
        points = np.array(lasso["points"], dtype=float)
        axes = [str(lasso.get("x", "pc1")), str(lasso.get("y", "pc2"))]
        good = points.ndim == 2 and points.shape[1] == 2 and len(points) >= 3
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}), expected JSON with x, y and points; draw the "
            "region again"
        ) from error
    if not good or not np.isfinite(points).all():
        raise InputError(
            f"{path}: found points of shape {points.shape}, expected three or more corners [x, y]; "
            "draw the region again"
        )
    table = read_table(analysis.folder / "latents.csv")
    unknown = [name for name in axes if name not in table]
    if unknown:
        raise InputError(
            f"{path}: found axis {unknown[0]!r}, expected one of {', '.join(table)}; correct it"
        )
    return inside_polygon(np.column_stack([table[name] for name in axes]), points)


def read_table(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the numeric columns of latents.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    heads = [h for h in rows[0] if h not in ("name", "tomogram")] if rows else []
    return {head: np.array([float(row[head]) for row in rows]) for head in heads}


def inside_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points (n, 2) lie in a polygon, by counting the edges that a ray crosses."""
    inside = np.zeros(len(points), dtype=bool)
    x, y = points.T
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside
