"""The work of ``cryodl cet-pick evaluate``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.evaluation.matching import (
    PickingScore,
    average_precision,
    match_points,
    score_points,
)
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.run.figures import new_figure
from cryodl.core.run.folder import RunFolder
from cryodl.errors import InputError
from cryodl.methods.cet_pick.config import EvaluateConfig

_CZII_BETA = 4.0  # of the CZII challenge, which values recall


def run_evaluate(config: EvaluateConfig, run: RunFolder) -> None:
    """Count right, missing and extra picks over all tomograms.

    Raises
    ------
    InputError
        Numbers of files differ, or a file cannot be read.
    """
    if len(config.predicted) != len(config.truth):
        raise InputError(
            f"--truth: found {len(config.truth)} files for {len(config.predicted)} of picks, "
            "expected as many in the same order; give one for each"
        )
    scores, precisions, errors = [], [], []
    for picked, true in zip(config.predicted, config.truth, strict=True):
        picks, truth = read_coordinates(picked, may_be_empty=True), read_coordinates(true)
        score = score_points(picks.xyz_px, truth.xyz_px, config.radius)
        scores.append(score)
        rows, columns = match_points(picks.xyz_px, truth.xyz_px, config.radius)
        errors.append(picks.xyz_px[rows] - truth.xyz_px[columns])
        if picks.scores is not None:
            precisions.append(
                average_precision(picks.xyz_px, picks.scores, truth.xyz_px, config.radius)
            )
    _write(config, run, scores, precisions, np.concatenate(errors))


def _write(
    config: EvaluateConfig,
    run: RunFolder,
    scores: list[PickingScore],
    precisions: list[float],
    errors: NDArray[np.float64],
) -> None:
    lengths = np.linalg.norm(errors, axis=1)
    total = PickingScore(
        sum(s.found for s in scores),
        sum(s.missed for s in scores),
        sum(s.extra for s in scores),
        float(lengths.mean()) if len(lengths) else float("nan"),
    )
    run.add_value("f1", total.f1)
    run.add_value("precision", total.precision)
    run.add_value("recall", total.recall)
    run.add_value("f4", total.f_beta(_CZII_BETA))
    run.add_value("mean_error_px", total.mean_error_px if len(lengths) else None)
    if precisions:
        run.add_value("average_precision", float(np.mean(precisions)))
    if len(errors):
        run.add_value("mean_offset_xyz_px", [float(value) for value in errors.mean(0)])
    run.report.fact("F1", f"{total.f1:.3f}")
    run.report.fact("recall | precision", f"{total.recall:.3f} | {total.precision:.3f}")
    run.report.fact("mean error", f"{total.mean_error_px:.2f} px" if len(lengths) else "none")
    run.report.heading("Tomograms")
    run.report.table(
        ["picks", "found", "missed", "extra", "F1", "mean error (px)"],
        [
            [Path(path).name, s.found, s.missed, s.extra, s.f1, s.mean_error_px]
            for path, s in zip(config.predicted, scores, strict=True)
        ],
    )
    if len(lengths):
        figure = new_figure(width=7.0, height=3.0)
        figure.axes[0].hist(lengths, bins=30, color="#2f6fde")
        figure.axes[0].set_xlabel("Distance of a pick from the true position (px)")
        figure.axes[0].set_ylabel("Picks")
        run.report.figure(figure, "How far right picks are from the truth.")
    run.log(
        f"F1 {total.f1:.3f}, recall {total.recall:.3f}, precision {total.precision:.3f} within "
        f"{config.radius:g} px"
    )
