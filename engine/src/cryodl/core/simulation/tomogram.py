"""Tomograms with known truth: a crowded specimen, recorded and reconstructed as a tilt series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.simulation.imaging import Reconstruction, TiltImaging
from cryodl.core.simulation.noise import NoiseSettings, smooth_volume
from cryodl.core.simulation.recording import Contrast
from cryodl.core.simulation.scene import Scene, SceneSettings, build_scene
from cryodl.core.simulation.structures import load_structures, make_structure, states_of
from cryodl.core.simulation.tilt_series import Optics, TiltScheme, describe_tilt_series
from cryodl.errors import ConfigError

FloatVolume = NDArray[np.float32]


@dataclass(frozen=True)
class TomogramSettings:
    """What to simulate.

    Attributes
    ----------
    structures
        Shipped densities or paths of cubic MRC files, one a class.
    shape_zyx, pixel_size_angstrom
        Of the tomogram.
    scene
        What is in it.
    motion_degrees, motion_steps
        See `structures.states_of`.
    scheme, optics, reconstruction, noise
        How it is recorded.
    contrast
        ``dark``: matter is dark, as in most tomograms.
    intensity_scale, intensity_offset
        Deviation of the noise (of the particles where there is none), and what is added.
    equalise, resolution_angstrom
        See `structures.load_structures`.
    """

    structures: tuple[str, ...] = ("groel_groes",)
    shape_zyx: tuple[int, int, int] = (64, 256, 256)
    pixel_size_angstrom: float = 10.0
    scene: SceneSettings = field(default_factory=SceneSettings)
    motion_degrees: float = 0.0
    motion_steps: int = 1
    scheme: TiltScheme = field(default_factory=TiltScheme)
    optics: Optics = field(default_factory=Optics)
    reconstruction: Reconstruction = field(default_factory=Reconstruction)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    contrast: Contrast = "dark"
    intensity_scale: float = 1.0
    intensity_offset: float = 0.0
    equalise: bool = False
    resolution_angstrom: float | None = None


@dataclass(frozen=True)
class SimulatedTomogram:
    """A tomogram and its truth; coordinates (x, y, z) are counted from the first voxel.

    Attributes
    ----------
    volume
        (z, y, x) float32.
    coordinates_px, rotations, classes, states
        Of the particles: (N, 3), (N, 3, 3) with ``x_particle = A x_reference``, from 1, from 0.
    decoys_px, beads_px
        Places of decoys and gold beads.
    clean
        The specimen before it was recorded, bright = matter.
    labels
        uint8, see `scene.Scene`.
    label_names
        What the labels from 1 mean.
    references
        Clean structures by class and state, unrotated.
    tilt_images
        The recorded series with its noise, (K, y, x), bright = matter.
    tilts
        How it was recorded.
    pixel_size_angstrom
        Of the tomogram.
    snr
        Measured: variance of the noise-free tomogram of the particles alone, inside them, over
        the variance of the noise. Infinity without noise, NaN without particles.
    """

    volume: FloatVolume
    coordinates_px: NDArray[np.float64]
    rotations: NDArray[np.float64]
    classes: NDArray[np.int64]
    states: NDArray[np.int64]
    decoys_px: NDArray[np.float64]
    beads_px: NDArray[np.float64]
    clean: FloatVolume
    labels: NDArray[np.uint8]
    label_names: list[str]
    references: list[list[FloatVolume]]
    tilt_images: FloatVolume
    tilts: TiltSeries
    pixel_size_angstrom: float
    snr: float


def simulate_tomogram(
    settings: TomogramSettings | None = None,
    seed: int = 0,
    densities: Sequence[FloatVolume] | None = None,
    name: str = "simulated",
) -> SimulatedTomogram:
    """Simulate one tomogram.

    Parameters
    ----------
    settings
        What to simulate; None for the defaults.
    seed
        Same seed, same bytes.
    densities
        ``(m, m, m)`` arrays at the pixel size, one a class, instead of ``settings.structures``.
    name
        Of the tilt series.

    Returns
    -------
    SimulatedTomogram
        Volume and truth.

    Raises
    ------
    ConfigError, InputError
        Settings or structures that do not fit.
    """
    settings = settings or TomogramSettings()
    if min(settings.shape_zyx) < 8 or settings.intensity_scale <= 0:
        raise ConfigError(
            f"tomogram: found shape {settings.shape_zyx} and intensity scale "
            f"{settings.intensity_scale}, expected 8 px or more along each axis and a scale above 0"
        )
    if densities is None:
        single = load_structures(
            settings.structures,
            settings.pixel_size_angstrom,
            resolution_angstrom=settings.resolution_angstrom,
            equalise=settings.equalise,
        )
    else:
        single = [make_structure(f"class{i + 1}", density) for i, density in enumerate(densities)]
    structures = states_of(single, settings.motion_degrees, settings.motion_steps)
    scene = build_scene(settings.shape_zyx, structures, settings.scene, _rng(seed, 0))
    series = TiltImaging(
        settings.shape_zyx,
        settings.pixel_size_angstrom,
        settings.scheme,
        settings.optics,
        settings.reconstruction,
    )
    volume, images, snr = _record(settings, scene, series, seed)
    return SimulatedTomogram(
        volume=volume,
        coordinates_px=scene.coordinates_px,
        rotations=scene.rotations,
        classes=scene.classes,
        states=scene.states,
        decoys_px=scene.decoys_px,
        beads_px=scene.beads_px,
        clean=scene.particles + scene.others,
        labels=scene.labels,
        label_names=[states[0].name for states in structures] + ["membrane", "gold", "decoy"],
        references=[[structure.density for structure in states] for states in structures],
        tilt_images=images,
        tilts=describe_tilt_series(
            name,
            settings.scheme,
            settings.optics,
            settings.pixel_size_angstrom,
            series.projector,
            settings.optics.defocus_angstrom,
        ),
        pixel_size_angstrom=settings.pixel_size_angstrom,
        snr=snr,
    )


def _record(
    settings: TomogramSettings, scene: Scene, series: TiltImaging, seed: int
) -> tuple[FloatVolume, FloatVolume, float]:
    """Return the tomogram, its tilt images and the signal-to-noise ratio."""
    defocus, noise = settings.optics.defocus_angstrom, settings.noise
    images = series.signal_images(scene.particles, defocus)
    clean = series.reconstruct(images, defocus)
    inside = (scene.labels > 0) & (scene.labels <= scene.number_classes)
    signal = float(np.var(clean[inside])) if inside.any() else float("nan")
    volume = clean
    if scene.others.any():
        other_images = series.signal_images(scene.others, defocus)
        images = images + other_images
        volume = volume + series.reconstruct(other_images, defocus)
    unit = float(np.sqrt(signal)) if signal > 0 else float(np.std(volume)) or 1.0
    snr = float("inf")
    if noise.style != "none":
        wanted = (signal if signal > 0 else 1.0) / noise.snr
        rng = _rng(seed, 1)
        if noise.style == "smooth":
            noisy = smooth_volume(settings.shape_zyx, noise.correlation_px, rng)
            noise_sd = float(np.sqrt(wanted / np.var(noisy)))
        else:
            noisy, noise_sd, images = _with_detector_noise(series, images, noise, wanted, rng)
        volume = volume + np.float32(noise_sd) * noisy
        unit = noise_sd * float(np.std(noisy))
        snr = signal / unit**2
    scale = np.float32(settings.intensity_scale / unit)
    if settings.contrast == "dark":
        scale = -scale
    return volume * scale + np.float32(settings.intensity_offset), images, snr


def _with_detector_noise(
    series: TiltImaging,
    images: FloatVolume,
    noise: NoiseSettings,
    wanted: float,
    rng: np.random.Generator,
) -> tuple[FloatVolume, float, FloatVolume]:
    """Return noise in the tomogram, the factor that gives it the wanted variance, noisy images."""
    defocus = series.optics.defocus_angstrom
    drawn = series.noise_images(noise, rng)
    noisy = series.reconstruct(drawn, defocus)
    noise_sd = float(np.sqrt(wanted / np.var(noisy)))
    if noise.statistics == "poisson":
        # counts depend on the signal in units of the noise, which is known only now
        drawn = series.noise_images(noise, rng, images, noise_sd)
        noisy = series.reconstruct(drawn, defocus)
    return noisy, noise_sd, images + np.float32(noise_sd) * drawn


def _rng(seed: int, key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))
