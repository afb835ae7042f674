"""Project a molecule by central slices of its Fourier transform: quick for many views."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

_OVERSAMPLING = 2
"""The density is padded by this, so that splines between Fourier voxels are good to 1 in 1000."""


class SliceProjector:
    """Projections along z of one density in any pose.

    Parameters
    ----------
    density
        ``(m, m, m)`` (z, y, x), about its centre voxel.
    box_size_px
        Edge of the images, not smaller than the molecule.
    """

    def __init__(self, density: NDArray[np.float32], box_size_px: int) -> None:
        m = density.shape[0]
        self._padded = _OVERSAMPLING * (m + m % 2)
        self._box = box_size_px
        first = self._padded // 2 - m // 2
        around = (first, self._padded - m - first)
        centred = fft.ifftshift(np.pad(density.astype(np.float32), (around,) * 3))
        spectrum = fft.fftshift(fft.fftn(centred))
        self._coefficients = ndimage.spline_filter(spectrum, order=3, output=np.complex64)
        kx, ky = fft.rfftfreq(box_size_px), fft.fftfreq(box_size_px)
        self._k = np.stack(np.broadcast_arrays(kx[None, :], ky[:, None]), axis=-1)

    def transform(
        self, rotation: NDArray[np.float64], translation_px: NDArray[np.float64]
    ) -> NDArray[np.complex64]:
        """Return the transform of an image, in the layout of ``rfft2`` of the box.

        The molecule is turned by A and moved by t (x, y; a depth changes nothing); the centre
        voxel of the density falls on pixel ``n // 2``.
        """
        frequency_xyz = self._k @ np.asarray(rotation, dtype=np.float64)[:2]
        places = np.moveaxis(frequency_xyz[..., ::-1] * self._padded + self._padded // 2, -1, 0)
        values = ndimage.map_coordinates(
            self._coefficients, places, order=3, mode="constant", prefilter=False
        )
        shift = np.asarray(translation_px, dtype=np.float64)[:2] + self._box // 2
        moved: NDArray[np.complex64] = (values * np.exp(-2j * np.pi * (self._k @ shift))).astype(
            np.complex64
        )
        return moved
