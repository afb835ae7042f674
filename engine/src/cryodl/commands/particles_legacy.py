"""The work of ``cryodl particles legacy``: data files of the published programs."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.particles_legacy_config import ParticlesLegacyConfig
from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.io.plain_pickle import read_plain_pickle
from cryodl.core.run.folder import RunFolder
from cryodl.errors import ConfigError, InputError

STAR = "particles.star"
FOLDER = "subvolumes"
LATENT = "cdlLatent"
_NETWORKS = (".pt", ".pth", ".h5", ".hdf5", ".ckpt", ".keras")
_WEIGHTS = {"model_state_dict", "state_dict", "encoder_state_dict", "optimizer_state_dict"}
_UNSAFE = re.compile(r"[^\w.+-]")


def run_legacy(config: ParticlesLegacyConfig, run: RunFolder) -> None:
    """Find out what the file holds and write it anew.

    Raises
    ------
    ConfigError
        A pixel size or a STAR file is missing.
    InputError
        A network, a damaged file, or one that holds something else.
    """
    if config.file.suffix.lower() in _NETWORKS:
        raise _network(config.file)
    if zipfile.is_zipfile(config.file):
        particles = _with_latents(config, run)
    else:
        content = read_plain_pickle(config.file)
        if isinstance(content, dict) and _WEIGHTS & set(content):
            raise _network(config.file)
        if isinstance(content, (tuple, list)):
            particles = _with_poses(config, run)
        else:
            particles = _subvolumes(config, run)
    write_particles(run.path(STAR), particles)
    run.add_file("star", STAR)
    run.add_value("particles", len(particles))
    run.report.fact("particles", str(len(particles)))


def _network(path: Path) -> InputError:
    return InputError(
        f"{path}: found a network of another program, expected data; weights only work with the "
        "code they were trained in, and such a file can run any code: train anew with cryodl"
    )


def _subvolumes(config: ParticlesLegacyConfig, run: RunFolder) -> ParticleSet:
    """Write the boxes of an Autoencoder3D file as MRC files, grey values as they are."""
    from cryodl.methods.autoencoder3d.legacy import read_legacy_subvolumes

    found = read_legacy_subvolumes(config.file)
    if config.pixel_size is None:
        raise ConfigError(
            f"--pixel-size: found nothing for {config.file}, which does not say it, expected that "
            "of the tomogram; give it in Angstrom"
        )
    kept = [i for i, volume in enumerate(found.volumes) if volume is not None]
    if not kept:
        raise InputError(
            f"{config.file}: has voxels of no particle, expected some; cut them from the tomogram "
            "with cryodl particles extract"
        )
    run.path(FOLDER).mkdir(exist_ok=True)
    names = [
        f"{FOLDER}/{number:05d}_{_UNSAFE.sub('_', found.names[i])[:60]}.mrc"
        for number, i in enumerate(kept, start=1)
    ]
    for name, i in zip(names, kept, strict=True):
        volume = np.asarray(found.volumes[i], dtype=np.float32)
        write_volume(run.path(name), volume, pixel_size_angstrom=config.pixel_size)
    run.add_files(names)
    left_out = len(found.names) - len(kept)
    run.add_value("left_out", left_out)
    run.log(f"{len(kept)} subvolumes written; {left_out} of which the file has no voxels left out")
    return particles_from_subtomograms(
        [run.path(name) for name in names],
        pixel_size_angstrom=config.pixel_size,
        box_size_px=found.box_size_px,
        names=[found.names[i] for i in kept],
        tomograms=[config.file.stem] * len(kept),
        coordinates_px=found.centres_px[kept],
    )


def _with_poses(config: ParticlesLegacyConfig, run: RunFolder) -> ParticleSet:
    particles = _particles(config)
    box = config.box_size_px or particles.box_size_px
    if not box:
        raise ConfigError(
            "--box-size-px: found nothing, and no image to take it from, expected the box in whose "
            "fractions the shifts count; give it"
        )
    rotations, parts_of_box = _read_poses(config.file, len(particles))
    shifts = parts_of_box * box * particles.pixel_size_angstrom[:, None]
    if particles.box_rotations is not None:  # the file counts in the frame of the boxes
        rotations = particles.box_rotations @ rotations
        shifts = np.einsum("nij,nj->ni", particles.box_rotations, shifts)
    run.log(f"poses of {len(particles)} particles, shifts in fractions of {box} px")
    return particles.with_poses(rotations, shifts)


def _read_poses(path: Path, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read ``(rotations, shifts / box, angles)``; the rotations, of another sign, are not used."""
    content = read_plain_pickle(path)
    parts = list(content) if isinstance(content, (tuple, list)) else []
    try:
        shifts, angles = (np.asarray(part, dtype=np.float64) for part in parts[1:3])
    except (TypeError, ValueError):
        shifts, angles = np.zeros(0), np.zeros(0)
    if len(parts) != 3 or angles.ndim != 2 or angles.shape[1] != 3 or shifts.shape != angles.shape:
        raise InputError(
            f"{path}: found something else than rotations, shifts and angles of each particle, "
            "expected a pickle of poses of OPUS-TOMO; give such a file"
        )
    if len(angles) != count:
        raise InputError(
            f"{path}: found poses of {len(angles)} particles, expected {count} as in the STAR "
            "file; give the pickle that was made of it"
        )
    if not (np.isfinite(shifts).all() and np.isfinite(angles).all()):
        raise InputError(f"{path}: found poses that are not finite, expected numbers; make it anew")
    return euler_to_matrix(*angles.T), shifts


def _with_latents(config: ParticlesLegacyConfig, run: RunFolder) -> ParticleSet:
    values = _read_latents(config.file)
    particles = _particles(config)
    if len(values) != len(particles):
        raise InputError(
            f"{config.file}: found latents of {len(values)} particles, expected "
            f"{len(particles)} as in {config.star}; give the file it was made from"
        )
    for number, column in enumerate(values.T, start=1):
        particles = particles.with_column(f"{LATENT}{number}", column.tolist())
    run.add_value("dimensions", values.shape[1])
    run.log(f"latents of {len(values)} particles in {values.shape[1]} dimensions")
    return particles


def _particles(config: ParticlesLegacyConfig) -> ParticleSet:
    if config.star is None:
        raise ConfigError(
            f"--star: found nothing for {config.file}, expected the particles that its rows belong "
            "to; give the STAR file that it was made from"
        )
    found = read_particles(config.star, pixel_size_angstrom=config.pixel_size, require_images=False)
    if found.report.dropped:
        raise InputError(
            f"{config.star}: {sum(found.report.dropped.values())} of {found.report.read} particles "
            "cannot be used, expected all, for rows are matched by their order; mend the file"
        )
    return found


def _read_latents(path: Path) -> NDArray[np.float64]:
    """Read the means of the latents; torch's reader of plain values runs nothing."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise whatever the reader trips over
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"{path}: cannot be read ({reason}), expected the latents z.N.pkl of OPUS-TOMO; "
            "nothing of it was run"
        ) from None
    if isinstance(content, dict) and _WEIGHTS & set(content):
        raise _network(path)
    means = content.get("mu") if isinstance(content, dict) else content
    values = np.asarray(means, dtype=np.float64) if isinstance(means, torch.Tensor) else np.zeros(0)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(
            f"{path}: found no table of finite latents, expected one row for each particle under "
            "'mu'; give z.N.pkl of OPUS-TOMO"
        )
    return values
