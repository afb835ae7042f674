"""The work of ``cryodl selfalign evaluate``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.evaluation.poses import Poses, in_frame_of
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.io.particles.read import read_particles
from cryodl.core.run.folder import RunFolder
from cryodl.errors import InputError
from cryodl.methods.selfalign.config import EvaluateConfig
from cryodl.methods.selfalign.figures import histograms

_DRAWS = 2000


def run_evaluate(config: EvaluateConfig, run: RunFolder) -> None:
    """Compare poses and write the figures.

    Raises
    ------
    InputError
        Files that cannot be read, or with different particles.
    """
    if config.legacy:
        found, true = (read_legacy_poses(path) for path in (config.predicted, config.truth))
        if len(found.rotations) != len(true.rotations):
            raise InputError(
                f"{config.predicted}: {len(found.rotations)} lines, but {config.truth} has "
                f"{len(true.rotations)}; give lists of the same pairs"
            )
    else:
        found, true = _matched(config, run)
    if config.any_frame:
        found = in_frame_of(found, true, config.symmetry)
    angles = angular_distance_degrees(found.rotations, true.rotations, config.symmetry)
    shifts = np.linalg.norm(found.shifts_px - true.shifts_px, axis=1)
    if config.legacy:
        shifts = np.linalg.norm(np.rint(found.shifts_px) - np.rint(true.shifts_px), axis=1)
    for key, value in figures_of_merit(angles, shifts, config.seed).items():
        run.add_value(key, value)
    chance = _constant_answer(true, config.symmetry)
    run.add_value("constant_answer_median_degrees", chance)
    _report(run, angles, shifts, chance)


def figures_of_merit(
    angles: NDArray[np.float64], shifts_px: NDArray[np.float64], seed: int = 0
) -> dict[str, float | list[float]]:
    """Return what is reported of angular (degrees) and shift errors, with 95 % intervals."""
    frobenius = 2 * np.sqrt(2) * np.sin(np.deg2rad(angles) / 2)
    rows = np.random.default_rng(seed).integers(0, len(angles), (_DRAWS, len(angles)))
    medians = np.median(angles[rows], axis=1)
    within = (angles[rows] <= 10).mean(axis=1)
    return {
        "particles": len(angles),
        "median_degrees": float(np.median(angles)),
        "median_degrees_interval": np.percentile(medians, [2.5, 97.5]).tolist(),
        "mean_degrees": float(angles.mean()),
        "within_10_degrees": float((angles <= 10).mean()),
        "within_10_degrees_interval": np.percentile(within, [2.5, 97.5]).tolist(),
        "within_15_degrees": float((angles <= 15).mean()),
        "frobenius_mean": float(frobenius.mean()),
        "frobenius_deviation": float(frobenius.std()),
        "median_shift_px": float(np.median(shifts_px)),
        "mean_shift_px": float(shifts_px.mean()),
    }


def read_legacy_poses(path: Path) -> Poses:
    """Read the list of the published program: one line a pair, angles then shifts at its end.

    Its rotations act on array axes (z, y, x): turned into ours, errors stay what they are.

    Raises
    ------
    InputError
        A line without six numbers at its end.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}), expected a list of poses") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()[-6:]]
        except ValueError:
            values = []
        if len(values) != 6 or not np.isfinite(values).all():
            raise InputError(
                f"{path}: line {number} is {line.strip()[:40]!r}, expected three angles and three "
                "shifts at its end; give the file of the published program"
            )
        rows.append(values)
    if not rows:
        raise InputError(f"{path}: is empty, expected one line a pair; give another")
    table = np.array(rows)
    first, second, third = (_about(axis, table[:, i]) for i, axis in enumerate("zyz"))
    of_arrays = third @ second @ first
    rotations = of_arrays[:, ::-1, ::-1]
    # Theirs turns about (n - 1) / 2, ours about n / 2.
    half = np.full(3, 0.5)
    shifts = table[:, 3:] + np.einsum("nij,j->ni", of_arrays, half) - half
    return Poses(np.ascontiguousarray(rotations), shifts[:, ::-1])


def _matched(config: EvaluateConfig, run: RunFolder) -> tuple[Poses, Poses]:
    sets = [
        read_particles(path, pixel_size_angstrom=config.pixel_size, require_images=False)
        for path in (config.predicted, config.truth)
    ]
    names = _names(sets[0].names, sets[1].names)
    places = {name: row for row, name in enumerate(names[1])}
    rows = [(i, places[name]) for i, name in enumerate(names[0]) if name in places]
    if not rows:
        raise InputError(
            f"{config.predicted}: none of its particles is in {config.truth} (the first is "
            f"{names[0][0]}, there {names[1][0]}); give files of the same particles"
        )
    if len(rows) < max(map(len, names)):
        run.log(
            f"warning: {len(rows)} particles are in both files, of {len(names[0])} in "
            f"{config.predicted} and {len(names[1])} in {config.truth}; the others are left out"
        )
    poses = []
    for one, chosen in zip(sets, zip(*rows)):
        index = np.array(chosen)
        pixels = one.shifts_angstrom[index] / one.pixel_size_angstrom[index, None]
        poses.append(Poses(one.rotations[index], pixels))
    return poses[0], poses[1]


def _names(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """Return names without as many folders as can go while none of a file becomes another's."""
    for depth in range(1, 9):
        short = [["/".join(Path(name).parts[-depth:]) for name in own] for own in (first, second)]
        if all(len(set(own)) == len(own) for own in short):
            return short[0], short[1]
    return first, second


def _about(axis: str, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine, sine = np.cos(angles), np.sin(angles)
    out = np.tile(np.eye(3), (len(angles), 1, 1))
    i, j = {"z": (0, 1), "y": (2, 0)}[axis]
    out[:, i, i] = out[:, j, j] = cosine
    out[:, i, j], out[:, j, i] = -sine, sine
    return out


def _constant_answer(true: Poses, symmetry: str) -> float:
    """Return the median error of the best answer that is the same for every particle."""
    candidates = true.rotations[:: max(1, len(true.rotations) // 50)]
    medians = [
        np.median(angular_distance_degrees(candidate, true.rotations, symmetry))
        for candidate in candidates
    ]
    return float(min(medians))


def _report(
    run: RunFolder, angles: NDArray[np.float64], shifts: NDArray[np.float64], chance: float
) -> None:
    run.report.fact("median angle", f"{np.median(angles):.2f}°")
    run.report.fact("within 10°", f"{(angles <= 10).mean():.1%}")
    run.report.fact("median shift", f"{np.median(shifts):.2f} px")
    run.report.fact("one answer for all", f"{chance:.1f}°")
    run.report.heading("Errors")
    run.report.figure(
        histograms({"Angle (degrees)": angles, "Shift (px)": shifts}),
        "Errors of the particles.",
    )
    run.log(
        f"median {np.median(angles):.2f} degrees, {(angles <= 10).mean():.1%} within 10 degrees, "
        f"shift {np.median(shifts):.2f} px; the best constant answer is {chance:.1f} degrees off"
    )
