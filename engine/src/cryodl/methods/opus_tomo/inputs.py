"""Everything that can be wrong with the particles, found before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.conventions import PIXEL_SIZE_TOLERANCE
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.images import read_subtomogram, read_tilt_images
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.core.volumes.normalize import standardise_background
from cryodl.core.volumes.particle_average import AverageSettings, particle_transfer
from cryodl.errors import ConfigError, InputError
from cryodl.methods.opus_tomo.canonical import Sampling, central, shrink
from cryodl.methods.opus_tomo.config import ParticleInput

_LEAST_PARTICLES = 8
_LOOKED_AT = 100
_LEAST_CROP = 16


@dataclass(frozen=True)
class CheckedParticles:
    """Particles that can be worked with.

    Attributes
    ----------
    particles : ParticleSet
        All that were kept.
    settings : AverageSettings
        Of their transfer.
    pixel_size_angstrom : float
        Of all of them.
    sign : 1 or -1
        -1 where matter is dark.
    known_transfer : bool
        Whether CTF, tilts or a wedge are known.
    """

    particles: ParticleSet
    settings: AverageSettings
    pixel_size_angstrom: float
    sign: int
    known_transfer: bool


def open_particles(config: ParticleInput, log: Callable[[str], None]) -> CheckedParticles:
    """Read and check the particles of a command.

    Raises
    ------
    InputError
        No subtomograms, too few, an odd box, shifts beyond it, several pixel sizes, a blank image.
    """
    tilts = None
    if config.tilt_min is not None and config.tilt_max is not None:
        tilts = (config.tilt_min, config.tilt_max)
    particles = read_particles(
        config.star,
        pixel_size_angstrom=config.pixel_size,
        tilt_range_degrees=tilts,
        folder=config.folder,
        tomograms=config.tomograms,
    )
    for line in particles.report.lines():
        log(line)
    pixel = _check(config, particles)
    settings = AverageSettings(transfer=config.transfer, tilt_axis_degrees=config.tilt_axis)
    stacks = particles.image_kind == "tilt_stack"
    known = stacks or particle_transfer(particles, 0, settings) is not None
    if not known and config.transfer != "none":
        log(
            "no CTF, tilts or wedge are known: every difference of the wedge will look like one of "
            "the particles; give --tilt-min and --tilt-max if there is nothing better"
        )
    sign = _sign(config, particles)
    kind = "stacks" if stacks else "subtomograms"
    log(
        f"{len(particles)} {kind} of {particles.box_size_px} px, {pixel:g} A a pixel, matter "
        f"{'bright' if sign > 0 else 'dark'}, seen through {_words(particles, settings, known)}"
    )
    return CheckedParticles(particles, settings, pixel, sign, known)


def _check(config: ParticleInput, particles: ParticleSet) -> float:
    name, box = config.star, particles.box_size_px
    if particles.image_kind not in ("volume", "tilt_stack"):
        raise InputError(
            f"{name}: found {particles.image_kind!r} as images, expected subtomograms or stacks of "
            "tilt images; extract them"
        )
    if len(particles) < _LEAST_PARTICLES:
        raise InputError(
            f"{name}: found {len(particles)} usable particles, expected at least "
            f"{_LEAST_PARTICLES} and better hundreds; give more"
        )
    if config.box_size is not None and config.box_size != box:
        raise InputError(
            f"{name}: found a box of {box} px, expected {config.box_size} px as --box-size says; "
            "correct it or give another file"
        )
    if box % 2 or box < _LEAST_CROP:
        raise InputError(
            f"{name}: found a box of {box} px, expected an even one of {_LEAST_CROP} px or more; "
            "extract the particles again"
        )
    sizes = particles.pixel_size_angstrom
    if sizes.max() - sizes.min() > PIXEL_SIZE_TOLERANCE * sizes.min():
        raise InputError(
            f"{name}: found pixel sizes from {sizes.min():g} to {sizes.max():g} A, expected one; "
            "extract the particles at one pixel size"
        )
    pixel = float(sizes[0])
    _, shifts = particles.box_poses()
    largest = float(np.abs(shifts).max()) / pixel
    if not largest < box / 2:
        raise InputError(
            f"{name}: found a shift of {largest:.1f} px, expected less than half the box of {box} "
            "px; check the unit of the origins, or extract the particles again"
        )
    if (np.abs(particles.rotations - np.eye(3)) < 1e-6).all():
        raise InputError(
            f"{name}: found no rotation of any particle, expected poses of a refinement; align the "
            "particles first"
        )
    return pixel


def _sign(config: ParticleInput, particles: ParticleSet) -> int:
    """Return 1 where matter is bright; by default as the average of some centres tells."""
    if config.contrast != "auto":
        return 1 if config.contrast == "bright" else -1
    n = particles.box_size_px
    axis = np.arange(n) - n // 2
    if particles.image_kind == "tilt_stack":
        return _sign_of_stacks(particles)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    step = max(1, len(particles) // _LOOKED_AT)
    total = np.zeros((n, n, n))
    for index in range(0, len(particles), step):
        total += standardise_background(_not_blank(particles, index))
    return 1 if total[radius < n / 4].mean() >= total[radius > 0.4 * n].mean() else -1


def _sign_of_stacks(particles: ParticleSet) -> int:
    """Return 1 where the middle of tilt images is brighter than their rim."""
    n = particles.box_size_px
    axis = np.arange(n) - n // 2
    radius = np.sqrt(axis[:, None] ** 2 + axis**2)
    total = np.zeros((n, n))
    for index in range(0, len(particles), max(1, len(particles) // _LOOKED_AT)):
        images = read_tilt_images(particles, index)
        deviation = np.maximum(images.std(axis=(1, 2), keepdims=True), 1e-30)
        total += ((images - images.mean(axis=(1, 2), keepdims=True)) / deviation).sum(axis=0)
    return 1 if total[radius < n / 5].mean() >= total[radius > 0.4 * n].mean() else -1


def _not_blank(particles: ParticleSet, index: int) -> NDArray[np.float32]:
    volume = read_subtomogram(particles, index)
    if volume.min() == volume.max():
        raise InputError(
            f"{particles.image_paths[index]}: found a constant volume, expected a subtomogram; "
            "extract it again"
        )
    return volume


def _words(particles: ParticleSet, settings: AverageSettings, known: bool) -> str:
    if not known:
        return "nothing known"
    if settings.transfer == "ctf" and particles.ctf_paths:
        return "the CTF of its files"
    if particles.tilts or particles.ctf_paths:
        return "its tilts" if settings.transfer == "wedge" else "CTF and tilts"
    return "the wedge of the tilt range"


def choose_sampling(
    checked: CheckedParticles, downfrac: float, mask: NDArray[np.float32] | None
) -> Sampling:
    """Return the boxes of the work, as the published program chooses them.

    Parameters
    ----------
    checked : CheckedParticles
        For box and pixel size.
    downfrac : float
        Fraction of the voxels along an edge.
    mask : (D, D, D), optional
        What lies outside of it is cut off; without a mask nothing is.
    """
    box = checked.particles.box_size_px
    render = 2 * int(box * downfrac) // 2
    render -= render % 2
    if render < _LEAST_CROP:
        raise ConfigError(
            f"--downfrac: found {downfrac:g}, which leaves {render} of {box} px, expected "
            f"{_LEAST_CROP} or more; give a larger one"
        )
    crop = render
    if mask is not None:
        inside = np.argwhere(mask > 0)
        margin = min(int(inside.min()), int(box - inside.max()))
        crop = 2 * int(render * min((box - 2 * margin + 4) / box, 1.0) / 2)
    return Sampling(box, render, max(_LEAST_CROP, crop), checked.pixel_size_angstrom)


def read_mask(path: Path, checked: CheckedParticles) -> NDArray[np.float32]:
    """Read a mask of the box of the particles, 0 to 1.

    Raises
    ------
    InputError
        Another box or pixel size, nothing inside, or values beyond 0 to 1.
    """
    volume = read_volume(path, require_cubic=True)
    data = np.asarray(volume.data, dtype=np.float32)
    box = checked.particles.box_size_px
    if data.shape != (box,) * 3:
        raise InputError(
            f"{path}: found a box of {data.shape[0]} px, expected {box} px as the particles have; "
            "make the mask from their average"
        )
    if data.min() < -0.01 or data.max() > 1.01 or data.max() < 0.5:
        raise InputError(
            f"{path}: found values from {data.min():.3g} to {data.max():.3g}, expected 0 to 1; "
            "give a mask rather than a map"
        )
    return data.clip(0, 1)


def working_mask(mask: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float32]:
    """Return a mask of the box on the working grid."""
    small = central(shrink(mask, sampling.render_px), sampling.crop_px)
    return np.ascontiguousarray(small.clip(0, 1))
