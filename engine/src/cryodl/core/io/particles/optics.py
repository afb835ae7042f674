"""Optics groups: made for RELION 3.1 and later, folded into the particles for RELION 3.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.particles.columns import Table, as_floats, image_pixel_size

if TYPE_CHECKING:
    import pandas as pd

    from cryodl.core.io.particles.model import ParticleSet

# What RELION 3.0 keeps with each particle and RELION 3.1 with each optics group.
_MICROSCOPE = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
# Where a file says nothing; RELION 3.1 refuses a table without them.
_USUAL = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}
_MAGNIFICATION = 10000.0
_DIMENSIONS = {"volume": 3, "tilt_stack": 2, "image": 2}
_TILT_SERIES = "rlnTomoTiltSeriesPixelSize"
_BINNING = "rlnTomoSubtomogramBinning"

Floats = NDArray[np.float64]


def make_optics(
    table: pd.DataFrame, optics: pd.DataFrame | None, particles: ParticleSet, *, tomography: bool
) -> pd.DataFrame:
    """Return the optics table of a file that has one; `table` gets its ``rlnOpticsGroup``.

    What `optics` holds stays. Groups are split where their particles differ in pixel size.
    """
    import pandas as pd

    count = len(table)
    group = _groups(table, optics, count)
    image = particles.pixel_size_angstrom
    place = particles.coordinate_pixel_size_angstrom
    microscope = [
        as_floats(table[label]) if optics is None and label in table else np.full(count, np.nan)
        for label in _MICROSCOPE
    ]
    keys = np.stack([group, np.round(image, 6), np.round(place, 6), *microscope], axis=1)
    _, first, inverse = np.unique(
        np.nan_to_num(keys, nan=-1.0), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first, kind="stable") if optics is None else np.arange(len(first))
    rank = np.argsort(order)
    taken: set[int] = set() if optics is None else {_whole(g) for g in _numbers_of(optics)}
    rows, numbers = [], []
    used: set[int] = set()
    for member in first[order].tolist():
        row = _row(optics, group[member])
        number = _whole(group[member])
        if number in used:
            number = max(taken | used) + 1
            row["rlnOpticsGroupName"] = f"opticsGroup{number}"
        used.add(number)
        numbers.append(number)
        row = {"rlnOpticsGroup": number, "rlnOpticsGroupName": f"opticsGroup{number}", **row}
        row["rlnOpticsGroup"] = number
        for i, label in enumerate(_MICROSCOPE):
            row.setdefault(label, _known(microscope[i][member], particles, member, label))
        _fill(row, particles, image[member], place[member], tomography)
        rows.append(row)
    unused = _unused(optics, used)
    table["rlnOpticsGroup"] = np.asarray(numbers)[rank[inverse.reshape(-1)]]
    if optics is None:
        table.drop(columns=[label for label in _MICROSCOPE if label in table], inplace=True)
    made = pd.DataFrame([*rows, *unused])
    if optics is not None:
        made = made[[*optics.columns, *(label for label in made if label not in optics)]]
    return made


def flatten_optics(
    table: pd.DataFrame, optics: pd.DataFrame | None, particles: ParticleSet, target: str
) -> None:
    """Write pixel size and microscope into each row of `table`, as RELION 3.0 and Warp have it."""
    if optics is not None:
        group = _groups(table, optics, len(table))
        rows = [_row(optics, number) for number in group.tolist()]
        for label in _MICROSCOPE:
            if label in optics and label not in table:
                table[label] = [row.get(label, np.nan) for row in rows]
    pixel = particles.pixel_size_angstrom
    if not np.isfinite(pixel).all():
        return
    if target == "warp":
        table["rlnPixelSize"] = pixel
    elif "rlnPixelSize" in table and "rlnCoordinateZ" in table:
        table.drop(columns=["rlnPixelSize"], inplace=True)
    # RELION 3.1 takes a file without these for one of micrographs.
    complete = "rlnMagnification" in table and "rlnDetectorPixelSize" in table
    said = image_pixel_size(Table(table, None, np.full(len(table), -1)))
    if not complete or not np.allclose(said, pixel, rtol=1e-6, atol=0.0):
        table["rlnMagnification"] = _MAGNIFICATION
        table["rlnDetectorPixelSize"] = pixel * _MAGNIFICATION / 1e4
        if "rlnImagePixelSize" in table:
            table["rlnImagePixelSize"] = pixel


def unfold(table: pd.DataFrame) -> None:
    """Remove from `table` what `flatten_optics` had written, for the groups say it again."""
    folded = [*_MICROSCOPE, "rlnPixelSize"]
    if (
        "rlnMagnification" in table
        and (as_floats(table["rlnMagnification"]) == _MAGNIFICATION).all()
    ):
        folded += ["rlnMagnification", "rlnDetectorPixelSize"]
    table.drop(columns=[label for label in folded if label in table], inplace=True)


def _groups(table: pd.DataFrame, optics: pd.DataFrame | None, count: int) -> Floats:
    if optics is None or "rlnOpticsGroup" not in optics or "rlnOpticsGroup" not in table:
        return np.ones(count)
    return np.nan_to_num(as_floats(table["rlnOpticsGroup"]), nan=1.0)


def _numbers_of(optics: pd.DataFrame) -> Floats:
    if "rlnOpticsGroup" not in optics:
        return np.ones(1)
    return as_floats(optics["rlnOpticsGroup"])


def _row(optics: pd.DataFrame | None, group: float) -> dict[str, Any]:
    if optics is None or not len(optics):
        return {}
    numbers = _numbers_of(optics)
    places = np.flatnonzero(numbers == group)
    place = int(places[0]) if len(places) else 0
    return {str(label): optics[label].iloc[place] for label in optics}


def _unused(optics: pd.DataFrame | None, used: set[int]) -> list[dict[str, Any]]:
    """Return the groups that no particle of the set belongs to any more: RELION keeps them too."""
    if optics is None or "rlnOpticsGroup" not in optics:
        return []
    return [_row(optics, g) for g in _numbers_of(optics).tolist() if _whole(g) not in used]


def _known(value: float, particles: ParticleSet, member: int, label: str) -> float:
    """Return what the particle, else its tilt series says of the microscope."""
    if np.isfinite(value):
        return float(value)
    series = particles.tilts.get(particles.tomograms[member])
    if series is None:
        return _USUAL[label]
    return {
        "rlnVoltage": series.voltage_kv,
        "rlnSphericalAberration": series.spherical_aberration_mm,
        "rlnAmplitudeContrast": series.amplitude_contrast,
    }[label]


def _fill(
    row: dict[str, Any], particles: ParticleSet, image: float, place: float, tomography: bool
) -> None:
    """Complete one group with what RELION needs."""
    if np.isfinite(image) and not np.isclose(_float(row.get("rlnImagePixelSize")), image, 1e-6):
        row["rlnImagePixelSize"] = float(image)
    if particles.image_kind != "none":
        if particles.box_size_px:
            row["rlnImageSize"] = int(particles.box_size_px)
        row.setdefault("rlnImageDimensionality", _DIMENSIONS[particles.image_kind])
    if not tomography or particles.image_kind == "image" or not any(particles.tomograms):
        return
    pixel = _float(row.get(_TILT_SERIES))
    if not pixel > 0:
        pixel = _float(row.get("rlnMicrographOriginalPixelSize"))
    if not pixel > 0:
        pixel = float(place)
    if pixel > 0 and not _float(row.get(_TILT_SERIES)) > 0:
        row[_TILT_SERIES] = pixel
    if pixel > 0 and np.isfinite(image):
        row.setdefault(_BINNING, float(image) / pixel)


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _whole(group: float) -> int:
    return int(group) if np.isfinite(group) else 0
