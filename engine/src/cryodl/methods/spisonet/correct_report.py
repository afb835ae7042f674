"""The report of a correction: before and after, what is predicted, what to distrust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.run.figures import central_slices, loss_curves, shell_curves
from cryodl.methods.spisonet.figures import fourier_slices
from cryodl.methods.spisonet.inputs import SAME_DATA, HalfMaps
from cryodl.methods.spisonet.truth import read_region, read_truth, report_truth

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder
    from cryodl.methods.spisonet.config import CorrectConfig
    from cryodl.methods.spisonet.prepared import Correction, Prepared

Truth = tuple[np.ndarray, np.ndarray]


def read_truth_inputs(config: CorrectConfig, maps: HalfMaps, weight: np.ndarray) -> Truth | None:
    """Read the known structure and the region of the comparison, if they are given."""
    if config.truth is None:
        return None
    region = read_region(config.truth_region, weight, maps.half1)
    return read_truth(config.truth, maps.half1), region


def write(
    config: CorrectConfig,
    prepared: Prepared,
    finished: list[np.ndarray],
    corrections: list[Correction],
    history: list[dict[str, float]],
    truth: Truth | None,
    run: RunFolder,
) -> None:
    """Fill the report of a finished correction."""
    report, maps = run.report, prepared.maps
    report.fact("corrected up to", f"{prepared.limit_angstrom:.2f} Å")
    if history:
        report.fact("loss of the last epoch", f"{history[-1]['loss']:.3f}")
    report.heading("Half map 1 before and after")
    report.figure(
        central_slices({"input": prepared.halves[0], "corrected": finished[0]}),
        "Central slices, each on its own grey scale.",
    )
    report.heading("Directional weight")
    report.figure(
        fourier_slices(prepared.weight),
        "What was taken as measured: white directions are trusted, black ones are filled.",
    )
    explained = corrections[0].explained
    if explained is not None:
        _write_expectation(explained, prepared, run)
    if len(finished) == 2:
        _write_half_map_fsc(config, prepared, finished, run)
    if history:
        names = [name for name in history[-1] if name not in ("epoch", "step", "learning_rate")]
        curves = {name: [epoch[name] for epoch in history] for name in names}
        report.heading("Training")
        report.figure(loss_curves(curves), "Losses by epoch.")
    if truth is not None:
        structure, region = truth
        report_truth(maps.half1.data, finished[0], structure, region, maps.pixel_size_angstrom, run)
    _write_cautions(config, prepared, run)


def _write_expectation(explained: np.ndarray, prepared: Prepared, run: RunFolder) -> None:
    """Say how well missing directions are predicted where the answer is known."""
    expected = np.sqrt(np.clip(explained, 0.0, 1.0))
    limit = prepared.maps.box_size_px * prepared.maps.pixel_size_angstrom / prepared.limit_angstrom
    band = expected[1 : max(2, int(limit) + 1)]
    run.add_value("expected_fsc_in_missing_directions", round(float(band.mean()), 4))
    run.report.fact("FSC to expect in missing directions", f"{band.mean():.2f}")
    run.report.heading("What the filling is worth")
    run.report.figure(
        shell_curves(
            {"expected FSC with the truth": expected},
            box_size_px=prepared.maps.box_size_px,
            pixel_size_angstrom=prepared.maps.pixel_size_angstrom,
        ),
        "Measured on rotated copies of the half maps whose missing directions are known. Where "
        "the curve is low, the filled directions are a guess.",
    )


def _write_half_map_fsc(
    config: CorrectConfig, prepared: Prepared, finished: list[np.ndarray], run: RunFolder
) -> None:
    maps, masks = prepared.maps, prepared.masks
    if maps.half2 is None:
        return
    inputs = (maps.half1.data, maps.half2.data)
    curves = {
        name: fourier_shell_correlation(pair[0] * masks[0], pair[1] * masks[-1])
        for name, pair in (("input", inputs), ("corrected", finished))
    }
    run.report.heading("FSC between the half maps")
    run.report.figure(
        shell_curves(
            curves,
            box_size_px=maps.box_size_px,
            pixel_size_angstrom=maps.pixel_size_angstrom,
        ),
        "Inside the mask. The curve of corrected maps is "
        + ("a fair estimate." if config.independent else "no measure of resolution, see below."),
    )


def _write_cautions(config: CorrectConfig, prepared: Prepared, run: RunFolder) -> None:
    report = run.report
    if len(prepared.halves) == 2 and not config.independent:
        report.distrust(
            "One network has seen both half maps, so the corrected maps are correlated: their FSC "
            "overstates the resolution. Use --independent for a gold-standard FSC."
        )
    if config.independent:
        report.distrust(
            "Independent halves share nothing but the 3DFSC and a mask, if one was given. Filled "
            "directions still rest on the same assumptions in both, which their FSC cannot reveal."
        )
    if config.reference is not None:
        report.distrust(
            f"Both half maps hold the reference up to {config.ref_resolution:g} Å; their FSC says "
            "nothing there."
        )
    report.distrust(
        "Filled directions are predicted, not measured. Do not build into features that only the "
        "corrected map shows."
    )
    if prepared.maps.same_data:
        report.distrust(SAME_DATA)
