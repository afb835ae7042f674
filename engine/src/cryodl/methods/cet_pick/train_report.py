"""What a person sees after a training."""

from __future__ import annotations

import numpy as np

from cryodl.core.run.figures import loss_curves
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.loop import FitResult
from cryodl.methods.cet_pick.calibration import Calibration
from cryodl.methods.cet_pick.config import TrainConfig
from cryodl.methods.cet_pick.figures import LABEL_COLOUR, slices_with_points, threshold_curves
from cryodl.methods.cet_pick.inputs import CheckedTomogram

_FEW_HELD_OUT = 8


def report_training(
    config: TrainConfig,
    run: RunFolder,
    checked: list[CheckedTomogram],
    kinds: list[str],
    result: FitResult,
    calibrations: list[Calibration],
) -> None:
    """Fill the report of a training."""
    report = run.report
    for kind, found in zip(kinds, calibrations, strict=True):
        if found.held_out:
            report.fact(f"expected F1, {kind}", f"{found.f1:.2f}")
            report.fact("recall | precision", f"{found.recall:.2f} | {found.precision:.2f}")
        report.fact(f"threshold, {kind}", f"{found.threshold:.2f}")
    report.fact("labels", str(sum(len(entry.kinds) for entry in checked)))
    _curves(run, result)
    report.heading("Labels")
    shown = next(entry for entry in checked if len(entry.points_xyz))
    report.figure(
        slices_with_points(
            shown.tomogram, {"labels": (shown.points_xyz, LABEL_COLOUR)}, config.bbox / 2
        ),
        f"{shown.name}: slices as the network sees them, matter bright, with the labelled "
        "particles. If the circles do not sit on particles, the coordinates are wrong.",
    )
    _cautions(config, run, checked, calibrations)


def _curves(run: RunFolder, result: FitResult) -> None:
    names = [n for n in ("loss", "heat_map", "consistency", "contrast") if n in result.history[0]]
    run.report.heading("Training")
    run.report.figure(
        loss_curves({name: [epoch[name] for epoch in result.history] for name in names}),
        f"Losses over {result.steps} steps.",
    )
    if "recall" in result.history[0]:
        validated = ("recall", "precision", "threshold")
        run.report.figure(
            threshold_curves({n: [epoch[n] for epoch in result.history] for n in validated}),
            "What the held-out labels say after each epoch.",
        )


def _cautions(
    config: TrainConfig,
    run: RunFolder,
    checked: list[CheckedTomogram],
    calibrations: list[Calibration],
) -> None:
    held_out = min(found.held_out for found in calibrations)
    if held_out == 0:
        run.report.distrust(
            "No labels could be held out: the threshold is a guess. Look at the score histogram "
            "of the picks and choose it by eye, or label more."
        )
    elif held_out < _FEW_HELD_OUT:
        run.report.distrust(
            f"Recall and precision rest on {held_out} held-out labels: each may be off by "
            f"{0.5 / np.sqrt(held_out):.0%}."
        )
    if not config.fully_labelled:
        run.report.distrust(
            "With sparse labels precision is estimated, not counted: it takes for granted that the "
            "labelled particles are a fair sample of all."
        )
    if any(not len(entry.points_xyz) for entry in checked):
        run.report.distrust("Tomograms without labels were used as unlabelled data only.")
