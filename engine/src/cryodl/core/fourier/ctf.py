"""The contrast transfer function of an image, and of a subtomogram made of tilted images.

Signs are those of `contrast_transfer`: positive at low frequencies where matter is bright.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.contrast_transfer import Matter, contrast_transfer
from cryodl.core.fourier.dose import DoseModel
from cryodl.core.fourier.filters import radius_of_resolution_px
from cryodl.core.fourier.grids import centred_axis_px, squared_radius_px
from cryodl.core.fourier.tilts import depths_angstrom, tilt_transfer, view_rotations
from cryodl.core.fourier.transform import friedel_average
from cryodl.core.fourier.wedge import Slab, slab_profile
from cryodl.errors import ConfigError, InputError

if TYPE_CHECKING:
    from cryodl.core.io.particles.model import TiltSeries


class CtfSums(NamedTuple):
    """Sums over tilts, centred (n, n, n) float32 each.

    With slab s, CTF c and weight w (dose, scale, B-factor) of each tilt: ``transfer`` is sum of
    s w c, ``squared`` sum of s (w c)^2, what the transfer is after multiplying images by their
    weighted CTF, and ``slabs`` sum of s, how many tilts saw a frequency.
    """

    transfer: NDArray[np.float32]
    squared: NDArray[np.float32]
    slabs: NDArray[np.float32]


def ctf_image(
    n: int, pixel_size_angstrom: float, *, defocus_u_angstrom: float, **parameters: Any
) -> NDArray[np.float32]:
    """Make the CTF of an image, centred.

    Parameters
    ----------
    n : int
        Box size, odd or even.
    pixel_size_angstrom : float
        Of the image.
    defocus_u_angstrom : float
        Underfocus positive.
    **parameters
        All others of `contrast_transfer`.

    Returns
    -------
    ndarray, (n, n) float32
        Axes (y, x); equal at opposite frequencies, on the Nyquist lines too.
    """
    axis = centred_axis_px(n) / radius_of_resolution_px(1.0, n, pixel_size_angstrom)
    value = contrast_transfer(
        axis[None, :],
        axis[:, None],
        defocus_u_angstrom=defocus_u_angstrom,
        **parameters,
    )
    return friedel_average_image(value).astype(np.float32)


def friedel_average_image(values: NDArray) -> NDArray:
    """Average a centred Fourier image (n, n) with its inversion through zero frequency."""
    flipped = values[::-1, ::-1]
    if values.shape[0] % 2 == 0:
        flipped = np.roll(flipped, 1, axis=(0, 1))
    return (values + flipped) / 2


def ctf_volume(
    n: int,
    pixel_size_angstrom: float,
    tilts: TiltSeries,
    *,
    dose: DoseModel = "grant",
    offset_xyz_angstrom: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    normalisation: Literal["slabs", "tilts", "none"] = "slabs",
    slab: Slab = "triangle",
    nyquist_limit: bool = True,
    matter: Matter = "bright",
) -> NDArray[np.float32]:
    """Make the CTF of a subtomogram: the slabs of its tilts, each with its CTF and weight.

    Parameters
    ----------
    n, pixel_size_angstrom
        Box and sampling of the subtomogram.
    tilts, dose, offset_xyz_angstrom, visible, slab, nyquist_limit, matter
        As in `ctf_sums`.
    normalisation : "slabs", "tilts" or "none"
        Divide by the number of slabs at each frequency where they overlap (the transfer of a
        weighted back-projection, whatever the number of tilts), by the number of tilts (of an
        unweighted one), or by nothing.

    Returns
    -------
    ndarray, (n, n, n) float32
        Centred, in the frame of the tomogram, equal at opposite frequencies.
    """
    if normalisation not in ("slabs", "tilts", "none"):
        raise ConfigError(
            f"CTF volume: normalisation {normalisation!r} is unknown; give slabs, tilts or none"
        )
    sums = ctf_sums(
        n,
        pixel_size_angstrom,
        tilts,
        dose=dose,
        offset_xyz_angstrom=offset_xyz_angstrom,
        visible=visible,
        slab=slab,
        nyquist_limit=nyquist_limit,
        matter=matter,
    )
    if normalisation == "slabs":
        return sums.transfer / np.maximum(sums.slabs, 1)
    if normalisation == "tilts":
        return sums.transfer / np.float32(np.count_nonzero(_chosen(tilts, visible)))
    return sums.transfer


def ctf_sums(
    n: int,
    pixel_size_angstrom: float,
    tilts: TiltSeries,
    *,
    dose: DoseModel = "grant",
    offset_xyz_angstrom: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    slab: Slab = "triangle",
    nyquist_limit: bool = True,
    matter: Matter = "bright",
) -> CtfSums:
    """Sum slab x CTF x weight over the tilts of a subtomogram.

    Parameters
    ----------
    n : int
        Box size, odd or even.
    pixel_size_angstrom : float
        Of the subtomogram.
    tilts : TiltSeries
        K tilts.
    dose, matter
        See `tilt_transfer`.
    offset_xyz_angstrom : (3,) array, optional
        Position of the particle from the centre of the tomogram, for its own defocus.
    visible : (K,) bool array, optional
        Tilts to use; all by default.
    slab : "triangle" or "sinc"
        See `slab_profile`; 1 px thick, that of an object of the box's size.
    nyquist_limit : bool
        Set frequencies beyond the radius n / 2 to 0.

    Returns
    -------
    CtfSums
    """
    box_edge_angstrom = radius_of_resolution_px(1.0, n, pixel_size_angstrom)
    rotations = view_rotations(tilts)
    heights = depths_angstrom(tilts, offset_xyz_angstrom)
    axis = centred_axis_px(n).astype(np.float64)
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    total = np.zeros((3, n, n, n))
    for tilt in np.flatnonzero(_chosen(tilts, visible)):
        r = rotations[tilt]
        depth = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z
        # Few frequencies lie in a slab, and the CTF is dear.
        iz, iy, ix = np.nonzero(np.abs(depth) < 1)
        u, v = (axis[ix] * row[0] + axis[iy] * row[1] + axis[iz] * row[2] for row in r[:2])
        share = slab_profile(depth[iz, iy, ix], slab=slab)
        value = tilt_transfer(
            tilts,
            int(tilt),
            u / box_edge_angstrom,
            v / box_edge_angstrom,
            dose=dose,
            depth_angstrom=float(heights[tilt]),
            matter=matter,
        )
        for out, add in zip(total, (share * value, share * value**2, share)):
            out[iz, iy, ix] += add
    kept = 4 * squared_radius_px(n) <= n * n if nyquist_limit else np.ones((n, n, n), dtype=bool)
    return CtfSums(*((friedel_average(out) * kept).astype(np.float32) for out in total))


def _chosen(tilts: TiltSeries, visible: ArrayLike | None) -> NDArray[np.bool_]:
    count = len(tilts.tilt_angles_degrees)
    if visible is None:
        return np.ones(count, dtype=bool)
    chosen = np.asarray(visible, dtype=bool)
    if chosen.shape != (count,) or not chosen.any():
        raise InputError(
            f"tilt series {tilts.name}: {chosen.sum()} of {chosen.size} frames visible, expected "
            f"at least one of {count}; check the visible frames of its particles"
        )
    return chosen
