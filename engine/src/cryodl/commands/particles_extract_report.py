"""The report of ``cryodl particles extract``: counts, some boxes, the mean of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.particles_extract_config import ParticlesExtractConfig
from cryodl.commands.particles_extract_job import TomogramAccount
from cryodl.commands.particles_extract_plan import Plan
from cryodl.core.io.mrc import read_volume
from cryodl.core.run.figures import central_slices, new_figure
from cryodl.core.run.folder import RunFolder
from cryodl.core.volumes.boxes import border_mean

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

_SHOWN, _COLUMNS = 24, 8
_MOST_FILLED = 0.2
_MOST_DROPPED = 0.3


def write_report(
    config: ParticlesExtractConfig, run: RunFolder, plan: Plan, accounts: list[TomogramAccount]
) -> None:
    """Fill the report, and say what looks doubtful."""
    report = run.report
    kept = sum(len(account.kept) for account in accounts)
    filled = sum(account.filled for account in accounts)
    pixel = accounts[0].pixel_size_angstrom
    report.fact("particles", str(kept))
    report.fact("dropped", str(plan.read - kept))
    report.fact("box", f"{config.box_size_px} px, {config.box_size_px * pixel:.0f} Å")
    report.fact("pixel size", f"{pixel:.4g} Å")
    mean = mean_box(plan, accounts)
    report.heading("The mean of all boxes")
    report.figure(
        central_slices({"mean": mean}),
        "As they lie in the tomograms, not rotated. Left to right: across z, across y, across x.",
    )
    report.heading("Boxes")
    paths = [job.box_path(i) for job, account in zip(plan.jobs, accounts) for i in account.kept]
    chosen = np.unique(np.linspace(0, kept - 1, min(_SHOWN, kept)).round().astype(int))
    report.figure(gallery([paths[i] for i in chosen]), "Central sections across z, evenly chosen.")
    report.heading("Tomograms")
    report.table(
        ["tomogram", "points", "boxes", "filled", "mean", "standard deviation"],
        [
            [
                job.name,
                len(job.points_px),
                len(account.kept),
                account.filled,
                "" if account.mean is None else account.mean,
                "" if account.deviation is None else account.deviation,
            ]
            for job, account in zip(plan.jobs, accounts)
        ],
    )
    _doubts(config, run, plan, kept, filled, mean)


def mean_box(plan: Plan, accounts: list[TomogramAccount]) -> NDArray[np.float64]:
    """Return the mean of all boxes, from those of the tomograms."""
    total = np.zeros((plan.jobs[0].settings.size_px,) * 3)
    for job, account in zip(plan.jobs, accounts):
        if account.kept:
            mean = read_volume(job.mean_path, require_variance=False).data
            total += mean.astype(np.float64) * len(account.kept)
    return total / sum(len(account.kept) for account in accounts)


def gallery(paths: list[Path]) -> Figure:
    """Draw the central section of each volume, in rows of eight."""
    columns = min(_COLUMNS, len(paths))
    rows = -(-len(paths) // columns)
    figure = new_figure(rows, columns, 1.3 * columns + 0.2, 1.3 * rows + 0.2)
    for axis in figure.axes:
        axis.set_axis_off()
    for axis, path in zip(figure.axes, paths):
        data = read_volume(path, require_variance=False).data
        section = data[data.shape[0] // 2]
        low, high = np.percentile(section, (0.5, 99.5))
        axis.imshow(section, cmap="gray", vmin=low, vmax=high, origin="lower")
        axis.set_title(path.stem[-18:], fontsize=6)
    return figure


def _doubts(
    config: ParticlesExtractConfig,
    run: RunFolder,
    plan: Plan,
    kept: int,
    filled: int,
    mean: NDArray[np.float64],
) -> None:
    doubts = []
    if plan.read - kept > _MOST_DROPPED * plan.read:
        doubts.append(
            f"{plan.read - kept} of {plan.read} points gave no particle: see the reasons in the "
            "log, and whether the points count in the pixel size they are taken to count in."
        )
    if filled > _MOST_FILLED * kept:
        doubts.append(
            f"{filled} of {kept} boxes reach beyond their tomogram and were filled there: such "
            "particles are incomplete."
        )
    unknown = [job.name for job in plan.jobs if not job.tilts_degrees]
    if 0 < len(unknown) < len(plan.jobs):
        doubts.append(
            f"The tilts of {len(unknown)} tomograms are not known, such as {unknown[0]}: the STAR "
            "file names no missing wedges; give --tilt-min and --tilt-max to have one for all."
        )
    n = config.box_size_px
    middle = mean[tuple(slice(n // 2 - n // 8, n // 2 + n // 8 + 1) for _ in range(3))]
    spread = float(mean.std())
    difference = float(middle.mean()) - border_mean(mean)
    if spread > 0 and difference < -0.5 * spread:
        doubts.append(
            "The middle of the mean box is darker than its border. If matter is dark in the "
            f"tomograms, which were taken as {config.contrast}, extract again with --contrast "
            f"{'dark' if config.contrast == 'bright' else 'bright'}."
        )
    for doubt in doubts:
        run.report.distrust(doubt)
        run.log(f"note: {doubt}")
