"""STAR files of simulated particles, in the form of RELION 3.1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryodl.core.geometry.rotations import matrix_to_euler
from cryodl.core.io.star import write_star
from cryodl.core.simulation.tilt_series import Optics

_RELION31 = 30001


def write_particle_table(
    path: Path,
    images: Sequence[str] | None,
    rotations: np.ndarray,
    shifts_angstrom: np.ndarray,
    *,
    optics: Optics,
    pixel_size_angstrom: float,
    box_size_px: int,
    dimensions: int,
    columns: Mapping[str, Any],
) -> None:
    """Write particles with their poses.

    Parameters
    ----------
    path
        The STAR file.
    images
        ``rlnImageName`` of each; None for particles that are still in their tomogram.
    rotations, shifts_angstrom
        A and s, ``x_particle = A x_reference - s``: (N, 3, 3) and (N, 3), or (N, 2) for images.
    optics, pixel_size_angstrom, box_size_px
        Go into the table of optics groups.
    dimensions
        3 for subtomograms, 2 for images.
    columns
        More columns, a value or one for each particle.
    """
    import pandas as pd

    angles = matrix_to_euler(rotations)
    table = pd.DataFrame({"rlnOpticsGroup": [1] * len(angles)})
    if images is not None:
        table.insert(0, "rlnImageName", list(images))
    for column, label in enumerate(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")):
        table[label] = angles[:, column]
    for column, axis in enumerate("XYZ"[: shifts_angstrom.shape[1]]):
        table[f"rlnOrigin{axis}Angst"] = shifts_angstrom[:, column]
    for label, values in columns.items():
        table[label] = values
    group: dict[str, object] = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnVoltage": optics.voltage_kv,
        "rlnSphericalAberration": optics.spherical_aberration_mm,
        "rlnAmplitudeContrast": optics.amplitude_contrast,
        "rlnImagePixelSize": pixel_size_angstrom,
    }
    if images is not None:
        group.update(rlnImageSize=box_size_px, rlnImageDimensionality=dimensions)
    write_star(path, {"optics": pd.DataFrame([group]), "particles": table}, version=_RELION31)


def finite(value: float) -> float | None:
    """Return a number for JSON, None for infinity and NaN."""
    return value if math.isfinite(value) else None
