"""The report of ``cryodl particles extract``: counts, some boxes, the mean of all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.particles_extract_config import ParticlesExtractConfig
from cryodl.commands.particles_extract_job import TomogramAccount
from cryodl.commands.particles_extract_plan import NO_TOMOGRAM, Plan
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.shells import shell_mean
from cryodl.core.io.mrc import read_volume
from cryodl.core.run.figures import central_slices, new_figure
from cryodl.core.run.folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

_SHOWN, _COLUMNS = 24, 8
_MOST_FILLED = 0.2
_MOST_DROPPED = 0.3
_SURE = 6.0  # standard deviations of a voxel, over the root of how many there are


def write_report(
    config: ParticlesExtractConfig, run: RunFolder, plan: Plan, accounts: list[TomogramAccount]
) -> None:
    """Fill the report, and say what looks doubtful."""
    report = run.report
    kept = sum(len(account.kept) for account in accounts)
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
    _doubts(config, run, plan, accounts, mean)


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
    accounts: list[TomogramAccount],
    mean: NDArray[np.float64],
) -> None:
    kept = sum(len(account.kept) for account in accounts)
    filled = sum(account.filled for account in accounts)
    doubts = [f"{remark[0].upper()}{remark[1:]}." for remark in plan.remarks]
    lost = plan.dropped + sum((Counter(account.dropped) for account in accounts), Counter[str]())
    if plan.read - kept > _MOST_DROPPED * plan.read:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in lost.most_common())
        doubts.append(f"{plan.read - kept} of {plan.read} points gave no particle ({reasons}).")
        if lost.most_common(1)[0][0] != NO_TOMOGRAM:
            doubts[-1] += (
                " See whether they count in the pixel size they are taken to count in; a smaller "
                "box or --border fill keeps more."
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
    if looks_inverted(mean):
        other = "dark" if config.contrast == "bright" else "bright"
        doubts.append(
            "The mean box is darker than its border where it differs most. Matter was taken as "
            f"{config.contrast} in the tomograms: if it is {other}, extract again with --contrast "
            f"{other}."
        )
    for doubt in doubts:
        run.report.distrust(doubt)
        run.log(f"note: {doubt}")


def looks_inverted(mean: NDArray[np.float64]) -> bool:
    """Tell whether matter is dark in the mean of many boxes.

    Of the shells about the middle the one counts that differs from the border most surely. A hollow
    particle is dark in the very middle, but its wall has more voxels.
    """
    n = len(mean)
    index = shell_index(n)
    outside = mean[index >= n // 2]
    counts = np.bincount(index.ravel())[: n // 2]
    means = shell_mean(mean, index, n // 2)
    strengths = (means - outside.mean()) * np.sqrt(counts)
    strongest = float(strengths[np.abs(strengths).argmax()])
    return strongest < -_SURE * max(float(outside.std()), 1e-6 * float(np.abs(mean).max()))
