"""How tomograms were recorded: tilt tables of RELION 4 and 5, and CTF STAR files of particles.

Angles and axis are those of the geometry that the file describes. RELION's projection matrix P maps
points of the tomogram to the tilt image; its third row is the direction of the beam.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.particles.columns import as_floats, as_texts
from cryodl.core.io.particles.dialects import is_table
from cryodl.core.io.particles.image_files import FileFinder
from cryodl.core.io.particles.model import ParticleSet, TiltSeries
from cryodl.core.io.star import StarBlocks, read_star
from cryodl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

PROJECTION = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ", "rlnTomoProjW")
SIZE = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
SERIES_FILE = "rlnTomoTiltSeriesStarFile"
SERIES_ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
SERIES_SHIFTS = ("rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
# CTF files of subtomograms hold the dose as a B-factor of 4 A^2 for each electron per A^2, positive
# from RELION's own script, negative from Warp and M.
_BFACTOR_PER_DOSE = 4.0
_DEFAULT_AXIS_DEGREES = 90.0
_LARGEST_ANGLE = 1e6


def read_tomograms(path: str | os.PathLike[str]) -> dict[str, TiltSeries]:
    """Read the tilt series of all tomograms.

    Parameters
    ----------
    path : path-like
        ``tomograms.star`` of RELION 4 or WarpTools (``data_global`` and a block for each
        tomogram) or of RELION 5 (which names a STAR file for each tomogram).

    Returns
    -------
    dict of str to TiltSeries
        By the name of the tomogram.

    Raises
    ------
    InputError
        Not such a file; tilts that are missing or make no sense.
    """
    blocks = read_star(path)
    table: Any = blocks.get("global")
    if not is_table(table) or "rlnTomoName" not in table:
        raise InputError(
            f"{path}: found no table data_global with rlnTomoName, expected a tomograms.star; give "
            "that of a RELION tomography job or of WarpTools"
        )
    finder = FileFinder(path)
    found: dict[str, TiltSeries] = {}
    for _, row in table.iterrows():
        name = str(row["rlnTomoName"])
        if name in found:
            raise InputError(
                f"{path}: names tomogram {name} twice, expected each once; remove one of them"
            )
        tilts, where = _tilt_table(blocks, dict(row), name, path, finder)
        found[name] = _series(name, dict(row), tilts, where)
    return found


def _tilt_table(
    blocks: StarBlocks,
    row: Mapping[str, Any],
    name: str,
    path: str | os.PathLike[str],
    finder: FileFinder,
) -> tuple[pd.DataFrame, str]:
    if is_table(blocks.get(name)):
        return blocks[name], f"{path}: data_{name}"
    if SERIES_FILE not in row:
        raise InputError(
            f"{path}: found no tilts of tomogram {name}, expected a table data_{name} or a column "
            f"{SERIES_FILE}; give the tomograms.star of a RELION tomography job"
        )
    file = finder.find(str(row[SERIES_FILE]))
    tables = [block for block in read_star(file).values() if is_table(block)]
    if not tables:
        raise InputError(
            f"{file}: found no table, expected the tilts of tomogram {name}; make the file again"
        )
    return tables[0], str(file)


def _series(name: str, row: Mapping[str, Any], tilts: pd.DataFrame, where: str) -> TiltSeries:
    count = len(tilts)
    if count == 0:
        raise InputError(f"{where} has no rows, expected one for each tilt; make the file again")
    pixel = _number(row, "rlnTomoTiltSeriesPixelSize", np.nan)
    if not np.isfinite(pixel) or pixel <= 0:
        raise InputError(
            f"{where}: rlnTomoTiltSeriesPixelSize of tomogram {name} is {pixel:g}, expected the "
            "pixel size of its tilt series in A; correct tomograms.star"
        )
    sizes = [_number(row, label, 0.0) for label in SIZE]
    known = all(0 < size < 1e6 for size in sizes)
    size = (int(sizes[0]), int(sizes[1]), int(sizes[2])) if known else None
    projections = _projections(tilts, size, pixel, where)
    angles, axis = tilt_geometry(projections)
    defocus_u, defocus_v, astigmatism, phase = _defocus(tilts)
    hand = _number(row, "rlnTomoHand", -1.0)
    return TiltSeries(
        name=name,
        tilt_angles_degrees=angles,
        tilt_axis_degrees=axis,
        dose_e_per_angstrom2=_dose(tilts, _number(row, "rlnTomoImportFractionalDose", np.nan)),
        defocus_u_angstrom=defocus_u,
        defocus_v_angstrom=defocus_v,
        astigmatism_degrees=astigmatism,
        phase_shift_degrees=phase,
        voltage_kv=_number(row, "rlnVoltage", 300.0),
        spherical_aberration_mm=_number(row, "rlnSphericalAberration", 2.7),
        amplitude_contrast=_number(row, "rlnAmplitudeContrast", 0.07),
        pixel_size_angstrom=pixel,
        hand=1 if hand > 0 else -1,
        projections=projections,
        size_xyz_px=size,
        scale=_column(tilts, "rlnCtfScalefactor"),
        bfactor=_bfactor(tilts),
    )


def _projections(
    tilts: pd.DataFrame, size: tuple[int, int, int] | None, pixel: float, where: str
) -> Floats:
    """Return (K, 3, 4) matrices from the vectors of RELION 4 or the angles of RELION 5."""
    if all(label in tilts for label in PROJECTION[:3]):
        return np.stack([_vectors(tilts[label], where, label) for label in PROJECTION[:3]], axis=1)
    if "rlnTomoYTilt" not in tilts:
        if "rlnTomoNominalStageTiltAngle" not in tilts:
            raise InputError(
                f"{where}: found neither rlnTomoProjX nor rlnTomoYTilt, expected the geometry of "
                "each tilt; give the tomograms.star of a job that aligned the tilt series"
            )
        nominal = as_floats(tilts["rlnTomoNominalStageTiltAngle"])
        axis = _column(tilts, "rlnTomoNominalTiltAxisAngle")
        rotation = axis if axis is not None else np.zeros(len(tilts))
        values = np.stack([np.zeros(len(tilts)), nominal, rotation], axis=1)
    else:
        parts = [_column(tilts, label) for label in SERIES_ANGLES]
        values = np.stack([p if p is not None else np.zeros(len(tilts)) for p in parts], axis=1)
    shifts = [_column(tilts, label) for label in SERIES_SHIFTS]
    in_plane = [s if s is not None else np.zeros(len(tilts)) for s in shifts]
    offsets = np.stack([*in_plane, np.zeros(len(tilts))], axis=1) / pixel
    bad = ~np.isfinite(values).all(axis=1) | (np.abs(values) > _LARGEST_ANGLE).any(axis=1)
    bad |= ~np.isfinite(offsets).all(axis=1)
    if bad.any():
        raise InputError(
            f"{where}: tilt {int(np.flatnonzero(bad)[0]) + 1} has an angle or shift that is not a "
            "finite number, expected degrees and A; remove that tilt or align the series again"
        )
    rotations = axis_rotation(values[:, 2], 2) @ (
        axis_rotation(values[:, 1], 1) @ axis_rotation(values[:, 0], 0)
    )
    centre = np.array(size if size is not None else (0, 0, 0)) / 2
    # The middle of the tomogram comes to the middle of the image, which has its x and y size when
    # the file says nothing else (RELION 5, tilt_series_project).
    translation = offsets + centre - rotations @ centre
    return np.concatenate([rotations, translation[:, :, None]], axis=2)


def axis_rotation(degrees: ArrayLike, axis: int) -> Floats:
    """Return active right-handed rotations about x (0), y (1) or z (2), (K, 3, 3)."""
    angle = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., first, second] = -np.sin(angle)
    matrix[..., second, first] = np.sin(angle)
    return matrix


def _vectors(column: pd.Series, where: str, label: str) -> Floats:
    """Read ``[a,b,c,d]`` of every tilt."""
    rows = np.full((len(column), 4), np.nan)
    for i, text in enumerate(as_texts(column)):
        words = text.strip().removeprefix("[").removesuffix("]").split(",")
        if len(words) == 4:
            try:
                rows[i] = [float(word) for word in words]
            except ValueError:
                continue
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{where}: {label} of tilt {i + 1} is {as_texts(column)[i][:40]!r}, expected four "
            "numbers such as [1,0,0,0]; make the file again"
        )
    return rows


def tilt_geometry(projections: ArrayLike) -> tuple[Floats, float]:
    """Find the tilt angles and the tilt axis of projection matrices.

    Parameters
    ----------
    projections : (K, 3, 3) or (K, 3, 4)
        From the tomogram to the tilt images.

    Returns
    -------
    tilt_angles_degrees : (K,) float64
        Of `TiltSeries`.
    tilt_axis_degrees : float
        From -45 up to 135, so that axes near y and near x both keep their sense; 90, along y, where
        no tilt says otherwise.
    """
    rotation = np.asarray(projections, dtype=np.float64)[:, :, :3]
    beam = rotation[:, 2]
    flat = np.linalg.norm(beam, axis=1) < 1e-6
    beam = np.where(flat[:, None], np.cross(rotation[:, 0], rotation[:, 1]), beam)
    length = np.linalg.norm(beam, axis=1, keepdims=True)
    beam = np.divide(beam, length, out=np.tile([0.0, 0.0, 1.0], (len(beam), 1)), where=length > 0)
    axis = np.deg2rad(_DEFAULT_AXIS_DEGREES)
    _, values, directions = np.linalg.svd(beam[:, :2], full_matrices=False)
    if values[0] > 1e-3:
        axis = np.arctan2(-directions[0, 0], directions[0, 1])
        axis = np.deg2rad((np.rad2deg(axis) + 45.0) % 180.0 - 45.0)
    across = beam[:, :2] @ np.array([-np.sin(axis), np.cos(axis)])
    return np.rad2deg(np.arctan2(across, beam[:, 2])), float(np.rad2deg(axis))


def projection_matrices(series: TiltSeries) -> Floats:
    """Return (K, 3, 4) matrices: those of the file, or pure tilts about the axis."""
    if series.projections is not None:
        return series.projections
    turn = axis_rotation(series.tilt_axis_degrees, 2)
    # Tilting about x once the axis lies along it.
    rotations = turn @ axis_rotation(series.tilt_angles_degrees, 0) @ turn.T
    centre = np.array(series.size_xyz_px or (0, 0, 0)) / 2
    return np.concatenate([rotations, (centre - rotations @ centre)[:, :, None]], axis=2)


def read_ctf_star(
    path: str | os.PathLike[str], pixel_size_angstrom: float, *, name: str = ""
) -> TiltSeries:
    """Read the CTF STAR file of one subtomogram (``rlnCtfImage`` that ends in ``.star``).

    The geometry is that which RELION gives to the three angles of a row, so that the sign of
    ``tilt_angles_degrees`` is opposite to that of ``rlnAngleTilt``.

    Raises
    ------
    InputError
        No table with ``rlnAngleTilt``, or an angle that is not a finite number.
    """
    tables = [block for block in read_star(path).values() if is_table(block)]
    table = next((t for t in tables if "rlnAngleTilt" in t and len(t)), None)
    if table is None:
        raise InputError(
            f"{path}: found no table with rlnAngleTilt, expected a row for each tilt; give the CTF "
            "STAR file of a subtomogram"
        )
    angles = np.zeros((len(table), 3))
    for i, label in enumerate(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")):
        if label in table:
            angles[:, i] = as_floats(table[label])
    if not (np.abs(np.nan_to_num(angles, nan=np.inf)) < _LARGEST_ANGLE).all():
        raise InputError(
            f"{path}: an angle is not a finite number, expected degrees; make the file again"
        )
    rotations = euler_to_matrix(*angles.T)
    tilt_angles, axis = tilt_geometry(rotations)
    defocus_u, defocus_v, astigmatism, phase = _defocus(table)
    first = {str(label): table[label].iloc[0] for label in table}
    return TiltSeries(
        name=name,
        tilt_angles_degrees=tilt_angles,
        tilt_axis_degrees=axis,
        dose_e_per_angstrom2=_dose(table, np.nan),
        defocus_u_angstrom=defocus_u,
        defocus_v_angstrom=defocus_v,
        astigmatism_degrees=astigmatism,
        phase_shift_degrees=phase,
        voltage_kv=_number(first, "rlnVoltage", 300.0),
        spherical_aberration_mm=_number(first, "rlnSphericalAberration", 2.7),
        amplitude_contrast=_number(first, "rlnAmplitudeContrast", 0.07),
        pixel_size_angstrom=float(pixel_size_angstrom),
        projections=np.concatenate([rotations, np.zeros((len(table), 3, 1))], axis=2),
        scale=_column(table, "rlnCtfScalefactor"),
        bfactor=_bfactor(table),
    )


def particle_tilts(particles: ParticleSet, index: int) -> TiltSeries | None:
    """Return how one particle was recorded: its own CTF STAR file, else its tomogram's tilts.

    None when neither is known.
    """
    if particles.ctf_paths:
        path: Path = particles.ctf_paths[index]
        if path.suffix.lower() == ".star":
            pixel = float(particles.pixel_size_angstrom[index])
            return read_ctf_star(path, pixel, name=particles.tomograms[index])
    return particles.tilts.get(particles.tomograms[index])


def _defocus(table: pd.DataFrame) -> tuple[Floats, Floats, Floats, Floats]:
    """Return defocus U and V, its angle and the phase shift; V is U where it is absent."""
    count = len(table)
    u = _column(table, "rlnDefocusU")
    v = _column(table, "rlnDefocusV")
    u = u if u is not None else np.full(count, np.nan)
    v = v if v is not None else u.copy()
    angle, phase = _column(table, "rlnDefocusAngle"), _column(table, "rlnPhaseShift")
    zeros = np.zeros(count)
    return (
        u,
        np.where(np.isfinite(v), v, u),
        zeros if angle is None else np.nan_to_num(angle),
        zeros.copy() if phase is None else np.nan_to_num(phase),
    )


def _dose(table: pd.DataFrame, per_tilt: float) -> Floats:
    """Return the electrons received before each tilt."""
    before = _column(table, "rlnMicrographPreExposure")
    if before is not None:
        return np.nan_to_num(before)
    if _dose_is_bfactor(table):
        return np.abs(np.nan_to_num(as_floats(table["rlnCtfBfactor"]))) / _BFACTOR_PER_DOSE
    if np.isfinite(per_tilt):
        return np.arange(len(table)) * per_tilt
    return np.zeros(len(table))


def _dose_is_bfactor(table: pd.DataFrame) -> bool:
    return (
        "rlnMicrographPreExposure" not in table
        and "rlnCtfBfactor" in table
        and bool(np.nan_to_num(as_floats(table["rlnCtfBfactor"])).any())
    )


def _bfactor(table: pd.DataFrame) -> Floats | None:
    """Return the B-factors, but none that stand for the dose: it would damp twice."""
    return None if _dose_is_bfactor(table) else _column(table, "rlnCtfBfactor")


def _column(table: pd.DataFrame, label: str) -> Floats | None:
    return as_floats(table[label]) if label in table else None


def _number(row: Mapping[str, Any], label: str, default: float) -> float:
    try:
        value = float(row[label])
    except (KeyError, TypeError, ValueError):
        return default
    return value if np.isfinite(value) else default
