"""Single-particle images with known truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.core.simulation.noise import NoiseSettings, coloured_images
from cryodl.core.simulation.population import PopulationSettings
from cryodl.core.simulation.poses import draw_classes
from cryodl.core.simulation.sampling import ViewDistribution, draw_view_directions
from cryodl.core.simulation.slices import SliceProjector
from cryodl.core.simulation.structures import Structure
from cryodl.core.simulation.tilt_series import Optics, contrast_transfer, image_frequency
from cryodl.errors import ConfigError

FloatImages = NDArray[np.float32]

_CALIBRATED = 64
_MEASURED = 200


@dataclass(frozen=True, kw_only=True)
class ImageSettings(PopulationSettings):
    """What to simulate; `PopulationSettings` and what only images have.

    Attributes
    ----------
    views, view_spread_degrees, uniform_fraction, axis_xyz
        Directions of view, see `sampling.draw_view_directions`: views along or across an axis of
        the particle, or of any direction. Shifts are along x and y.
    optics
        Of the microscope; only what applies to one image.
    defocus_spread_angstrom
        The defocus of a micrograph lies within this of that of `optics`.
    per_micrograph
        Particles with one defocus.
    noise
        Style ``detector`` or ``none``.
    """

    number: int = 1000
    box_size_px: int = 64
    pixel_size_angstrom: float = 5.0
    rotation_error_degrees: float = 3.0
    views: ViewDistribution = "uniform"
    view_spread_degrees: float = 15.0
    uniform_fraction: float = 0.05
    axis_xyz: tuple[float, float, float] = (0.0, 0.0, 1.0)
    optics: Optics = field(default_factory=lambda: Optics(15000.0))
    defocus_spread_angstrom: float = 5000.0
    per_micrograph: int = 50
    noise: NoiseSettings = field(default_factory=lambda: NoiseSettings(snr=0.05))


class ImageSimulator:
    """Makes single-particle images one by one.

    Parameters
    ----------
    settings
        What to simulate.
    seed
        Same seed, same bytes; image i does not depend on those before it.
    densities
        ``(m, m, m)`` arrays at the pixel size, one a class, instead of ``settings.structures``.

    Attributes
    ----------
    rotations, shifts_px, known_rotations, known_shifts_px
        ``x_image = A x_reference - s``, (N, 3, 3) and (N, 3) with the last shift 0.
    classes, states, half_sets, micrographs
        From 1, from 0, 1 or 2, from 0.
    defocus_angstrom
        Of each; NaN without contrast transfer function.

    Raises
    ------
    ConfigError, InputError
        Settings or structures that do not fit.
    """

    def __init__(
        self,
        settings: ImageSettings,
        seed: int = 0,
        densities: Sequence[NDArray[np.float32]] | None = None,
    ) -> None:
        if settings.number < 1 or settings.box_size_px < 8 or settings.per_micrograph < 1:
            raise ConfigError(
                f"particles: found {settings.number} images of {settings.box_size_px} px, "
                f"{settings.per_micrograph} a micrograph; expected 1 or more, of 8 px or more"
            )
        if settings.noise.style == "smooth":
            raise ConfigError("noise: found smooth, expected detector or none for images")
        self.settings, self.seed = settings, seed
        self.structures = settings.load_states(densities)
        self._draw()
        n = settings.box_size_px
        self._projectors = [
            [SliceProjector(structure.density, n) for structure in states]
            for states in self.structures
        ]
        self._frequency = image_frequency((n, n), settings.pixel_size_angstrom)
        self._envelope = np.exp(-settings.optics.bfactor * self._frequency**2 / 4)
        chosen = range(min(_CALIBRATED, settings.number))
        self.signal_sd = float(np.sqrt(np.mean([self._signal_variance(i) for i in chosen])))
        self.noise_sd = 0.0
        if settings.noise.style == "detector":
            self.noise_sd = self.signal_sd / math.sqrt(settings.noise.snr)
        self._signal_variances: list[float] = []
        self._noise_variances: list[float] = []

    def _draw(self) -> None:
        settings, number = self.settings, self.settings.number
        rng = self._rng(0)
        self.classes = draw_classes(number, settings.proportions, len(self.structures), rng)
        self.states = rng.integers(0, len(self.structures[0]), number)
        directions = draw_view_directions(
            number,
            rng,
            settings.views,
            settings.axis_xyz,
            settings.view_spread_degrees,
            settings.uniform_fraction,
        )
        self.rotations = _looking_along(directions, rng.uniform(0, 2 * np.pi, number))
        limit = settings.max_shift_px
        self.shifts_px = rng.uniform(-limit, limit, (number, 3))
        self.shifts_px[:, 2] = 0.0
        self.half_sets = rng.permutation(np.arange(number) % 2) + 1
        self.micrographs = np.arange(number) // settings.per_micrograph
        self.defocus_angstrom = np.full(number, np.nan)
        if settings.optics.defocus_angstrom is not None:
            spread = settings.defocus_spread_angstrom
            offsets = rng.uniform(-spread, spread, int(self.micrographs[-1]) + 1)
            self.defocus_angstrom = settings.optics.defocus_angstrom + offsets[self.micrographs]
        self.known_rotations, self.known_shifts_px = settings.tell_poses(
            self.rotations, self.shifts_px, rng
        )
        self.known_shifts_px[:, 2] = 0.0

    def clean(self, index: int) -> FloatImages:
        """Return image `index` without noise, bright = matter."""
        transfer = self._envelope
        if not np.isnan(self.defocus_angstrom[index]):
            transfer = transfer * contrast_transfer(
                self._frequency, self.defocus_angstrom[index], self.settings.optics
            )
        projector = self._projectors[int(self.classes[index]) - 1][int(self.states[index])]
        spectrum = projector.transform(self.rotations[index], -self.shifts_px[index])
        box = self.settings.box_size_px
        image: FloatImages = fft.irfft2(spectrum * transfer.astype(np.float32), s=(box, box))
        return image

    def image(self, index: int) -> FloatImages:
        """Return image `index`, (n, n) float32."""
        clean = noisy = self.clean(index)
        if self.noise_sd > 0:
            noise = coloured_images(clean.shape, self.settings.noise.exponent, self._rng(1, index))
            noisy = clean + np.float32(self.noise_sd) * noise
        if len(self._signal_variances) < _MEASURED:
            self._signal_variances.append(float(np.var(clean[self.mask(index)])))
            self._noise_variances.append(float(np.var(noisy - clean)))
        scale = self.settings.intensity_scale / (self.noise_sd or self.signal_sd)
        if self.settings.contrast == "dark":
            scale = -scale
        return noisy * np.float32(scale) + np.float32(self.settings.intensity_offset)

    def __iter__(self) -> Iterator[FloatImages]:
        """Yield all images in order."""
        for index in range(self.settings.number):
            yield self.image(index)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return where in image `index` the particle is."""
        mask = self._structure(index).posed_mask(
            self.rotations[index], -self.shifts_px[index], self.settings.box_size_px
        )
        covered: NDArray[np.bool_] = mask.any(axis=0)
        return covered

    def measured_snr(self) -> float:
        """Return signal over noise variance, of the first images made; infinity without noise."""
        if not self._signal_variances:
            return float("nan")
        noise = float(np.mean(self._noise_variances))
        return float(np.mean(self._signal_variances)) / noise if noise > 0 else float("inf")

    def references(self) -> list[list[NDArray[np.float32]]]:
        """Return the clean structures by class and state, unrotated, in the box of the images."""
        box = self.settings.box_size_px
        return [
            [structure.posed(np.eye(3), np.zeros(3), box) for structure in states]
            for states in self.structures
        ]

    def _structure(self, index: int) -> Structure:
        return self.structures[int(self.classes[index]) - 1][int(self.states[index])]

    def _signal_variance(self, index: int) -> float:
        return float(np.var(self.clean(index)[self.mask(index)]))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def _looking_along(
    directions_xyz: NDArray[np.float64], spin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return rotations that bring each direction of the particle to the beam, z, spun about it."""
    z = directions_xyz
    helper = np.eye(3)[np.argmin(np.abs(z), axis=1)]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    frame = np.stack([x, np.cross(z, x), z], axis=1)
    cosine, sine = np.cos(spin), np.sin(spin)
    turn = np.zeros((len(spin), 3, 3))
    turn[:, 0, 0], turn[:, 0, 1] = cosine, -sine
    turn[:, 1, 0], turn[:, 1, 1] = sine, cosine
    turn[:, 2, 2] = 1.0
    return turn @ frame
