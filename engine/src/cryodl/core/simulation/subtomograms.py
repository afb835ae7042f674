"""Subtomograms with known truth, each recorded and reconstructed like a small tomogram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.simulation.imaging import Reconstruction
from cryodl.core.simulation.junk import draw_junk
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.population import PopulationSettings
from cryodl.core.simulation.poses import draw_classes
from cryodl.core.simulation.recording import Imaging, VolumeRecorder
from cryodl.core.simulation.structures import Structure
from cryodl.core.simulation.tilt_series import Optics, TiltScheme
from cryodl.errors import ConfigError

FloatVolume = NDArray[np.float32]

_CALIBRATED = 32
_CALIBRATED_NOISES = 6


@dataclass(frozen=True, kw_only=True)
class SubtomogramSettings(PopulationSettings):
    """What to simulate; `PopulationSettings` (junk counts among the number) and the recording.

    Attributes
    ----------
    junk_fraction
        Share of boxes with no particle: empty ice, beads, membranes, blobs.
    neighbours
        Other particles about each one, at random places beyond contact.
    imaging
        ``tilt-series``: projected, recorded, back-projected. ``wedge``: multiplied with a wedge,
        for tests. ``none``: the density with noise.
    scheme, optics, reconstruction, noise
        How they are recorded.
    defocus_spread_angstrom
        The defocus of a particle lies within this of that of `optics`.
    """

    number: int = 100
    box_size_px: int = 32
    pixel_size_angstrom: float = 10.0
    rotation_error_degrees: float = 5.0
    junk_fraction: float = 0.0
    neighbours: int = 0
    imaging: Imaging = "tilt-series"
    scheme: TiltScheme = field(default_factory=TiltScheme)
    optics: Optics = field(default_factory=lambda: Optics(defocus_angstrom=None))
    reconstruction: Reconstruction = field(default_factory=Reconstruction)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    defocus_spread_angstrom: float = 0.0

    def __post_init__(self) -> None:
        if self.number < 1 or self.box_size_px < 8:
            raise ConfigError(
                f"subtomograms: found {self.number} in boxes of {self.box_size_px} px, expected 1 "
                "or more in boxes of 8 px or more"
            )
        if not 0 <= self.junk_fraction <= 1 or self.neighbours < 0 or not self.max_shift_px >= 0:
            raise ConfigError(
                f"subtomograms: found a junk fraction of {self.junk_fraction}, {self.neighbours} "
                f"neighbours and shifts of {self.max_shift_px} px, expected 0 to 1, and 0 or more"
            )
        if self.intensity_scale <= 0:
            raise ConfigError(f"intensity scale: found {self.intensity_scale}, expected above 0")


@dataclass(frozen=True)
class SimulatedSubtomograms:
    """Subtomograms and everything true about them, one row a particle.

    Attributes
    ----------
    volumes
        (N, n, n, n) float32 (z, y, x).
    rotations, shifts_px
        Truth: ``x_particle = A x_reference - s``, (N, 3, 3) and (N, 3).
    known_rotations, known_shifts_px
        The same as far as the data file tells.
    classes
        From 1; 0 is junk.
    states
        Step of the motion, from 0.
    half_sets
        1 or 2.
    defocus_angstrom
        Of each; NaN without contrast transfer function.
    references
        (classes, states, n, n, n): the clean structures, unrotated.
    transfers
        Factor on each Fourier component, centred: (n, n, n), or (N, n, n, n) where every
        particle has its own contrast transfer function.
    tilts
        The tilt series, with the mean defocus.
    pixel_size_angstrom
        Of all volumes.
    snr
        Measured, of the particles that are no junk.
    """

    volumes: FloatVolume
    rotations: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    known_rotations: NDArray[np.float64]
    known_shifts_px: NDArray[np.float64]
    classes: NDArray[np.int64]
    states: NDArray[np.int64]
    half_sets: NDArray[np.int64]
    defocus_angstrom: NDArray[np.float64]
    references: FloatVolume
    transfers: FloatVolume
    tilts: TiltSeries
    pixel_size_angstrom: float
    snr: float


class SubtomogramSimulator:
    """Makes subtomograms one by one, so that no set is too large for the memory.

    Parameters
    ----------
    settings
        What to simulate.
    seed
        Same seed, same bytes; particle i does not depend on those before it.
    densities
        ``(m, m, m)`` arrays at the pixel size, one a class, instead of ``settings.structures``.

    Raises
    ------
    ConfigError, InputError
        Settings or structures that do not fit.
    """

    def __init__(
        self,
        settings: SubtomogramSettings,
        seed: int = 0,
        densities: Sequence[FloatVolume] | None = None,
    ) -> None:
        self.settings, self.seed = settings, seed
        self.structures = settings.load_states(densities)
        self._draw()
        self.recorder = VolumeRecorder(
            (settings.box_size_px,) * 3,
            settings.pixel_size_angstrom,
            settings.imaging,
            settings.scheme,
            settings.optics,
            settings.reconstruction,
            settings.noise,
        )
        self._calibrate()
        self._signal_variances: list[float] = []
        self._noise_variances: list[float] = []

    def _draw(self) -> None:
        settings, number = self.settings, self.settings.number
        rng = self._rng(0)
        classes = draw_classes(number, settings.proportions, len(self.structures), rng)
        junk = rng.permutation(number)[: round(settings.junk_fraction * number)]
        classes[junk] = 0
        self.classes = classes
        self.states = rng.integers(0, len(self.structures[0]), number)
        self.states[junk] = 0
        self.rotations = random_rotations(number, rng)
        limit = settings.max_shift_px
        self.shifts_px = rng.uniform(-limit, limit, (number, 3))
        self.half_sets = rng.permutation(np.arange(number) % 2) + 1
        self.defocus_angstrom = np.full(number, np.nan)
        if settings.optics.defocus_angstrom is not None:
            spread = settings.defocus_spread_angstrom
            self.defocus_angstrom = settings.optics.defocus_angstrom + rng.uniform(
                -spread, spread, number
            )
        self.known_rotations, self.known_shifts_px = settings.tell_poses(
            self.rotations, self.shifts_px, rng
        )

    def _calibrate(self) -> None:
        """Find the deviation of the noise that gives the asked signal-to-noise ratio."""
        settings = self.settings
        chosen = np.flatnonzero(self.classes > 0)[:_CALIBRATED]
        variance = float(np.mean([self._signal_variance(int(i)) for i in chosen] or [1.0]))
        self.signal_sd = float(np.sqrt(variance))
        self.noise_sd = 0.0
        if settings.noise.style != "none":
            self.noise_sd = self.recorder.calibrate(
                variance / settings.noise.snr, [self._rng(2, i) for i in range(_CALIBRATED_NOISES)]
            )

    def _signal_variance(self, index: int) -> float:
        """Return the variance inside one particle, recorded without noise."""
        clean = self.recorder.clean(self.specimen(index), self._defocus(index))
        return float(np.var(clean[self.mask(index)]))

    def specimen(self, index: int) -> FloatVolume:
        """Return the density in box `index` before it is recorded, neighbours and all."""
        settings, box = self.settings, self.settings.box_size_px
        rng = self._rng(3, index)
        if self.classes[index] == 0:
            volume = draw_junk(index, box, self._brightness(), rng)
        else:
            volume = self._structure(index).posed(
                self.rotations[index], -self.shifts_px[index], box
            )
        for _ in range(settings.neighbours):
            other = self.structures[rng.integers(len(self.structures))][0]
            direction = rng.standard_normal(3)
            direction /= np.linalg.norm(direction)
            distance = (self._structure(index).radius_px + other.radius_px) * rng.uniform(1, 1.3)
            turn = random_rotations(1, rng)[0]
            volume = volume + other.posed(turn, distance * direction, box)
        return volume

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return where in box `index` the particle is; for junk, where the first would be."""
        return self._structure(index).posed_mask(
            self.rotations[index], -self.shifts_px[index], self.settings.box_size_px
        )

    def particle(self, index: int) -> FloatVolume:
        """Return subtomogram `index`, (n, n, n) float32."""
        defocus = self._defocus(index)
        clean, noisy = self.recorder.record(
            self.specimen(index), defocus, self.noise_sd, self._rng(4, index)
        )
        if self.classes[index] > 0:
            self._signal_variances.append(float(np.var(clean[self.mask(index)])))
            self._noise_variances.append(float(np.var(noisy - clean)))
        unit = self.recorder.volume_noise_sd or self.signal_sd
        scale = self.settings.intensity_scale / unit
        if self.settings.contrast == "dark":
            scale = -scale
        return (noisy * np.float32(scale) + np.float32(self.settings.intensity_offset)).astype(
            np.float32
        )

    def __iter__(self) -> Iterator[FloatVolume]:
        """Yield all subtomograms in order."""
        for index in range(self.settings.number):
            yield self.particle(index)

    def measured_snr(self) -> float:
        """Return signal over noise variance of the particles made so far; infinity without noise.

        It is NaN where no particle was made yet.
        """
        if not self._signal_variances:
            return float("nan")
        noise = float(np.mean(self._noise_variances))
        return float(np.mean(self._signal_variances)) / noise if noise > 0 else float("inf")

    def transfer(self, index: int) -> FloatVolume:
        """Return the factor on each Fourier component of box `index`, centred (n, n, n)."""
        return self.recorder.transfer_volume(self._defocus(index))

    def references(self) -> FloatVolume:
        """Return the clean structures by class and state, unrotated, (C, S, n, n, n)."""
        box = self.settings.box_size_px
        return np.stack(
            [
                np.stack([structure.posed(np.eye(3), np.zeros(3), box) for structure in states])
                for states in self.structures
            ]
        )

    def tilts(self, name: str = "simulated") -> TiltSeries:
        """Return the tilt series with the mean defocus."""
        return self.recorder.tilt_series(name)

    def _structure(self, index: int) -> Structure:
        return self.structures[max(int(self.classes[index]) - 1, 0)][int(self.states[index])]

    def _brightness(self) -> float:
        """Return the mean density inside the first structure."""
        first = self.structures[0][0]
        return float(np.mean(first.density[first.mask]))

    def _defocus(self, index: int) -> float | None:
        defocus = float(self.defocus_angstrom[index])
        return None if np.isnan(defocus) else defocus

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def simulate_subtomograms(
    settings: SubtomogramSettings | None = None,
    seed: int = 0,
    densities: Sequence[FloatVolume] | None = None,
) -> SimulatedSubtomograms:
    """Simulate a set of subtomograms in memory.

    Parameters
    ----------
    settings
        What to simulate; None for the defaults.
    seed
        Same seed, same bytes.
    densities
        Arrays at the pixel size, one a class, instead of ``settings.structures``.

    Returns
    -------
    SimulatedSubtomograms
        Volumes and truth.
    """
    settings = settings or SubtomogramSettings()
    simulator = SubtomogramSimulator(settings, seed, densities)
    own_transfers = settings.defocus_spread_angstrom > 0 and settings.imaging == "tilt-series"
    volumes = np.stack(list(simulator))
    return SimulatedSubtomograms(
        volumes=volumes,
        rotations=simulator.rotations,
        shifts_px=simulator.shifts_px,
        known_rotations=simulator.known_rotations,
        known_shifts_px=simulator.known_shifts_px,
        classes=simulator.classes,
        states=simulator.states,
        half_sets=simulator.half_sets,
        defocus_angstrom=simulator.defocus_angstrom,
        references=simulator.references(),
        transfers=np.stack([simulator.transfer(i) for i in range(settings.number)])
        if own_transfers
        else simulator.transfer(0),
        tilts=simulator.tilts(),
        pixel_size_angstrom=settings.pixel_size_angstrom,
        snr=simulator.measured_snr(),
    )
