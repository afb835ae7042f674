"""Tilt series into a ``tomograms.star``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.io.particles.tilt_series import PROJECTION, SIZE, projection_matrices
from cryodl.core.io.star import StarBlocks, write_star
from cryodl.errors import InputError

_VERSION = 50001


def write_tomograms(path: str | os.PathLike[str], tilts: Mapping[str, TiltSeries]) -> None:
    """Write tilt series as RELION 4 does and WarpTools does for RELION 5.

    Parameters
    ----------
    path : path-like
        The file: ``data_global`` and a block for each tomogram.
    tilts : mapping of str to TiltSeries
        By the name of the tomogram.

    Raises
    ------
    InputError
        No tilt series, or one whose arrays differ in length.
    ResourceError
        Disk full, no permission.
    """
    import pandas as pd

    if not tilts:
        raise InputError(
            f"{path}: found no tilt series to write, expected at least one; give the tilt series"
        )
    blocks = StarBlocks(version=_VERSION)
    blocks["global"] = pd.DataFrame([_global_row(name, series) for name, series in tilts.items()])
    for name, series in tilts.items():
        blocks[name] = _tilt_table(name, series)
    write_star(path, blocks)


def _global_row(name: str, series: TiltSeries) -> dict[str, Any]:
    size = series.size_xyz_px or (0, 0, 0)
    dose = series.dose_e_per_angstrom2
    steps = np.diff(np.sort(dose))
    return {
        "rlnTomoName": name,
        "rlnTomoTiltSeriesName": f"{name}.mrc",
        "rlnTomoFrameCount": len(series.tilt_angles_degrees),
        **dict(zip(SIZE, size)),
        "rlnTomoHand": float(series.hand),
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnTomoTiltSeriesPixelSize": float(series.pixel_size_angstrom),
        "rlnVoltage": float(series.voltage_kv),
        "rlnSphericalAberration": float(series.spherical_aberration_mm),
        "rlnAmplitudeContrast": float(series.amplitude_contrast),
        "rlnTomoImportFractionalDose": float(np.median(steps)) if len(steps) else 0.0,
    }


def _tilt_table(name: str, series: TiltSeries) -> Any:
    import pandas as pd

    count = len(series.tilt_angles_degrees)
    matrices = projection_matrices(series)
    columns: dict[str, Any] = {
        label: [_vector(row) for row in matrices[:, i]] for i, label in enumerate(PROJECTION[:3])
    }
    columns[PROJECTION[3]] = ["[0,0,0,1]"] * len(matrices)
    known = np.isfinite(series.defocus_u_angstrom).all()
    for label, values in (
        ("rlnDefocusU", series.defocus_u_angstrom if known else None),
        ("rlnDefocusV", series.defocus_v_angstrom if known else None),
        ("rlnDefocusAngle", series.astigmatism_degrees if known else None),
        ("rlnPhaseShift", series.phase_shift_degrees if known else None),
        ("rlnCtfScalefactor", series.scale),
        ("rlnCtfBfactor", series.bfactor),
        ("rlnMicrographPreExposure", series.dose_e_per_angstrom2),
    ):
        if values is not None:
            columns[label] = np.asarray(values, dtype=np.float64)
    lengths = {len(values) for values in columns.values()}
    if lengths != {count}:
        raise InputError(
            f"tilt series {name}: found columns of {sorted(lengths)} rows, expected {count} in "
            "each; give one value for each tilt"
        )
    return pd.DataFrame(columns)


def _vector(row: NDArray[np.float64]) -> str:
    return "[" + ",".join(f"{value:.9g}" for value in row.tolist()) + "]"
