"""From a volume to the tomogram that a microscope would give of it, one path for all sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.core.simulation.noise import NoiseSettings, colour, coloured_images, shot_noise
from cryodl.core.simulation.projection import RowProjector
from cryodl.core.simulation.reconstruction import Filter, back_projection_weights
from cryodl.core.simulation.tilt_series import (
    HAND,
    Optics,
    TiltScheme,
    contrast_transfer,
    image_frequency,
    signal_damping,
)

FloatArray = NDArray[np.float32]

_PADDING_PX = 4
_STRIPS = 16


@dataclass(frozen=True)
class Reconstruction:
    """How a tilt series becomes a volume.

    Attributes
    ----------
    filter
        ``ramp`` or ``exact``.
    phase_flip
        True: the sign of the contrast transfer function is put right in every image.
    """

    filter: Filter = "ramp"
    phase_flip: bool = False


class TiltImaging:
    """Projection, contrast transfer, noise and reconstruction of volumes of one shape.

    Parameters
    ----------
    shape_zyx
        Of the volumes.
    pixel_size_angstrom
        Of volumes and images.
    scheme, optics, reconstruction
        How they are recorded and reconstructed.
    """

    def __init__(
        self,
        shape_zyx: tuple[int, int, int],
        pixel_size_angstrom: float,
        scheme: TiltScheme,
        optics: Optics,
        reconstruction: Reconstruction | None = None,
    ) -> None:
        self.pixel_size_angstrom = pixel_size_angstrom
        self.scheme, self.optics = scheme, optics
        self.reconstruction = reconstruction or Reconstruction()
        self.projector = RowProjector(
            shape_zyx, scheme.angles_degrees(), scheme.tilt_axis, padding_px=_PADDING_PX
        )
        self._frequency = image_frequency(self.projector.image_shape, pixel_size_angstrom)
        self._damping = signal_damping(self._frequency, scheme, optics)
        self._weights = back_projection_weights(self.projector, self.reconstruction.filter)

    @property
    def images_shape(self) -> tuple[int, int, int]:
        """Shape (K, y, x) of the tilt images."""
        return (len(self._weights), *self.projector.image_shape)

    def signal_images(self, volume: FloatArray, defocus_angstrom: float | None) -> FloatArray:
        """Return the images of a volume without noise, (K, y, x)."""
        spectra = fft.rfft2(self.projector.project(volume)) * self._damping
        if defocus_angstrom is None:
            return self._images(spectra)
        if not self.optics.defocus_gradient:
            transfer = contrast_transfer(self._frequency, defocus_angstrom, self.optics)
            return self._images(spectra * transfer.astype(np.float32))
        return self._by_strips(spectra, defocus_angstrom, flip=False)

    def noise_images(
        self,
        noise: NoiseSettings,
        rng: np.random.Generator,
        signal: FloatArray | None = None,
        noise_sd: float = 1.0,
    ) -> FloatArray:
        """Draw the noise of a series, of unit variance; Poisson noise depends on the `signal`."""
        if noise.statistics == "gaussian" or signal is None:
            return coloured_images(self.images_shape, noise.exponent, rng)
        counts = max(self.scheme.dose_per_tilt * self.pixel_size_angstrom**2, 1e-3)
        return colour(shot_noise(signal, noise_sd, counts, rng), noise.exponent)

    def reconstruct(self, images: FloatArray, defocus_angstrom: float | None) -> FloatArray:
        """Return the weighted back-projection of a series, (z, y, x)."""
        spectra = fft.rfft2(images) * self._weights
        if not self.reconstruction.phase_flip or defocus_angstrom is None:
            return self.projector.back_project(self._images(spectra))
        if self.optics.defocus_gradient:
            flipped = self._by_strips(spectra, defocus_angstrom, flip=True)
            return self.projector.back_project(flipped)
        transfer = contrast_transfer(self._frequency, defocus_angstrom, self.optics)
        return self.projector.back_project(self._images(spectra * _signs(transfer)))

    def transfer_volume(self, defocus_angstrom: float | None) -> FloatArray:
        """Return the factor on each Fourier component, centred (n, n, n): missing wedge and CTF.

        It is the transform of what becomes of a single bright voxel in the centre.
        """
        point = np.zeros(self.projector.shape_zyx, dtype=np.float32)
        point[tuple(n // 2 for n in point.shape)] = 1.0
        image = self.reconstruct(self.signal_images(point, defocus_angstrom), defocus_angstrom)
        centred = fft.fftshift(fft.fftn(fft.ifftshift(image))).real
        return np.ascontiguousarray(centred, dtype=np.float32)

    def _images(self, spectra: NDArray[np.complex64]) -> FloatArray:
        images: FloatArray = fft.irfft2(spectra, s=self.projector.image_shape)
        return images

    def _by_strips(
        self, spectra: NDArray[np.complex64], defocus_angstrom: float, flip: bool
    ) -> FloatArray:
        """Apply a transfer function that changes across the tilt axis, blended between strips."""
        along_y = self.scheme.tilt_axis == "y"
        width = self.projector.image_shape[1 if along_y else 0]
        place = np.arange(width) - width // 2
        centres = np.linspace(place[0], place[-1], _STRIPS)
        images = np.zeros(self.images_shape, dtype=np.float32)
        sense = 1.0 if along_y else -1.0
        for index, angle in enumerate(self.projector.tilt_angles_degrees):
            # depth of the specimen's middle plane below the pixel, in Angstrom
            slope = -sense * math.tan(math.radians(angle)) * self.pixel_size_angstrom
            for centre in centres:
                share = np.maximum(0, 1 - np.abs(place - centre) / (centres[1] - centres[0]))
                share = share[None, :] if along_y else share[:, None]
                defocus = defocus_angstrom + HAND * slope * centre
                transfer = contrast_transfer(self._frequency, defocus, self.optics)
                factor = _signs(transfer) if flip else transfer.astype(np.float32)
                images[index] += self._images(spectra[index] * factor) * share.astype(np.float32)
        return images


def _signs(transfer: NDArray[np.float64]) -> FloatArray:
    return np.where(transfer < 0, np.float32(-1), np.float32(1))
