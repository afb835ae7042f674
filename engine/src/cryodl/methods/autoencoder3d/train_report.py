"""What a person sees after a training."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import loss_curves, new_figure
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.loop import FitResult
from cryodl.methods.autoencoder3d.config import TrainConfig
from cryodl.methods.autoencoder3d.inputs import Subvolumes
from cryodl.methods.autoencoder3d.pose_normalization import FINE, Pose

_ALIVE = 0.01  # deviation of a unit, relative to the largest
_ALONG_BEAM = 0.75
_MANY_ODD = 0.3


def active_units(codes: NDArray[np.float32]) -> int:
    """Return how many units of the code vary."""
    deviations = codes.std(axis=0)
    return int((deviations > _ALIVE * max(float(deviations.max()), 1e-12)).sum())


def report_training(
    config: TrainConfig,
    run: RunFolder,
    found: Subvolumes,
    poses: list[Pose],
    codes: NDArray[np.float32],
    result: FitResult,
    explained: NDArray[np.float32],
) -> None:
    """Fill report and result of a training."""
    units = active_units(codes)
    run.add_value("active_units", units)
    run.add_value("explained", float(explained.mean()))
    run.add_value("dropped", dict(found.dropped))
    run.add_value("epochs", result.epochs)
    report = run.report
    report.fact("particles", str(len(codes)))
    report.fact("active units of the code", f"{units} of {codes.shape[1]}")
    report.fact("variance decoded", f"{explained.mean():.0%}")
    report.heading("Training")
    names = [name for name in ("loss", "validation") if name in result.history[0]]
    report.figure(
        loss_curves({name: [epoch[name] for epoch in result.history] for name in names}),
        "Loss by epoch; the epoch with the smallest validation loss is kept.",
    )
    if units < codes.shape[1] / 4:
        report.distrust(
            f"Only {units} of {codes.shape[1]} units of the code vary: particles that differ may "
            "have one code. Use --preset base, whose code is linear."
        )
    if not found.recordings.known:
        report.distrust(
            "The tilts are not known (--tilt-min, --tilt-max): what the missing wedge does to a "
            "particle may decide its group."
        )
    _report_poses(config, run, poses)


def _report_poses(config: TrainConfig, run: RunFolder, poses: list[Pose]) -> None:
    if config.pose == "none":
        return
    states = Counter(pose.state for pose in poses)
    run.add_value("poses", dict(states))
    run.report.heading("Poses")
    run.report.table(["pose", "particles"], [[state, n] for state, n in states.most_common()])
    odd = 1 - states[FINE] / len(poses)
    if odd > _MANY_ODD:
        run.report.distrust(
            f"{odd:.0%} of the particles have no clear shape above the threshold; they keep the "
            "direction of their box. Try another --threshold, or --pose center."
        )
    if config.pose not in ("axis", "full"):
        return
    # The major axis goes to x in full, to z in axis; its beam component is in the last row of A.
    column = 0 if config.pose == "full" else 2
    along = np.array([abs(p.rotation[2, column]) for p in poses if p.state == FINE])
    if len(along) == 0:
        return
    mean = float(along.mean())
    run.add_value("axis_along_beam", mean)
    figure = new_figure(width=6.0, height=2.8)
    axis = figure.axes[0]
    axis.hist(along, bins=[n / 20 for n in range(21)])
    axis.set_xlabel("cosine of main axis and beam")
    axis.set_ylabel("particles")
    run.report.figure(figure, f"Main axes and the beam: mean {mean:.2f}; 0.5 for even directions.")
    if mean > _ALONG_BEAM:
        run.report.distrust(
            f"The main axes lie along the beam (mean cosine {mean:.2f}, 0.5 expected): the missing "
            "wedge, not the shape, is what was normalised. Use --pose center."
        )
