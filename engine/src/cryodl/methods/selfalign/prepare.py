"""The work of ``cryodl selfalign prepare``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from cryodl.core.io.mrc import Volume, read_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.errors import InputError
from cryodl.methods.selfalign.config import PrepareConfig
from cryodl.methods.selfalign.inputs import TILT_COLUMNS

_SUFFIXES = (".mrc", ".mrc.gz", ".rec")


def run_prepare(config: PrepareConfig, run: RunFolder) -> None:
    """Write the particle file of a folder.

    Raises
    ------
    InputError
        No folder, no subtomogram in it that can be read, or a name with a folder in it.
    """
    if Path(config.output_star).name != config.output_star:
        raise InputError(
            f"--output-star: found {config.output_star!r}, expected a name without folders; use "
            "--output for the folder"
        )
    found, left_out = _readable(config)
    box = Counter(volume.data.shape for _, volume in found).most_common(1)[0][0]
    kept = [(path, volume) for path, volume in found if volume.data.shape == box]
    for path, volume in found:
        if volume.data.shape != box:
            left_out.append(f"{path}: box {volume.data.shape[0]} px, most have {box[0]}")
    sizes = {round(volume.pixel_size_angstrom, 4) for _, volume in kept}
    if len(sizes) > 1:
        raise InputError(
            f"{config.folder}: pixel sizes {sorted(sizes)[0]:g} to {sorted(sizes)[-1]:g} A, "
            "expected one; give --pixel-size, or sort the files"
        )
    for line in left_out:
        run.log(f"left out: {line}")
    particles = particles_from_subtomograms(
        [path for path, _ in kept], pixel_size_angstrom=sizes.pop(), box_size_px=box[0]
    )
    particles = particles.with_column("rlnSubtomoIndex", np.arange(1, len(kept) + 1))
    if config.tilt_min is not None:
        for name, value in zip(TILT_COLUMNS, (config.tilt_min, config.tilt_max)):
            particles = particles.with_column(name, [value] * len(kept))
    if not config.absolute:
        names = [os.path.relpath(path, run.folder.resolve()) for path, _ in kept]
        particles = particles.with_column("rlnImageName", names)
    write_particles(run.path(config.output_star), particles)
    run.add_file("star", config.output_star)
    run.add_value("particles", len(kept))
    run.add_value("left_out", len(left_out))
    run.add_value("box_size_px", box[0])
    run.report.fact("subtomograms", str(len(kept)))
    run.report.fact("box", f"{box[0]} px")
    if left_out:
        run.report.heading("Left out")
        run.report.table(["file and reason"], [[line] for line in left_out])
    run.log(f"{len(kept)} subtomograms of {box[0]} px, {len(left_out)} files left out")


def _readable(config: PrepareConfig) -> tuple[list[tuple[Path, Volume]], list[str]]:
    if not config.folder.is_dir():
        raise InputError(
            f"{config.folder}: is no folder, expected one with subtomograms; check the name"
        )
    found, left_out = [], []
    for path in sorted(config.folder.iterdir()):
        if not path.is_file() or not path.name.lower().endswith(_SUFFIXES):
            left_out.append(f"{path}: is no MRC file")
            continue
        try:
            volume = read_volume(
                path,
                memory_map=True,
                require_cubic=True,
                pixel_size_angstrom=config.pixel_size,
            )
        except InputError as error:
            left_out.append(str(error))
            continue
        found.append((path.resolve(), volume))
    if not found:
        reason = f" ({left_out[0]})" if left_out else ""
        raise InputError(
            f"{config.folder}: found no readable subtomogram{reason}, expected cubic MRC files; "
            "check the folder, and give --pixel-size if the headers have none"
        )
    return found, left_out
