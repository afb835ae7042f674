"""Record a volume: by a tilt series, by a wedge alone, or not at all; with noise of each style."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.simulation.imaging import Reconstruction, TiltImaging
from cryodl.core.simulation.noise import NoiseSettings, smooth_volume
from cryodl.core.simulation.tilt_series import Optics, TiltScheme, describe_tilt_series
from cryodl.errors import ConfigError

FloatVolume = NDArray[np.float32]
Imaging = Literal["tilt-series", "wedge", "none"]
Contrast = Literal["bright", "dark"]


class VolumeRecorder:
    """Turns densities of one shape into what a user gets to see.

    Parameters
    ----------
    shape_zyx, pixel_size_angstrom
        Of the volumes.
    imaging
        ``tilt-series``, ``wedge`` or ``none``.
    scheme, optics, reconstruction, noise
        How they are recorded. Without a tilt series optics and filter mean nothing.

    Attributes
    ----------
    volume_noise_sd : float
        Deviation of the noise in the finished volume, once calibrated.
    """

    def __init__(
        self,
        shape_zyx: tuple[int, int, int],
        pixel_size_angstrom: float,
        imaging: Imaging,
        scheme: TiltScheme,
        optics: Optics,
        reconstruction: Reconstruction,
        noise: NoiseSettings,
    ) -> None:
        if imaging not in ("tilt-series", "wedge", "none"):
            raise ConfigError(f"imaging: found {imaging!r}, expected tilt-series, wedge or none")
        self.shape_zyx = shape_zyx
        self.imaging: Imaging = imaging
        self.noise = noise
        self.volume_noise_sd = 0.0
        self.series = TiltImaging(shape_zyx, pixel_size_angstrom, scheme, optics, reconstruction)
        self._wedge = _sharp_wedge(shape_zyx, scheme) if imaging == "wedge" else None

    def clean(self, volume: FloatVolume, defocus_angstrom: float | None) -> FloatVolume:
        """Return what would be seen without noise."""
        if self.imaging == "tilt-series":
            images = self.series.signal_images(volume, defocus_angstrom)
            return self.series.reconstruct(images, defocus_angstrom)
        return self._filtered(volume)

    def calibrate(self, variance: float, generators: list[np.random.Generator]) -> float:
        """Return the deviation of the source of noise that leaves `variance` in the volume."""
        defocus = self.series.optics.defocus_angstrom
        found = np.mean([np.var(self._unit_noise(defocus, rng)) for rng in generators])
        self.volume_noise_sd = float(np.sqrt(variance))
        return float(np.sqrt(variance / found))

    def record(
        self,
        volume: FloatVolume,
        defocus_angstrom: float | None,
        noise_sd: float,
        rng: np.random.Generator,
    ) -> tuple[FloatVolume, FloatVolume]:
        """Return the volume as seen without and with noise.

        Parameters
        ----------
        volume
            The specimen, (z, y, x).
        defocus_angstrom
            None for no contrast transfer function.
        noise_sd
            Of `calibrate`; 0 for none.
        rng
            Source of the noise.
        """
        if not (self.imaging == "tilt-series" and self.noise.statistics == "poisson"):
            clean = self.clean(volume, defocus_angstrom)
            if noise_sd == 0:
                return clean, clean
            return clean, clean + np.float32(noise_sd) * self._unit_noise(defocus_angstrom, rng)
        images = self.series.signal_images(volume, defocus_angstrom)
        clean = self.series.reconstruct(images, defocus_angstrom)
        if noise_sd == 0 or self.noise.style != "detector":
            return clean, clean + np.float32(noise_sd) * self._unit_noise(defocus_angstrom, rng)
        shot = self.series.noise_images(self.noise, rng, images, noise_sd)
        noise = self.series.reconstruct(shot, defocus_angstrom)
        return clean, clean + np.float32(noise_sd) * noise

    def transfer_volume(self, defocus_angstrom: float | None) -> FloatVolume:
        """Return the factor on each Fourier component, centred."""
        if self.imaging == "tilt-series":
            return self.series.transfer_volume(defocus_angstrom)
        if self._wedge is not None:
            return self._wedge
        return np.ones(self.shape_zyx, dtype=np.float32)

    def tilt_series(self, name: str) -> TiltSeries:
        """Return the tilt series as the particle model holds it."""
        series = self.series
        return describe_tilt_series(
            name,
            series.scheme,
            series.optics,
            series.pixel_size_angstrom,
            series.projector,
            series.optics.defocus_angstrom,
        )

    def _unit_noise(self, defocus_angstrom: float | None, rng: np.random.Generator) -> FloatVolume:
        if self.noise.style == "smooth":
            return smooth_volume(self.shape_zyx, self.noise.correlation_px, rng)
        if self.imaging == "tilt-series":
            images = self.series.noise_images(self.noise, rng)
            return self.series.reconstruct(images, defocus_angstrom)
        return self._filtered(rng.standard_normal(self.shape_zyx, dtype=np.float32))

    def _filtered(self, volume: FloatVolume) -> FloatVolume:
        if self._wedge is None:
            return volume
        spectrum = fft.fftn(volume) * fft.ifftshift(self._wedge)
        seen: FloatVolume = fft.ifftn(spectrum).real.astype(np.float32)
        return seen


def _sharp_wedge(shape_zyx: tuple[int, int, int], scheme: TiltScheme) -> FloatVolume:
    """Return 1 for directions between the extreme tilts, centred; tests need no soft edge."""
    z, y, x = np.meshgrid(
        *(fft.fftshift(fft.fftfreq(n)) for n in shape_zyx), indexing="ij", sparse=True
    )
    # A tilt by t about y sees k_x tan t = k_z; about x it sees k_y tan(-t) = k_z.
    across = x if scheme.tilt_axis == "y" else -y
    z, across = np.broadcast_arrays(z, across)
    angle = np.degrees(np.arctan2(z * np.where(across < 0, -1, 1), np.abs(across)))
    inside = (angle >= scheme.tilt_min_degrees - 1e-6) & (angle <= scheme.tilt_max_degrees + 1e-6)
    inside |= (z == 0) & (across == 0)
    wedge: FloatVolume = np.broadcast_to(inside, shape_zyx).astype(np.float32)
    return wedge
