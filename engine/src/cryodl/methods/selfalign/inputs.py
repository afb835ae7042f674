"""Everything that is checked before any work: particles, reference, mask, the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import PIXEL_SIZE_TOLERANCE
from cryodl.core.alignment.particle_volumes import ParticleVolumes
from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.core.run.folder import RunFolder
from cryodl.core.volumes.normalize import standardise_background
from cryodl.core.volumes.particle_average import AverageSettings, Transfer
from cryodl.errors import ConfigError, InputError
from cryodl.methods.selfalign.config import SearchConfig

TILT_COLUMNS = ("cdlTiltMin", "cdlTiltMax")
_LEAST_BOX_PX = 16
_AXES = {"x": 0.0, "y": 90.0}


@dataclass(frozen=True)
class CheckedParticles:
    """Particles that can be aligned, with what they were seen through."""

    particles: ParticleSet
    settings: AverageSettings
    volumes: ParticleVolumes
    pixel_size_angstrom: float
    sign: float

    def read(
        self, chosen: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return volumes with bright matter, and their transfers.

        The background of each is brought to mean 0 and deviation 1: gains of recordings would
        weigh particles otherwise. Those multiplied by their transfers keep the scale of these.
        """
        volumes, transfers = self.volumes.read(chosen)
        if not self.volumes.premultiplied:
            volumes = np.stack([standardise_background(volume) for volume in volumes])
        return volumes * np.float32(self.sign), transfers


def check_particles(config: SearchConfig, path: Path, run: RunFolder) -> CheckedParticles:
    """Read a particle file and find out what its particles were seen through.

    Raises
    ------
    InputError
        No particles, several pixel sizes, a box that is too small.
    """
    particles = read_particles(path, pixel_size_angstrom=config.pixel_size)
    tilts = tilt_range(config.tilt_min, config.tilt_max, particles)
    particles = replace(particles, tilt_range_degrees=tilts)
    for line in particles.report.lines():
        run.log(f"{path}: {line}")
    sizes = particles.pixel_size_angstrom
    if sizes.max() - sizes.min() > PIXEL_SIZE_TOLERANCE * sizes.min():
        raise InputError(
            f"{path}: pixel sizes from {sizes.min():g} to {sizes.max():g} A, expected one; extract "
            "the particles at one pixel size"
        )
    box = particles.box_size_px
    if particles.image_kind in ("volume", "tilt_stack") and box < _LEAST_BOX_PX:
        raise InputError(
            f"{path}: boxes of {box} px, expected {_LEAST_BOX_PX} or more; extract larger ones"
        )
    settings = AverageSettings(
        symmetry=config.symmetry,
        transfer=_transfer(config, particles),
        tilt_axis_degrees=_AXES[config.tilt_axis],
        batch=config.batch_size,
    )
    known = bool(particles.tilts or particles.ctf_paths or tilts)
    if not known and config.transfer != "none":
        run.report.distrust(
            "Nothing is known of the tilts: no missing wedge was taken into account. Give "
            "--tilt-min and --tilt-max."
        )
        run.log(f"warning: {path} knows no tilts; without --tilt-min and --tilt-max no wedge")
    volumes = ParticleVolumes(particles, settings)
    sign = 1.0 if config.contrast == "bright" else -1.0
    return CheckedParticles(particles, settings, volumes, float(sizes[0]), sign)


def tilt_range(
    low: float | None, high: float | None, particles: ParticleSet
) -> tuple[float, float] | None:
    """Return the tilts that were given, or that `selfalign prepare` has noted."""
    if low is not None and high is not None:
        return low, high
    table = particles.blocks.get(particles.particle_block)
    if table is not None and all(name in table for name in TILT_COLUMNS):
        return tuple(float(table[name].iloc[0]) for name in TILT_COLUMNS)  # type: ignore[return-value]
    return None


def check_map(path: Path, name: str, box: int, pixel_size_angstrom: float) -> NDArray[np.float32]:
    """Read a reference or mask in the box of the particles.

    Raises
    ------
    InputError
        Another box or pixel size.
    """
    try:
        volume = read_volume(path, require_cubic=True)
    except InputError as error:
        if "pixel size in the header" not in str(error):
            raise
        # A header without one says nothing against the particles'.
        volume = read_volume(path, require_cubic=True, pixel_size_angstrom=pixel_size_angstrom)
    if volume.data.shape[0] != box:
        raise InputError(
            f"--{name} {path}: box {volume.data.shape[0]} px, but the particles have {box}; give "
            "one of their box and pixel size"
        )
    difference = abs(volume.pixel_size_angstrom / pixel_size_angstrom - 1)
    if difference > 0.02:
        raise InputError(
            f"--{name} {path}: pixel size {volume.pixel_size_angstrom:g} A, but the particles have "
            f"{pixel_size_angstrom:g} A; rescale it, or correct --pixel-size"
        )
    return np.asarray(volume.data, dtype=np.float32)


def check_mask(path: Path | None, box: int, pixel_size: float) -> NDArray[np.float32] | None:
    """Read a mask, 0 to 1.

    Raises
    ------
    InputError
        Values beyond 0 to 1, or none above 0.
    """
    if path is None:
        return None
    mask = check_map(path, "mask", box, pixel_size)
    if mask.min() < -1e-3 or not 0 < mask.max() <= 1.001:
        raise InputError(
            f"--mask {path}: values from {mask.min():g} to {mask.max():g}, expected 0 to 1; make a "
            "soft mask"
        )
    return mask


def band_shell(resolution: float | None, box: int, pixel_size_angstrom: float) -> int:
    """Return the largest shell to compare, in Fourier pixels."""
    most = (box - 1) // 2
    if resolution is None:
        return most
    return int(np.clip(np.floor(box * pixel_size_angstrom / resolution), 3, most))


def box_frame(particles: ParticleSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotations and shifts (px) of the poses at hand in the frame of the boxes."""
    rotations, shifts = particles.box_poses()
    if particles.image_kind == "tilt_stack":
        rotations, shifts = particles.rotations, particles.shifts_angstrom
    return rotations, shifts / particles.pixel_size_angstrom[:, None]


def with_box_poses(
    particles: ParticleSet, rotations: NDArray[np.float64], shifts_px: NDArray[np.float64]
) -> ParticleSet:
    """Return the set with poses that were found in the frame of the boxes."""
    shifts = shifts_px * particles.pixel_size_angstrom[:, None]
    turned = particles.box_rotations
    if turned is not None and particles.image_kind == "volume":
        rotations, shifts = turned @ rotations, np.einsum("nij,nj->ni", turned, shifts)
    return particles.with_poses(rotations, shifts)


def _transfer(config: SearchConfig, particles: ParticleSet) -> Transfer:
    if config.transfer != "auto":
        return config.transfer
    with_ctf = particles.image_kind == "tilt_stack" or particles.ctf_paths
    return "ctf" if with_ctf else "wedge"


def largest_shift_px(given: float | None, box: int) -> float:
    """Return the largest shift to look for: what was given, else an eighth of the box.

    Raises
    ------
    ConfigError
        More than half the box, where a particle would be outside of it.
    """
    if given is not None and given > box / 2:
        raise ConfigError(
            f"--max-shift-px: found {given:g} for boxes of {box} px, expected at most half the "
            "box; centre the particles before or give a smaller shift"
        )
    return box / 8 if given is None else given


def search_settings(config: SearchConfig, box: int, **others: float) -> SearchSettings:
    """Return the settings of the search in boxes of `box` pixels."""
    shift = largest_shift_px(config.max_shift_px, box)
    return SearchSettings(
        symmetry=config.symmetry,
        rotations=config.rotations,
        max_shift_px=shift,
        coarse_shell=config.coarse_shell,
        **others,  # type: ignore[arg-type]
    )
