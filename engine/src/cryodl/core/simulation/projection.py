"""Project a volume along the tilts of a series, and back, all rows at once.

A specimen that turns by the angle a about y takes the point (x, y, z) to::

    x' = x cos a + z sin a        y' = y        z' = -x sin a + z cos a

and the image is the sum over z'. Since y stays, one sparse matrix from (z, x) to x' serves all
rows y together, and its transpose is the back-projection. The matrix holds cubic B-splines, and
the images are divided by the transform of the spline (Unser 1999, IEEE Signal Process. Mag. 16,
22), so that what is below half of Nyquist comes through undamped. A tilt axis along x is the same
with x and y exchanged and the sense of rotation reversed.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from cryodl.conventions import centre_voxel
from cryodl.errors import ConfigError, InputError

FloatVolume = NDArray[np.float32]
TiltAxis = Literal["x", "y"]

_TAPS = 4
_MARGIN_PX = 4
_MOST_CACHED_WEIGHTS = 20_000_000


class RowProjector:
    """Projection along a list of tilts, and its transpose.

    Parameters
    ----------
    shape_zyx
        Of the volume.
    tilt_angles_degrees
        K rotations of the specimen, each between -90 and 90.
    tilt_axis
        ``y`` or ``x``: an axis of the volume.
    padding_px
        Extra rows of the images at either end of the tilt axis.

    Attributes
    ----------
    image_shape : (int, int)
        (y, x) of the images, wide enough that no voxel is projected beside them. The centre voxel
        of the volume falls on pixel ``n // 2`` of each axis.

    Raises
    ------
    ConfigError
        No tilt, one outside -90 to 90, or an empty volume.
    """

    def __init__(
        self,
        shape_zyx: tuple[int, int, int],
        tilt_angles_degrees: NDArray[np.float64],
        tilt_axis: TiltAxis = "y",
        padding_px: int = 0,
    ) -> None:
        angles = np.asarray(tilt_angles_degrees, dtype=np.float64)
        if angles.ndim != 1 or len(angles) == 0 or not (np.abs(angles) <= 90).all():
            raise ConfigError(
                f"tilt angles: found {angles}, expected one or more between -90 and 90 degrees"
            )
        if min(shape_zyx) < 1:
            raise ConfigError(f"volume: found shape {shape_zyx}, expected no empty axis")
        if tilt_axis not in ("x", "y"):
            raise ConfigError(f"tilt axis: found {tilt_axis!r}, expected x or y")
        self.shape_zyx = shape_zyx
        self.tilt_angles_degrees = angles
        self.tilt_axis: TiltAxis = tilt_axis
        depth, ny, nx = shape_zyx
        self._across, self._along = (nx, ny) if tilt_axis == "y" else (ny, nx)
        reach = np.hypot(self._across // 2, depth // 2) + _MARGIN_PX
        self._width = int(fft.next_fast_len(2 * math.ceil(float(reach)), real=True))
        self._length = int(fft.next_fast_len(self._along + 2 * padding_px, real=True))
        self._first = centre_voxel(self._length) - centre_voxel(self._along)
        self.image_shape = (
            (self._length, self._width) if tilt_axis == "y" else (self._width, self._length)
        )
        self._cache: dict[int, Any] = {}

    def project(self, volume: FloatVolume) -> FloatVolume:
        """Return the images, (K, y, x), of a volume (z, y, x): sums over the voxels of each ray."""
        if volume.shape != self.shape_zyx:
            raise InputError(
                f"volume: found shape {volume.shape}, expected {self.shape_zyx} as announced"
            )
        rows = np.asarray(volume, dtype=np.float32)
        if self.tilt_axis == "y":
            rows = rows.transpose(0, 2, 1)
        rows = np.ascontiguousarray(rows).reshape(-1, self._along)
        images = np.zeros((len(self.tilt_angles_degrees), *self.image_shape), dtype=np.float32)
        for index, image in enumerate(self._rows_of(images)):
            image[...] = self._sharpen(self._weights(index).T @ rows)
        return images

    def back_project(self, images: FloatVolume) -> FloatVolume:
        """Return the sum over the tilts of every image smeared along its ray, (z, y, x)."""
        expected = (len(self.tilt_angles_degrees), *self.image_shape)
        if images.shape != expected:
            raise InputError(f"tilt images: found shape {images.shape}, expected {expected}")
        rows = np.zeros((self.shape_zyx[0] * self._across, self._along), dtype=np.float32)
        for index, image in enumerate(self._rows_of(np.asarray(images, dtype=np.float32))):
            rows += self._weights(index) @ self._sharpen(np.ascontiguousarray(image))
        volume = rows.reshape(self.shape_zyx[0], self._across, self._along)
        if self.tilt_axis == "y":
            volume = volume.transpose(0, 2, 1)
        return np.ascontiguousarray(volume)

    def matrices(self) -> NDArray[np.float64]:
        """Return (K, 3, 4) matrices from voxels (x, y, z, 1) to image x, y and depth, in px.

        The depth is counted from the plane of the centre voxel, along the beam.
        """
        angles = np.radians(self.tilt_angles_degrees)
        if self.tilt_axis == "x":
            angles = -angles
        cosine, sine = np.cos(angles), np.sin(angles)
        turn = np.zeros((len(angles), 3, 3))
        u, v = (0, 1) if self.tilt_axis == "y" else (1, 0)
        turn[:, u, u], turn[:, u, 2] = cosine, sine
        turn[:, v, v] = 1.0
        turn[:, 2, u], turn[:, 2, 2] = -sine, cosine
        centre_xyz = np.array([centre_voxel(n) for n in self.shape_zyx[::-1]], dtype=np.float64)
        onto = np.array([*(centre_voxel(n) for n in self.image_shape[::-1]), 0.0])
        return np.concatenate([turn, (onto - turn @ centre_xyz)[:, :, None]], axis=2)

    def across_frequency_px(self) -> NDArray[np.float64]:
        """Return |k| across the tilt axis in cycles per pixel, in the layout of ``rfft2``."""
        height, width = self.image_shape
        if self.tilt_axis == "y":
            return np.abs(fft.rfftfreq(width))[None, :]
        return np.abs(fft.fftfreq(height))[:, None]

    def _rows_of(self, images: FloatVolume) -> Any:
        """Yield of each image the part that sees the volume, as (across, along)."""
        window = slice(self._first, self._first + self._along)
        for image in images:
            yield image[window].T if self.tilt_axis == "y" else image[:, window]

    def _sharpen(self, rows: FloatVolume) -> FloatVolume:
        """Divide by the transform of the B-spline, across the tilt axis."""
        gain = (2 + np.cos(2 * np.pi * fft.rfftfreq(self._width))) / 3
        spectrum = fft.rfft(rows, axis=0) / gain[:, None].astype(np.float32)
        sharp: FloatVolume = fft.irfft(spectrum, n=self._width, axis=0)
        return sharp

    def _weights(self, index: int) -> Any:
        """Return the sparse matrix (z and across, width) of one tilt."""
        if index in self._cache:
            return self._cache[index]
        depth = self.shape_zyx[0]
        angle = math.radians(self.tilt_angles_degrees[index])
        if self.tilt_axis == "x":
            angle = -angle
        u = np.arange(self._across) - centre_voxel(self._across)
        z = np.arange(depth) - centre_voxel(depth)
        place = u[None, :] * math.cos(angle) + z[:, None] * math.sin(angle)
        place = (place + centre_voxel(self._width)).ravel()
        base = np.floor(place)
        f = place - base
        weights = np.stack(
            [
                (1 - f) ** 3 / 6,
                (4 - 6 * f**2 + 3 * f**3) / 6,
                (4 - 6 * (1 - f) ** 2 + 3 * (1 - f) ** 3) / 6,
                f**3 / 6,
            ],
            axis=1,
        ).astype(np.float32)
        columns = base.astype(np.int32)[:, None] + np.arange(-1, _TAPS - 1, dtype=np.int32)
        starts = np.arange(0, weights.size + 1, _TAPS, dtype=np.int32)
        matrix = sparse.csr_matrix(
            (weights.ravel(), columns.ravel(), starts), shape=(len(place), self._width)
        )
        if weights.size * len(self.tilt_angles_degrees) <= _MOST_CACHED_WEIGHTS:
            self._cache[index] = matrix
        return matrix
