"""Results and report of an averaging run."""

from __future__ import annotations

import numpy as np

from cryodl.core.alignment.aligner import Alignment
from cryodl.core.fourier.masked_fsc import MaskedFsc, fsc_filtered
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.io.atomic import write_text
from cryodl.core.run.figures import shell_curves
from cryodl.core.run.folder import RunFolder
from cryodl.methods.selfalign.align import report_alignment, write_alignment
from cryodl.methods.selfalign.averaging import (
    LENIENT,
    HalfMaps,
    agreement,
    band_of,
    close_mask,
    default_mask,
)
from cryodl.methods.selfalign.config import RefineConfig
from cryodl.methods.selfalign.figures import averages_by_round, by_round, histograms
from cryodl.methods.selfalign.inputs import CheckedParticles, with_box_poses
from cryodl.methods.selfalign.rounds import Round

_MOST_COLUMNS = 8


def write_results(
    config: RefineConfig,
    run: RunFolder,
    checked: CheckedParticles,
    rounds: list[Round],
    mask: np.ndarray | None,
) -> None:
    """Write poses, maps, curve and report of the last round."""
    last, pixel = rounds[-1], checked.pixel_size_angstrom
    curves = [_write_class(config, run, last, index, pixel, mask) for index in range(len(last.fsc))]
    found = Alignment(
        last.rotations,
        last.shifts_px,
        last.scores,
        last.margins,
        last.confidence,
        last.spread_degrees,
    )
    particles = with_box_poses(checked.particles, last.rotations, last.shifts_px)
    particles = particles.with_half_sets(last.halves).with_classes(last.classes)
    write_alignment(run, "particles.star", particles, found)
    run.add_file("star", "particles.star")
    run.add_value("resolution", min(one.resolution_angstrom for one in curves))
    run.add_value("rounds", last.number)
    _report(config, run, checked, rounds, curves)
    report_alignment(run, found)


def _write_class(
    config: RefineConfig,
    run: RunFolder,
    last: Round,
    index: int,
    pixel: float,
    mask: np.ndarray | None,
) -> MaskedFsc:
    """Write the maps and the curve of a class; with several their names say which."""
    maps = HalfMaps(last.half1[index], last.half2[index], last.average[index])
    region = mask if mask is not None else close_mask(maps.average, pixel)
    region = default_mask(maps.average.shape[0]) if region is None else region
    curves, _ = agreement(maps, region, pixel)
    prefix = f"class{index + 1}_" if config.class_count > 1 else ""
    for key, volume in (
        ("half1", maps.half1),
        ("half2", maps.half2),
        ("average_unfiltered", maps.average),
        ("average", fsc_filtered(maps.average, curves.corrected)),
        ("mask", region),
    ):
        run.write_map(f"{prefix}{key}", f"{prefix}{key}.mrc", volume, pixel_size_angstrom=pixel)
    n = maps.average.shape[0]
    lines = ["shell,resolution_angstrom,unmasked,masked,randomised,corrected"]
    for shell in range(n // 2 + 1):
        angstrom = n * pixel / shell if shell else float("inf")
        values = (curves.unmasked, curves.masked, curves.randomised, curves.corrected)
        lines.append(",".join([f"{shell},{angstrom:.3f}", *(f"{v[shell]:.5f}" for v in values)]))
    write_text(run.path(f"{prefix}fsc.csv"), "\n".join(lines) + "\n")
    run.add_file(f"{prefix}fsc", f"{prefix}fsc.csv")
    if prefix:
        run.add_value(f"{prefix}resolution", curves.resolution_angstrom)
        run.add_value(f"{prefix}particles", int((last.classes == index + 1).sum()))
    return curves


def _report(config, run, checked, rounds, curves) -> None:  # type: ignore[no-untyped-def]
    last, report = rounds[-1], run.report
    n, pixel = last.average.shape[-1], checked.pixel_size_angstrom
    for index, one in enumerate(curves, 1):
        of_class = f" of class {index}" if len(curves) > 1 else ""
        report.fact(f"resolution (0.143){of_class}", f"{one.resolution_angstrom:.1f} Å")
        if of_class:
            report.fact(f"particles{of_class}", str(int((last.classes == index).sum())))
    report.fact("rounds", str(last.number))
    report.heading("Averages")
    shown = rounds[:: max(1, -(-len(rounds) // _MOST_COLUMNS))]
    shown = shown if shown[-1] is last else [*shown, last]
    for index in range(len(curves)):
        names = {
            f"round {one.number}" if one.number else "start": one.average[index] for one in shown
        }
        of_class = f"Class {index + 1}. " if len(curves) > 1 else ""
        report.figure(averages_by_round(names), f"{of_class}Slices through the centre, unfiltered.")
    report.heading("Resolution")
    by_name = {f"class {i}": one.corrected for i, one in enumerate(curves, 1)}
    if len(curves) == 1:
        (one,) = curves
        by_name = {"unmasked": one.unmasked, "masked": one.masked}
        by_name |= {"phases random": one.randomised, "corrected": one.corrected}
    report.figure(
        shell_curves(by_name, box_size_px=n, pixel_size_angstrom=pixel),
        "Fourier shell correlation of half sets that were aligned to their own averages only.",
    )
    later = {f"round {one.number}": _best(one.fsc) for one in shown if one.number}
    report.figure(
        shell_curves(later, box_size_px=n, pixel_size_angstrom=pixel),
        "The corrected curve of each round, of the best class.",
    )
    real = [one for one in rounds if one.number]
    numbers = {
        "Resolution (Å)": [one.resolution_angstrom for one in real],
        "Median score": [one.facts.get("score", 0.0) for one in real],
        "Median turn (degrees)": [one.change_degrees for one in real],
    }
    report.figure(by_round(numbers), "Round by round.")
    if len(rounds) > 1:
        change = angular_distance_degrees(rounds[-2].rotations, last.rotations, config.symmetry)
        report.figure(
            histograms({"Turn of the last round (degrees)": change}),
            "How far particles were still turned in the last round.",
        )
    if last.change_degrees > 5:
        report.distrust("Poses still move by more than 5 degrees: give more rounds.")
    report.distrust(
        "Halves that start from one reference agree up to its low-pass whatever the particles "
        "are; believe only what lies beyond it, or start without a reference."
    )


def _best(curves: np.ndarray) -> np.ndarray:
    """Return the curve that stays above 0.143 for longest."""
    return np.asarray(max(curves, key=lambda curve: band_of(curve, LENIENT, 1)))
