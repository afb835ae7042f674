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
        return not particles.ctf_paths and not particles.tilts

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
        # Every second frequency of the larger box: data and weight belong together point by point,
        # which a cut in real space would blur.
        data, weight = (half[::2, ::2, ::2] for half in insertion.sums())
        volume = np.fft.fftshift(scipy.fft.irfftn(data, s=(n, n, n)))
        return volume.astype(np.float32), half_to_centred(np.ascontiguousarray(weight), n)
