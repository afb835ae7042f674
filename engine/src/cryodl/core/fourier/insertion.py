"""Reconstruct a volume from images of known direction by inserting their transforms."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.grids import check_box_size
from cryodl.errors import InputError

_PAD = 2


class SliceInsertion:
    """Sums of central slices, and of their weights, in a box of twice the size.

    An image with view A (``x_image = (A x_reference)_xy - s``) and transfer c adds c times its
    transform, shifted back by s, to the plane of the reference that A turns into the image, and
    c^2 to the weight there; both by trilinear weights.

    Parameters
    ----------
    n : int
        Box size of images and volume, odd or even.
    padding : int
        How many times as large the box of the sums is, whose volume falls off the less towards
        the faces.
    """

    def __init__(self, n: int, padding: int = _PAD) -> None:
        self.n, self._m, self._padding = check_box_size(n), padding * check_box_size(n), padding
        axis = np.fft.fftfreq(n, 1 / n)
        y, x = np.meshgrid(axis, np.arange(n // 2 + 1), indexing="ij")
        # One of each two opposite frequencies, up to Nyquist.
        self._inside = (4 * (x**2 + y**2) <= n * n) & ((x > 0) | (y >= 0))
        self.frequencies_px = np.stack([x[self._inside], y[self._inside]], axis=-1)
        shape = (self._m, self._m, self._m // 2 + 2)
        self._sums = np.zeros((3, *shape))
        self.count = 0

    def insert(
        self,
        images: ArrayLike,
        views: ArrayLike,
        shifts_px: ArrayLike,
        data_factor: ArrayLike | float = 1.0,
        weight: ArrayLike | float = 1.0,
    ) -> None:
        """Add images.

        Parameters
        ----------
        images : (b, n, n) array
            Axes (y, x), origin at pixel ``n // 2``.
        views : (b, 3, 3) array
            A, on points (x, y, z) of the reference; images are projections along z.
        shifts_px : (b, 2) array
            s along x, y.
        data_factor, weight : (b, P) arrays or numbers
            Factor of the transforms, and weight, at `frequencies_px`: c and c^2, or for images
            that were multiplied by their CTF already, the rest of c and c^2.

        Raises
        ------
        InputError
            Shapes that do not belong together, or values that are not finite.
        """
        stack, matrices, shifts = (
            np.asarray(a, dtype=np.float64) for a in (images, views, shifts_px)
        )
        count = len(stack) if stack.ndim == 3 else -1
        shapes = {
            "images": (stack, (count, self.n, self.n)),
            "views": (matrices, (count, 3, 3)),
            "shifts": (shifts, (count, 2)),
        }
        for name, (values, shape) in shapes.items():
            if values.shape != shape or not np.isfinite(values).all():
                raise InputError(
                    f"{name} to insert: shape {values.shape}, expected finite values of "
                    f"{('b', *shape[1:])} for a box of {self.n} px; give one of each an image"
                )
        q = self.frequencies_px
        transforms = scipy.fft.rfft2(np.fft.ifftshift(stack, axes=(1, 2)))[:, self._inside]
        # x_image = (A x)_xy - s moves the transform by exp(2 pi i q s / n); taken back here.
        transforms *= np.exp(-2j * np.pi / self.n * np.einsum("pi,bi->bp", q, shifts))
        factors = np.broadcast_to(data_factor, transforms.shape)
        weights = np.broadcast_to(np.asarray(weight, dtype=np.float64), transforms.shape)
        # The image's (x, y, 0) in the frame of the reference: A^T.
        points = np.einsum("pi,bij->bpj", q, matrices[:, :2])
        self._scatter(
            points.reshape(-1, 3) * self._padding, (transforms * factors).ravel(), weights.ravel()
        )
        self.count += count

    def sums(self) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Return data and weights, half layout (m, m, m // 2 + 1), equal at opposite frequencies.

        m is the edge of the padded box, 2 n by default.
        """
        real, imaginary, weight = self._sums[..., : self._m // 2 + 1]
        data = real + 1j * imaginary
        opposite = -np.arange(self._m) % self._m
        # Half of what belongs to the plane x = 0 was put at the opposite frequency.
        mirrored = np.ix_(opposite, opposite)
        data[..., 0] += data[..., 0][mirrored].conj()
        total = weight.copy()
        total[..., 0] += total[..., 0][mirrored]
        return data.astype(np.complex64), total.astype(np.float32)

    def _scatter(
        self,
        points: NDArray[np.float64],
        values: NDArray[np.complex128],
        weights: NDArray[np.float64],
    ) -> None:
        negative = points[:, 0] < 0
        points = np.where(negative[:, None], -points, points)
        values = np.where(negative, values.conj(), values)
        base = np.floor(points).astype(np.intp)
        fraction = points - base
        shape, size = self._sums.shape[1:], self._sums[0].size
        for corner in np.ndindex(2, 2, 2):
            share = np.where(corner, fraction, 1 - fraction).prod(axis=1)
            x, y, z = (base + corner).T
            place = np.ravel_multi_index((z % self._m, y % self._m, x), shape)
            for out, part in zip(self._sums, (values.real, values.imag, weights)):
                out += np.bincount(place, share * part, size).reshape(shape)


def gridding_correction(n: int, padding: int = _PAD) -> NDArray[np.float32]:
    """Return what trilinear insertion multiplied the volume by, (n, n, n)."""
    line = np.sinc((np.arange(n) - n // 2) / (padding * n)) ** 2
    whole = line[:, None, None] * line[None, :, None] * line[None, None, :]
    return whole.astype(np.float32)
