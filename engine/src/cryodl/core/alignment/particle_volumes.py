"""Particles from their files as what the aligner takes: volumes, and what they were seen through.

A subtomogram comes as it is. A stack of tilt images becomes a volume of CTF-weighted images and
the weight that belongs to it, in the frame of the tomogram.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryodl.core.fourier.insertion import SliceInsertion
from cryodl.core.fourier.transform import half_to_centred
from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.volumes.particle_average import (
    AverageSettings,
    are_premultiplied,
    insert_stack,
    particle_transfer,
)
from cryodl.errors import InputError

Floats = NDArray[np.float32]


class ParticleVolumes:
    """Reads particles in batches.

    Parameters
    ----------
    particles : ParticleSet
        Subtomograms, or stacks of tilt images with their tilts.
    settings : AverageSettings
        What they were seen through.

    Raises
    ------
    InputError
        Bare coordinates or single images.
    """

    def __init__(self, particles: ParticleSet, settings: AverageSettings) -> None:
        if particles.image_kind not in ("volume", "tilt_stack"):
            raise InputError(
                f"{particles.path or 'particles'}: found {particles.image_kind!r} as images, "
                "expected subtomograms or stacks of tilt images; extract them"
            )
        self.particles, self.settings = particles, settings
        self.multiplied_in_file = are_premultiplied(particles)
        self.premultiplied = particles.image_kind == "tilt_stack" or self.multiplied_in_file
        # The window of `_every_second` leaves the noise at the centre stronger than on average:
        # the power of these volumes is to be divided by this.
        self.noise_share = 0.75**3 if particles.image_kind == "tilt_stack" else 1.0
        self._shared: Floats | None = None

    def read(self, chosen: NDArray[np.integer]) -> tuple[Floats, Floats | None]:
        """Return volumes (b, n, n, n) and transfers, None where nothing is known of them."""
        if self.particles.image_kind == "tilt_stack":
            pairs = [self._inserted(int(i)) for i in chosen]
            return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
        volumes = np.stack([read_subtomogram(self.particles, int(i)) for i in chosen])
        if self._all_alike():
            if self._shared is None:
                self._shared = self._transfer(int(chosen[0]))
            return volumes, self._shared
        found = [self._transfer(int(i)) for i in chosen]
        known = [transfer for transfer in found if transfer is not None]
        return volumes, np.stack(known) if known else None

    def _all_alike(self) -> bool:
        particles = self.particles
        alone = particles.box_rotations is None
        return alone and not particles.ctf_paths and not particles.tilts

    def _transfer(self, index: int) -> Floats | None:
        return particle_transfer(
            self.particles, index, self.settings, squared=self.multiplied_in_file
        )

    def _inserted(self, index: int) -> tuple[Floats, Floats]:
        n = self.particles.box_size_px
        one = self.particles.subset(np.array([index]))
        upright = one.with_poses(np.eye(3)[None], np.zeros((1, 3)))
        insertion = SliceInsertion(n)
        pixel = float(one.pixel_size_angstrom[0])
        bare = replace(self.settings, symmetry="C1")
        insert_stack(insertion, upright, 0, bare, pixel, self.multiplied_in_file)
        data, weight = (_every_second(half, n) for half in insertion.sums())
        volume = np.fft.fftshift(scipy.fft.irfftn(data, s=(n, n, n)))
        seen = np.maximum(weight.real, 0).astype(np.float32)
        return volume.astype(np.float32), half_to_centred(seen, n)


def _every_second(half: NDArray, n: int) -> NDArray[np.complex128]:
    """Take every second frequency of a box of 2 n, its neighbours with half their weight.

    Data and weight then belong together point by point, which a cut in real space would blur, and
    nothing that was measured in between is lost.
    """
    m = 2 * n
    whole = scipy.fft.irfftn(half.astype(np.complex128), s=(m, m, m))
    line = np.cos(np.pi * np.fft.fftfreq(m)) ** 2
    window = line[:, None, None] * line[None, :, None] * line[None, None, :]
    return np.asarray(scipy.fft.rfftn(whole * window)[::2, ::2, ::2])
