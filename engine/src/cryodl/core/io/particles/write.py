"""Particles into files of any dialect, with every column and block that we do not understand.

Poses are written as the file had them: ``rlnTomoSubtomogramRot...`` (A_sub) stay as they were read,
and ``rlnAngleRot...`` and the origins are chosen so that both together give the pose of the set.
Cells whose meaning has not changed keep their value.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import euler_to_matrix, matrix_to_euler
from cryodl.core.io.particles import columns
from cryodl.core.io.particles.dialects import (
    ANGLES,
    BOX_ANGLES,
    CENTRED,
    COORDINATES,
    DIALECTS,
    KEPT_OPTICS,
    ORIGINS_ANGSTROM,
    ORIGINS_PX,
    PARTICLE_NAME,
    STACKS,
    VISIBLE,
    Layout,
    is_table,
    recognise,
    single_values,
)
from cryodl.core.io.particles.image_names import ctf_names, image_names
from cryodl.core.io.particles.model import Dialect, ParticleSet
from cryodl.core.io.particles.optics import flatten_optics, make_optics, unfold
from cryodl.core.io.particles.read import PARTICLES_FILE, particle_names
from cryodl.core.io.star import StarBlocks, write_star
from cryodl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

_VERSIONS: dict[str, int | None] = {
    "relion30": None,
    "warp": None,
    "relion31": 30001,
    "relion4": 30001,
    "relion5": 50001,
}
_WITHOUT_OPTICS = ("relion30", "warp")
_TOMOGRAPHY = ("relion4", "relion5")
_RELION_NAME = "rlnTomoParticleName"
_KEPT_MICROGRAPH = "cdlMicrographName"
# Six decimals of a degree in a file move a unit vector by less.
_SAME_ROTATION = 2e-7
_SAME_LENGTH = 1e-6


def write_particles(
    path: str | os.PathLike[str], particles: ParticleSet, *, dialect: Dialect | None = None
) -> None:
    """Write a particle STAR file.

    Parameters
    ----------
    path : path-like
        The file. Image names that cannot be found from there become names relative to its folder,
        or absolute.
    particles : ParticleSet
        What to write.
    dialect : str, optional
        For which program; by default that which the set came from, and then exactly in its form.

    Raises
    ------
    InputError
        A dialect that does not exist; a text that a STAR file cannot hold.
    ResourceError
        Disk full, no permission.
    """
    write_star(path, particle_blocks(path, particles, dialect=dialect))


def particle_blocks(
    path: str | os.PathLike[str], particles: ParticleSet, *, dialect: Dialect | None = None
) -> StarBlocks:
    """Return the blocks that `write_particles` writes."""
    target = dialect or particles.dialect
    if target not in DIALECTS:
        raise InputError(
            f"dialect: found {target!r}, expected one of {', '.join(DIALECTS)}; give one of them"
        )
    source = recognise(particles.blocks, path) if _has_table(particles) else None
    as_it_was = dialect is None and source is not None
    as_warp = target == "warp" or (as_it_was and source is not None and source.from_warp)
    # WarpTools writes optics groups with some of its files.
    folded = target in _WITHOUT_OPTICS and not ("optics" in particles.blocks and as_it_was)
    table = particles.blocks[particles.particle_block].copy()
    optics = _source_optics(particles)
    _put_tomograms(table, particles, target)
    _put_poses(table, particles, folded)
    _put_numbers(table, particles)
    _put_files(table, particles, Path(path))
    if particles.image_kind == "tilt_stack" and particles.visible_frames is not None:
        _put_frames(table, particles)
    new_optics = None
    if folded:
        flatten_optics(table, optics, particles, target)
    else:
        if KEPT_OPTICS in particles.blocks:
            unfold(table)
        new_optics = make_optics(table, optics, particles, tomography=target in _TOMOGRAPHY)
    blocks, name = _arranged(particles, target, table, new_optics, optics)
    if not as_it_was:
        blocks.version = _version(particles, target)
    _put_coordinates(blocks, name, particles, target, as_warp)
    if target in _TOMOGRAPHY and not as_it_was and particles.image_kind != "image":
        _put_relion_names(blocks[name], particles)
    _put_names(blocks, name, particles)
    return blocks


def write_optimisation_set(
    path: str | os.PathLike[str],
    particles_path: str | os.PathLike[str],
    others: Mapping[str, str | os.PathLike[str]],
) -> None:
    """Write an optimisation set.

    Parameters
    ----------
    path : path-like
        The file.
    particles_path : path-like
        The particles it names.
    others : mapping of str to path
        Label (``rlnTomoTomogramsFile``) to file, such as `ParticleSet.companions`.
    """
    folder = Path(path).absolute().parent
    files = {PARTICLES_FILE: particles_path, **others}
    values = {label: _relative(Path(file).absolute(), folder) for label, file in files.items()}
    write_star(path, {"": values})


def _relative(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def _has_table(particles: ParticleSet) -> bool:
    table: Any = particles.blocks.get(particles.particle_block)
    return is_table(table) and ("rlnImageName" in table or COORDINATES[0] in table)


def _source_optics(particles: ParticleSet) -> pd.DataFrame | None:
    for name in ("optics", KEPT_OPTICS):
        block: Any = particles.blocks.get(name)
        if is_table(block) and name != particles.particle_block:
            found: pd.DataFrame = block.copy()
            return found
    return None


def _version(particles: ParticleSet, target: Dialect) -> int | None:
    own = particles.blocks.version
    return own if target == particles.dialect and own is not None else _VERSIONS[target]


def _arranged(
    particles: ParticleSet,
    target: Dialect,
    table: pd.DataFrame,
    new_optics: pd.DataFrame | None,
    old_optics: pd.DataFrame | None,
) -> tuple[StarBlocks, str]:
    """Put the blocks in the order in which programs look for them; say which has the particles."""
    others = {
        name: block
        for name, block in particles.blocks.items()
        if name not in (particles.particle_block, "optics", KEPT_OPTICS)
    }
    stacks = particles.image_kind == "tilt_stack"
    if stacks and target in _TOMOGRAPHY and not single_values(others.get("general")).get(STACKS):
        others = {"general": {**single_values(others.get("general")), STACKS: 1}, **others}
        others["general"] = {**single_values(others["general"]), STACKS: 1}
    same = target == particles.dialect
    default = "" if target in _WITHOUT_OPTICS else "particles"
    name = particles.particle_block if same else default
    if name == "optics":
        name = default
    if name in others:
        others[f"{name or 'unnamed'}_kept"] = others.pop(name)
    blocks = StarBlocks(version=particles.blocks.version)
    if new_optics is None:
        # RELION 3.0 reads the first table of a file.
        blocks[name] = table
        blocks.update(others)
        if old_optics is not None:
            blocks[KEPT_OPTICS] = old_optics
        return blocks, name
    if "general" in others:
        blocks["general"] = others.pop("general")
    blocks["optics"] = new_optics
    blocks[name] = table
    blocks.update(others)
    return blocks, name


def _put(table: pd.DataFrame, label: str, values: Floats, tolerance: float) -> None:
    """Write a column, but leave the cells that already say the same."""
    if label in table:
        old = columns.as_floats(table[label])
        same = np.isclose(old, values, rtol=1e-9, atol=tolerance, equal_nan=True)
        if same.all():
            return
        values = np.where(same, old, values)
    table[label] = values


def _remove(table: pd.DataFrame, *labels: str) -> None:
    table.drop(columns=[label for label in labels if label in table], inplace=True)


def _put_tomograms(table: pd.DataFrame, particles: ParticleSet, target: Dialect) -> None:
    if not any(particles.tomograms):
        return
    if target in _TOMOGRAPHY:
        if "rlnTomoName" not in table:
            _remove(table, "rlnMicrographName")
            if _KEPT_MICROGRAPH in table:
                table.rename(columns={_KEPT_MICROGRAPH: "rlnMicrographName"}, inplace=True)
        table["rlnTomoName"] = particles.tomograms
        return
    if "rlnTomoName" in table:
        if "rlnMicrographName" in table:
            table.rename(columns={"rlnMicrographName": _KEPT_MICROGRAPH}, inplace=True)
        _remove(table, "rlnTomoName")
    table["rlnMicrographName"] = particles.tomograms


def _put_poses(table: pd.DataFrame, particles: ParticleSet, in_px: bool) -> None:
    """Write ``A_part = A_sub^T A`` and ``o = A_sub^T s``."""
    rotations, shifts = particles.box_poses()
    if particles.box_rotations is None:
        for label in BOX_ANGLES:
            if label in table:
                _put(table, label, np.zeros(len(table)), 0.0)
    if any(label in table for label in ANGLES) or not _is_identity(rotations):
        old = np.stack(
            [columns.as_floats(table[a]) if a in table else np.zeros(len(table)) for a in ANGLES], 1
        )
        sound = np.isfinite(old).all(axis=1)
        before = euler_to_matrix(*np.where(sound[:, None], old, 0.0).T)
        same = sound & (np.abs(before - rotations).max(axis=(1, 2)) < _SAME_ROTATION)
        if not (same.all() and all(label in table for label in ANGLES)):
            new = np.where(same[:, None], old, matrix_to_euler(rotations))
            for i, label in enumerate(ANGLES):
                _put(table, label, new[:, i], 0.0)
    labels, dropped = (ORIGINS_PX, ORIGINS_ANGSTROM) if in_px else (ORIGINS_ANGSTROM, ORIGINS_PX)
    wanted = any(label in table for label in (*labels, *dropped)) or bool(shifts.any())
    pixel = particles.pixel_size_angstrom
    for axis in range(3):
        flat = particles.image_kind == "image" and axis == 2 and labels[2] not in table
        if wanted and not (flat and not shifts[:, 2].any()):
            values = shifts[:, axis] / pixel if in_px else shifts[:, axis]
            _put(table, labels[axis], values, _SAME_LENGTH)
    _remove(table, *dropped)


def _is_identity(rotations: Floats) -> bool:
    return bool((np.abs(rotations - np.eye(3)) < _SAME_ROTATION).all())


def _put_numbers(table: pd.DataFrame, particles: ParticleSet) -> None:
    for label, values in (
        ("rlnRandomSubset", particles.half_sets),
        ("rlnClassNumber", particles.classes),
    ):
        if label not in table and not values.any():
            continue
        if label not in table or (columns.as_floats(table[label]) != values).any():
            table[label] = values


def _put_files(table: pd.DataFrame, particles: ParticleSet, star: Path) -> None:
    if particles.image_paths:
        table["rlnImageName"] = image_names(table, particles, star)
    if particles.ctf_paths:
        table["rlnCtfImage"] = ctf_names(table, particles, star)


def _put_frames(table: pd.DataFrame, particles: ParticleSet) -> None:
    visible = particles.visible_frames
    if visible is None:
        return
    old = table[VISIBLE].tolist() if VISIBLE in table else []
    texts = []
    for i, name in enumerate(particles.tomograms):
        count = visible.shape[1]
        if old:
            count = str(old[i]).count(",") + 1
        elif name in particles.tilts:
            count = len(particles.tilts[name].tilt_angles_degrees)
        row = np.zeros(count, dtype=int)
        row[: visible.shape[1]] = visible[i, :count]
        texts.append("[" + ",".join(map(str, row.tolist())) + "]")
    table[VISIBLE] = texts


def _put_coordinates(
    blocks: StarBlocks, name: str, particles: ParticleSet, target: Dialect, as_warp: bool
) -> None:
    """Write coordinates in the unit in which the reader of this dialect will take them."""
    table = blocks[name]
    places = particles.coordinates_px
    if not np.isfinite(places[:, :2]).all():
        return
    flat = not np.isfinite(places[:, 2]).any()
    if target == "relion5" and not as_warp and _put_centred(table, particles):
        _remove(table, *COORDINATES)
        return
    _remove(table, *CENTRED)
    if target not in _TOMOGRAPHY:
        _remove(table, "rlnMicrographPixelSize")
    wanted = particles.coordinate_pixel_size_angstrom
    layout = Layout(target, name, "optics" if "optics" in blocks else None, False, as_warp)
    joined = columns.make_table(blocks, layout)
    image_size = columns.image_pixel_size(joined)
    assumed = columns.coordinate_pixel_size(joined, layout, image_size)
    factor = np.ones(len(table))
    if as_warp or target in _TOMOGRAPHY:
        usable = np.isfinite(wanted) & np.isfinite(assumed)
        factor = np.where(usable, wanted / np.where(usable, assumed, 1.0), 1.0)
    elif not np.allclose(assumed, wanted, rtol=1e-6, equal_nan=True):
        table["rlnMicrographPixelSize"] = wanted
    for axis, label in enumerate(COORDINATES[:2] if flat else COORDINATES):
        _put(table, label, places[:, axis] * factor, _SAME_LENGTH)


def _put_centred(table: pd.DataFrame, particles: ParticleSet) -> bool:
    """Write Å from the middle of the tomogram; False when a size is not known."""
    middle = np.full((len(table), 3), np.nan)
    names = np.asarray(particles.tomograms, dtype=object)
    for name, series in particles.tilts.items():
        if series.size_xyz_px is not None:
            middle[names == name] = np.array(series.size_xyz_px) / 2 * series.pixel_size_angstrom
    if not np.isfinite(middle).all():
        return False
    pixel = particles.coordinate_pixel_size_angstrom[:, None]
    centred = particles.coordinates_px * pixel - middle
    for axis, label in enumerate(CENTRED):
        _put(table, label, centred[:, axis], _SAME_LENGTH)
    return True


def _put_relion_names(table: pd.DataFrame, particles: ParticleSet) -> None:
    """Write tomogram and number, by which RELION 4 and 5 know a particle."""
    if _RELION_NAME in table:
        return
    counted = Counter[str]()
    names = []
    for tomogram in particles.tomograms:
        counted[tomogram] += 1
        names.append(f"{tomogram}/{counted[tomogram]}")
    table[_RELION_NAME] = names


def _put_names(blocks: StarBlocks, name: str, particles: ParticleSet) -> None:
    """Write the identity of the particles where the other columns do not give it."""
    table = blocks[name]
    layout = Layout(particles.dialect, name, "optics" if "optics" in blocks else None, False, False)
    if particle_names(columns.make_table(blocks, layout), particles.tomograms) != particles.names:
        table[PARTICLE_NAME] = particles.names
