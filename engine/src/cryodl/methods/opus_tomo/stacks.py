"""Particles that come as stacks of tilt images, in the frame of the reference.

Each image shows a central slice of the density. Slices are put where they belong among the
frequencies of the reference, by trilinear weights: N holds CTF times data, D the squared CTF. No
subtomogram is made on the way.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryodl.core.fourier.insertion import SliceInsertion
from cryodl.core.fourier.tilts import depths_angstrom, tilt_transfer, view_rotations
from cryodl.core.io.particles.images import read_tilt_images
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.tilt_series import particle_tilts
from cryodl.core.volumes.particle_average import (
    AverageSettings,
    are_premultiplied,
    offset_from_centre_angstrom,
)
from cryodl.errors import InputError
from cryodl.methods.opus_tomo.canonical import Canonical, Sampling, half_shells

_EDGE_PX = 2.0
# Noise of N over D: what trilinear weights leave of it where there is much of D, measured on white
# noise, and that an image has noise of pi / 4 c^2 pixels where a volume has pi / 6 c^3 voxels.
_SPREAD = 0.50 * 1.5


def noise_factor(crop_px: int) -> float:
    """Return by how much the noise is larger than a ratio of N and D as of volumes says."""
    return (crop_px - 2) / crop_px / _SPREAD


def stack_canonical(
    particles: ParticleSet, index: int, settings: AverageSettings, sampling: Sampling, sign: int
) -> Canonical:
    """Return N and D of a stack.

    Raises
    ------
    InputError
        Its tilts are not known, or are not as many as its images.
    """
    tilts = particle_tilts(particles, index)
    if tilts is None:
        raise InputError(
            f"{particles.path or 'particles'}: {particles.names[index]} has no tilt series, "
            "expected the tilts of its images; give --tomograms"
        )
    images = read_tilt_images(particles, index)
    count, c = len(tilts.tilt_angles_degrees), sampling.crop_px
    frames = np.arange(count)
    if particles.visible_frames is not None:
        frames = np.flatnonzero(particles.visible_frames[index][:count])
    if len(images) != len(frames):
        raise InputError(
            f"{particles.image_paths[index]}: found {len(images)} images, expected {len(frames)} "
            "for the visible tilts of its tomogram; extract the particles again"
        )
    turned = view_rotations(tilts)[frames]
    shifts = turned[:, :2] @ (particles.shifts_angstrom[index] / sampling.pixel_size_angstrom)
    small = sign * centred(images, shifts, sampling)
    insertion = SliceInsertion(c, padding=1)
    x, y = insertion.frequencies_px.T / (c * sampling.working_pixel_angstrom)
    transfer, rest = np.ones((2, len(frames), len(x)))
    if settings.transfer == "ctf":
        heights = depths_angstrom(tilts, offset_from_centre_angstrom(particles, index, tilts))
        for row, frame in enumerate(frames):
            depth = float(heights[frame])
            given = tilt_transfer(tilts, int(frame), x, y, dose=settings.dose, depth_angstrom=depth)
            transfer[row] = given
    if not are_premultiplied(particles):
        rest = transfer
    insertion.insert(
        small, turned @ particles.rotations[index], np.zeros((len(frames), 2)), rest, transfer**2
    )
    data, weight = insertion.sums()
    axis = np.fft.ifftshift(np.arange(c) - c // 2)
    kz, ky, kx = np.meshgrid(axis, axis, np.arange(c // 2 + 1), indexing="ij")
    inside = 4 * (kx**2 + ky**2 + kz**2) < c * c
    moved = data * inside * (1 - 2 * ((kx + ky + kz) % 2))  # origin at the centre voxel
    return Canonical(
        moved.astype(np.complex64), (weight * inside).astype(np.float32), _energy(small)
    )


def centred(
    images: NDArray[np.float32], shifts_px: NDArray[np.float64], sampling: Sampling
) -> NDArray[np.float32]:
    """Return images (k, c, c) with the particle in the middle of a soft disc, noise of variance 1.

    The background, outside the largest disc of the box, gets mean 0 and deviation 1.
    """
    n, r, c = images.shape[-1], sampling.render_px, sampling.crop_px
    axis = np.arange(n, dtype=np.float64) - n // 2
    outside = axis[:, None] ** 2 + axis**2 > (n / 2) ** 2
    background = images[:, outside]
    deviation = np.maximum(background.std(axis=1), 1e-3 * images.std(axis=(1, 2)) + 1e-30)
    even = (images - background.mean(axis=1)[:, None, None]) / deviation[:, None, None]
    k = np.fft.fftfreq(n)
    phase = shifts_px[:, 0, None, None] * k[None, :] + shifts_px[:, 1, None, None] * k[:, None]
    transform = scipy.fft.fft2(np.fft.ifftshift(even, axes=(1, 2))) * np.exp(-2j * np.pi * phase)
    kept = np.r_[0 : r // 2, n - r // 2 : n]
    cut = transform[:, kept][:, :, kept] * (r / n) ** 2
    small = np.fft.fftshift(scipy.fft.ifft2(cut).real, axes=(1, 2)) * (n / r)
    start = r // 2 - c // 2
    small = small[:, start : start + c, start : start + c]
    line = np.arange(c) - c // 2
    radius = np.sqrt(line[:, None] ** 2 + line**2)
    edge = np.clip((radius - (c / 2 - _EDGE_PX)) / _EDGE_PX, 0, 1)
    return np.asarray(small * (0.5 + 0.5 * np.cos(np.pi * edge)), dtype=np.float32)


def _energy(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the power of images by shell, on the scale of a volume's."""
    c = images.shape[-1]
    power = (np.abs(scipy.fft.rfft2(images)) ** 2).sum(axis=0)
    power[:, 1 : (c + 1) // 2] *= 2
    shells = half_shells(c)[0]
    found: NDArray[np.float64] = np.bincount(shells.ravel(), power.ravel(), c // 2 + 1) / c**3
    return found.astype(np.float32)
