"""Parameters of ``cryodl particles legacy``."""

from __future__ import annotations

from pathlib import Path

from cryodl.core.config.parameters import CommandConfig, parameter


class ParticlesLegacyConfig(CommandConfig):
    """Turn a data file of a published program into files that everybody can read.

    Subvolumes of Autoencoder3D become MRC files with a STAR file; poses of OPUS-TOMO
    (prepare, pose.N.pkl) and latents (z.N.pkl) join the STAR file they belong to. A pickle is read
    without running anything in it. Networks of the published programs cannot be turned: they only
    work with the code they were trained in.
    """

    file: Path = parameter(
        help="Pickle of subvolumes, of poses or of latents.", group="Input", positional=True
    )
    star: Path | None = parameter(
        None,
        help="For poses and latents: the STAR file that they were made from, with the same "
        "particles in the same order.",
        group="Input",
    )
    pixel_size: float | None = parameter(
        None,
        help="Pixel size; subvolumes need it, for poses and latents it stands in place of what "
        "the STAR file says.",
        unit="angstrom",
        group="Input",
        gt=0,
    )
    box_size_px: int | None = parameter(
        None,
        help="For poses: the box of the particles, whose fractions the shifts are; by default that "
        "of the images.",
        unit="px",
        group="Input",
        ge=8,
    )
