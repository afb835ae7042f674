"""What each image of a tilt series shows of a particle: from where, at which defocus and dose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.contrast_transfer import Matter, contrast_transfer
from cryodl.core.fourier.dose import DoseModel, dose_weight
from cryodl.core.fourier.wedge import tilt_rotations
from cryodl.errors import InputError

if TYPE_CHECKING:
    from cryodl.core.io.particles.model import TiltSeries


def view_rotations(tilts: TiltSeries) -> NDArray[np.float64]:
    """Return what turns points of the tomogram into the frame of each image, (K, 3, 3).

    From the projections where there are some, else from the angles; then the images have the axes
    of the untilted tomogram.
    """
    if tilts.projections is None:
        return tilt_rotations(tilts.tilt_angles_degrees, tilts.tilt_axis_degrees)
    given = np.asarray(tilts.projections, dtype=np.float64)[:, :, :3]
    # The nearest rotations: files hold some digits only, and matrices may hold a magnification.
    u, _, vt = np.linalg.svd(given)
    rotations = u @ vt
    if not (np.linalg.det(rotations) > 0).all():
        raise InputError(
            f"tilt series {tilts.name}: a projection mirrors, expected proper rotations; check the "
            "file of the tomograms"
        )
    return rotations


def tilt_transfer(
    tilts: TiltSeries,
    tilt: int,
    x_per_angstrom: NDArray[np.float64],
    y_per_angstrom: NDArray[np.float64],
    *,
    dose: DoseModel = "grant",
    depth_angstrom: float = 0.0,
    matter: Matter = "bright",
) -> NDArray[np.float64]:
    """Return CTF x dose weight x scale of one tilt at frequencies of its image.

    Parameters
    ----------
    tilts : TiltSeries
        A defocus of NaN leaves the CTF at 1; scale and B-factor are used where there are some.
    tilt : int
        Number of the tilt from 0.
    x_per_angstrom, y_per_angstrom : arrays
        Components of the frequency in the frame of the image.
    dose : "grant", "bfactor" or "none"
        Model of `dose_weight`; none where images are not weighted and damage is to be ignored.
    depth_angstrom : float
        Height of the particle above the centre of the tomogram, see `depths_angstrom`.
    matter : "bright" or "dark"
        In the images.
    """
    scale = 1.0 if tilts.scale is None else float(tilts.scale[tilt])
    bfactor = 0.0 if tilts.bfactor is None else float(tilts.bfactor[tilt])
    square = x_per_angstrom**2 + y_per_angstrom**2
    if math.isnan(tilts.defocus_u_angstrom[tilt]):
        value = scale * np.exp(-bfactor / 4 * square)
    else:
        further = tilts.hand * depth_angstrom
        value = contrast_transfer(
            x_per_angstrom,
            y_per_angstrom,
            defocus_u_angstrom=float(tilts.defocus_u_angstrom[tilt]) + further,
            defocus_v_angstrom=float(tilts.defocus_v_angstrom[tilt]) + further,
            astigmatism_degrees=float(tilts.astigmatism_degrees[tilt]),
            voltage_kv=tilts.voltage_kv,
            spherical_aberration_mm=tilts.spherical_aberration_mm,
            amplitude_contrast=tilts.amplitude_contrast,
            phase_shift_degrees=float(tilts.phase_shift_degrees[tilt]),
            bfactor_angstrom2=bfactor,
            scale=scale,
            matter=matter,
        )
    if dose == "none":
        return value
    received = float(tilts.dose_e_per_angstrom2[tilt])
    return value * dose_weight(np.sqrt(square), received, model=dose, voltage_kv=tilts.voltage_kv)


def depths_angstrom(
    tilts: TiltSeries, offset_xyz_angstrom: ArrayLike | None
) -> NDArray[np.float64]:
    """Return the height along the beam at each tilt of a point of the tomogram, (K,) Angstrom.

    Parameters
    ----------
    tilts : TiltSeries
        K tilts.
    offset_xyz_angstrom : (3,) array, optional
        From the centre of the tomogram; without it the heights are 0. The defocus there is that
        of the tilt plus ``hand`` times the height, as in RELION.
    """
    rotations = view_rotations(tilts)
    if offset_xyz_angstrom is None:
        return np.zeros(len(rotations))
    offset = np.asarray(offset_xyz_angstrom, dtype=np.float64)
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise InputError(f"particle position: {offset}, expected three finite numbers x, y, z in A")
    return np.asarray(rotations[:, 2] @ offset)
