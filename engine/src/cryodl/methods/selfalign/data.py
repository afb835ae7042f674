"""Pairs with known poses, made as needed: each member with noise and a wedge of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryodl.core.alignment.reference import TransformLookup
from cryodl.core.alignment.rotation_grid import rotation_vectors_to_matrices
from cryodl.core.alignment.spectra import FourierPoints, sphere_of_box
from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.training.batches import Batch
from cryodl.core.volumes.boxes import fourier_resample

Map = NDArray[np.float32]
_BASES_OF_A_BATCH = 8


@dataclass(frozen=True)
class PairSettings:
    """How pairs are made.

    Attributes
    ----------
    box_px : int
        Of the network.
    max_shift_px : float
        Along each axis, in pixels of that box.
    cone_degrees : float
        Largest rotation between the two; 180 for all.
    snr_range : (float, float)
        Power of signal over noise within the sphere that is looked at, before the wedge.
    fixed_template : bool
        The template is the clean reference, upright, for networks of one reference.
    particle_share : float
        Share of pairs that are made from particles.
    batch_size, seed : int
    """

    box_px: int
    max_shift_px: float
    cone_degrees: float = 180.0
    snr_range: tuple[float, float] = (0.05, 0.5)
    fixed_template: bool = True
    particle_share: float = 0.0
    batch_size: int = 64
    seed: int = 0


class PairSource:
    """Batches of pairs, for `cryodl.core.training.fit`.

    Parameters
    ----------
    settings : PairSettings
        How.
    reference : (n, n, n) array or None
        Clean density.
    particles : (b, n, n, n) array or None
        Raw particles as densities: low-passed, for their noise would turn with them.
    wedge : (n, n, n) array or None
        Of the particles, centred.
    noise : (k,) array or None
        Power of the noise by shell in the box of the particles; white by default.
    shared_noise : bool
        Both members get one noise that turns with the particle, as published. For the test that
        tells whether a network looks at noise.
    """

    def __init__(
        self,
        settings: PairSettings,
        reference: Map | None,
        particles: Map | None = None,
        wedge: Map | None = None,
        *,
        noise: NDArray[np.floating] | None = None,
        shared_noise: bool = False,
    ) -> None:
        self.settings, self.shared_noise = settings, shared_noise
        box = settings.box_px
        self._points = FourierPoints(box, (box - 1) // 2)
        volumes = [] if reference is None else [reference]
        self._first_particle = len(volumes)
        if particles is not None:
            volumes += [low_passed(particle, 0.25) for particle in particles]
        self._bases = [self._base(volume) for volume in volumes]
        self._template = None if reference is None else prepared(reference, box)
        self._wedge = None if wedge is None else wedge_of(wedge, box)
        self._sphere = torch.as_tensor(sphere_of_box(box))
        self._colour = None if noise is None else self._noise_amplitude(noise)

    def batch(self, step: int, micro: int, rank: int, world_size: int) -> Batch:
        """Return ``particle``, ``template`` (b, 1, n, n, n), ``rotation`` and ``shift``."""
        settings = self.settings
        key = (settings.seed, step, micro, rank)
        rng = np.random.default_rng(np.random.SeedSequence(key))
        count = settings.batch_size
        between = self._rotations(count, rng)
        limit = settings.max_shift_px
        shift = rng.uniform(-limit, limit, (count, 3))
        bases = self._drawn(count, rng)
        if settings.fixed_template:
            template_rotation = np.broadcast_to(np.eye(3), (count, 3, 3))
        else:
            template_rotation = random_rotations(count, rng)
        lowest, highest = np.log(settings.snr_range)
        ratios = np.exp(rng.uniform(lowest, highest, (2, count)))
        noise = self._noise(count, rng)
        first = self._member(
            bases, between @ template_rotation, shift, ratios[0], noise, rng, turned=True
        )
        if settings.fixed_template:
            template = torch.as_tensor(self._template)[None, None].expand(count, 1, -1, -1, -1)
        else:
            other = noise if self.shared_noise else self._noise(count, rng)
            still = np.zeros((count, 3))
            template = self._member(bases, template_rotation, still, ratios[1], other, rng)
        return {
            "particle": first,
            "template": template.float(),
            "rotation": torch.as_tensor(between).float(),
            "shift": torch.as_tensor(shift).float(),
        }

    def _rotations(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        cone = self.settings.cone_degrees
        if cone >= 180:
            return random_rotations(count, rng)
        axes = rng.standard_normal((count, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        return rotation_vectors_to_matrices(axes * np.deg2rad(rng.uniform(0, cone, (count, 1))))

    def _drawn(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return which density each pair is made of; few in a batch, for speed."""
        chosen = np.zeros(count, dtype=np.int64)
        first, total = self._first_particle, len(self._bases)
        if total == first:
            return chosen
        few = rng.integers(first, total, _BASES_OF_A_BATCH)
        own = rng.random(count) < self.settings.particle_share if first else np.ones(count, bool)
        chosen[own] = rng.choice(few, int(own.sum()))
        return chosen

    def _member(
        self,
        bases: NDArray[np.int64],
        rotations: NDArray[np.float64],
        shifts: NDArray[np.float64],
        ratios: NDArray[np.float64],
        noise: Tensor,
        rng: np.random.Generator,
        *,
        turned: bool = False,
    ) -> Tensor:
        points = self._points
        matrices = torch.as_tensor(rotations).float()
        places = points.xyz @ matrices
        values = torch.zeros(places.shape[:2], dtype=torch.complex64)
        for base in np.unique(bases):
            rows = torch.as_tensor(np.flatnonzero(bases == base))
            values[rows] = self._bases[base].at(places[rows])
        values = values * points.phases(torch.as_tensor(shifts))
        clean = points.volumes(values)
        if turned and self.shared_noise:
            lookups = [TransformLookup(one.numpy(), points.max_shell) for one in noise]
            spun = torch.stack([found.at(place) for found, place in zip(lookups, places)])
            noise = points.volumes(spun * points.phases(torch.as_tensor(shifts)))
        inside = self._sphere > 0.5
        power = clean[:, inside].var(dim=1) / torch.as_tensor(ratios).float()
        noisy = clean + noise * power.sqrt()[:, None, None, None]
        if self._wedge is not None:
            values = points.transform(noisy) * points.weights(self._wedge[None])
            noisy = points.volumes(values)
        return standardised(noisy, self._sphere)[:, None]

    def _noise(self, count: int, rng: np.random.Generator) -> Tensor:
        box = self.settings.box_px
        white = torch.as_tensor(rng.standard_normal((count, box, box, box), dtype=np.float32))
        if self._colour is None:
            return white
        coloured = self._points.volumes(self._points.transform(white) * self._colour)
        return coloured / coloured.std(dim=(1, 2, 3), keepdim=True)

    def _noise_amplitude(self, noise: NDArray[np.floating]) -> Tensor:
        shells = np.minimum(self._points.shell.numpy(), len(noise) - 1)
        return torch.as_tensor(np.sqrt(np.maximum(noise, 0))[shells]).float()

    def _base(self, volume: Map) -> TransformLookup:
        small = fourier_resample(volume, self.settings.box_px)
        region = sphere_of_box(small.shape[0])
        centred = (small - np.average(small, weights=region)) * region
        return TransformLookup(centred.astype(np.float32), self._points.max_shell)


def prepared(volume: Map, box_px: int) -> Map:
    """Return a volume as a network looks at it: small, within a sphere, mean 0, deviation 1."""
    small = torch.as_tensor(fourier_resample(volume, box_px))[None]
    return standardised(small, torch.as_tensor(sphere_of_box(box_px)))[0].numpy()


def standardised(volumes: Tensor, region: Tensor) -> Tensor:
    """Shift and scale (b, n, n, n) to mean 0 and deviation 1 in a region, 0 beyond it."""
    total = region.sum()
    mean = (volumes * region).sum(dim=(1, 2, 3), keepdim=True) / total
    centred = volumes - mean
    variance = (centred.square() * region).sum(dim=(1, 2, 3), keepdim=True) / total
    return centred / variance.sqrt().clamp(min=1e-12) * region


def low_passed(volume: Map, fraction_of_nyquist: float) -> Map:
    """Return a particle smoothed by a Gaussian that is 1/2 at a fraction of Nyquist."""
    from scipy.ndimage import gaussian_filter

    sigma = np.sqrt(2 * np.log(2)) / (np.pi * fraction_of_nyquist)
    return gaussian_filter(volume, sigma)


def wedge_of(wedge: Map, box_px: int) -> Tensor:
    """Return the middle of a centred weight: what a Fourier-cropped box has of it."""
    start = wedge.shape[0] // 2 - box_px // 2
    return torch.as_tensor(wedge[(slice(start, start + box_px),) * 3].copy()).float()
