"""Judge a correction against a known structure: for simulated data and teaching."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.evaluation.directional import (
    DirectionalComparison,
    compare_direction,
    region_fsc,
)
from cryodl.core.io.mrc import Volume, read_volume
from cryodl.core.run.figures import shell_curves
from cryodl.errors import InputError

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder

_BADLY_MEASURED = 0.5


def read_truth(path: Path, like: Volume) -> np.ndarray:
    """Read the known structure; it must lie on the grid of the half maps."""
    truth = read_volume(path, pixel_size_angstrom=like.pixel_size_angstrom).data
    return _same_box(path, truth, like)


def read_region(path: Path | None, weight: np.ndarray, like: Volume) -> np.ndarray:
    """Return the badly measured part of Fourier space, ``(n, n, n)`` bool, centred.

    Without a file it is where the directional weight is below half of what the best directions of
    the same shell reach.
    """
    if path is not None:
        region = read_volume(
            path, pixel_size_angstrom=like.pixel_size_angstrom, require_variance=False
        ).data
        return np.asarray(_same_box(path, region, like) > 0.5)
    from cryodl.core.fourier.grids import shell_index

    shells = shell_index(len(weight))
    best = np.zeros(int(shells.max()) + 1, dtype=np.float32)
    np.maximum.at(best, shells.ravel(), weight.ravel())
    return np.asarray(weight < _BADLY_MEASURED * best[shells])


def report_truth(
    before: np.ndarray,
    after: np.ndarray,
    truth: np.ndarray,
    region: np.ndarray,
    pixel_size_angstrom: float,
    run: RunFolder,
) -> DirectionalComparison:
    """Write how near the map came to the truth, inside and outside the region.

    Parameters
    ----------
    before, after, truth : np.ndarray
        ``(n, n, n)``: half map 1 as given, as corrected, and the structure.
    region : np.ndarray
        Badly measured part of Fourier space, centred, bool.
    """
    comparison = compare_direction(before, after, truth, region)
    run.add_value("truth_before", _plain(comparison.before))
    run.add_value("truth_after", _plain(comparison.after))
    curves = {
        f"{side}, {when}": region_fsc(volume, truth, chosen)
        for side, chosen in (("badly measured", region), ("well measured", ~region))
        for when, volume in (("input", before), ("corrected", after))
    }
    run.report.heading("Against the truth")
    run.report.figure(
        shell_curves(curves, box_size_px=len(truth), pixel_size_angstrom=pixel_size_angstrom),
        "FSC of half map 1 with the known structure, inside and outside the badly measured part "
        "of Fourier space.",
    )
    rows = []
    for band in ("low", "high"):
        for side in ("inside", "outside"):
            fsc, power = f"fsc_{side}_{band}", f"power_{side}_{band}"
            rows.append(
                [
                    f"{side}, {band} resolution",
                    getattr(comparison.before, fsc),
                    getattr(comparison.after, fsc),
                    getattr(comparison.before, power),
                    getattr(comparison.after, power),
                ]
            )
    run.report.table(
        ["part and band", "FSC input", "FSC corrected", "power input", "power corrected"], rows
    )
    return comparison


def _same_box(path: Path, data: np.ndarray, like: Volume) -> np.ndarray:
    if data.shape != like.data.shape:
        raise InputError(
            f"{path}: found a box of {data.shape[0]}, expected {like.data.shape[0]} as in "
            f"{like.path}; give a file on the grid of the half maps"
        )
    return data


def _plain(score: object) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(score).items()}  # type: ignore[call-overload]
