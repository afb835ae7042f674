"""How a tilt series is recorded: angles, order, dose, contrast transfer.

The contrast transfer function is written here on its own, apart from `cryodl.core.fourier.ctf`:
data made by the code under test would hide its errors of sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryodl.core.io.particles.model import TiltSeries
from cryodl.core.simulation.projection import RowProjector, TiltAxis
from cryodl.errors import ConfigError

FloatArray = NDArray[np.float64]
TiltOrder = Literal["dose-symmetric", "bidirectional", "continuous"]


@dataclass(frozen=True)
class TiltScheme:
    """Which tilts are recorded, and when.

    Attributes
    ----------
    tilt_min_degrees, tilt_max_degrees, increment_degrees
        The range and the step.
    order
        ``dose-symmetric`` begins at the tilt nearest 0 and goes out on both sides in turn
        (Hagen et al. 2017, J. Struct. Biol. 197, 191), ``bidirectional`` goes up from 0 and then
        down, ``continuous`` from the lowest to the highest.
    tilt_axis
        ``y`` or ``x``.
    dose_per_tilt
        Electrons per square Angstrom.
    """

    tilt_min_degrees: float = -60.0
    tilt_max_degrees: float = 60.0
    increment_degrees: float = 3.0
    order: TiltOrder = "dose-symmetric"
    tilt_axis: TiltAxis = "y"
    dose_per_tilt: float = 3.0

    def __post_init__(self) -> None:
        low, high = self.tilt_min_degrees, self.tilt_max_degrees
        if not -90 < low <= high < 90:
            raise ConfigError(
                f"tilt range: found {low} to {high} degrees, expected lowest before highest, both "
                "between -90 and 90"
            )
        if not self.increment_degrees > 0:
            raise ConfigError(f"tilt increment: found {self.increment_degrees}, expected above 0")
        if not self.dose_per_tilt >= 0:
            raise ConfigError(f"dose per tilt: found {self.dose_per_tilt}, expected 0 or more")

    def angles_degrees(self) -> FloatArray:
        """Return the tilts, lowest first."""
        steps = (self.tilt_max_degrees - self.tilt_min_degrees) / self.increment_degrees
        return self.tilt_min_degrees + self.increment_degrees * np.arange(
            math.floor(steps + 1e-6) + 1, dtype=np.float64
        )

    def dose_before(self) -> FloatArray:
        """Return the electrons per square Angstrom received before each tilt, lowest first."""
        angles = self.angles_degrees()
        if self.order == "dose-symmetric":
            order = np.lexsort((angles, np.round(np.abs(angles), 6)))
        elif self.order == "bidirectional":
            up = [i for i in range(len(angles)) if angles[i] >= -1e-6]
            order = np.array(up + [i for i in range(len(angles) - 1, -1, -1) if i not in up])
        else:
            order = np.arange(len(angles))
        dose = np.empty(len(angles))
        dose[order] = self.dose_per_tilt * np.arange(len(angles))
        return dose


@dataclass(frozen=True)
class Optics:
    """Contrast transfer, and how the signal fades.

    Attributes
    ----------
    defocus_angstrom
        Underfocus of the specimen's centre, positive; None for no contrast transfer function.
    voltage_kv, spherical_aberration_mm, amplitude_contrast
        Of the microscope.
    bfactor
        Envelope ``exp(-B s^2 / 4)`` of all images, in square Angstrom.
    dose_damping
        True: the signal fades with the electrons received, as measured by Grant and Grigorieff
        (2015, eLife 4, e06980).
    thickness_damping
        True: the signal of a tilt is scaled with the cosine of its angle, for the path through
        the ice.
    defocus_gradient
        True: the defocus of an image changes across the tilt axis as the tilted specimen does.
    """

    defocus_angstrom: float | None = 30000.0
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.07
    bfactor: float = 0.0
    dose_damping: bool = True
    thickness_damping: bool = True
    defocus_gradient: bool = False


HAND = -1
"""Sign with which the defocus grows with the depth, RELION's ``rlnTomoHand``."""

_CRITICAL_DOSE = (0.245, -1.665, 2.81)


def electron_wavelength_angstrom(voltage_kv: float) -> float:
    """Return the wavelength of electrons after `voltage_kv`, with relativity."""
    volts = voltage_kv * 1e3
    return 12.2643247 / math.sqrt(volts * (1.0 + 0.978466e-6 * volts))


def contrast_transfer(
    frequency: FloatArray, defocus_angstrom: float | FloatArray, optics: Optics
) -> FloatArray:
    """Return the contrast transfer function, positive at the origin as in RELION.

    Parameters
    ----------
    frequency
        In 1 / Angstrom.
    defocus_angstrom
        Underfocus, positive; shapes broadcast.
    optics
        Of the microscope.
    """
    wavelength = electron_wavelength_angstrom(optics.voltage_kv)
    aberration = optics.spherical_aberration_mm * 1e7
    square = frequency**2
    phase = np.pi * wavelength * square * (
        np.asarray(defocus_angstrom) - 0.5 * aberration * wavelength**2 * square
    ) + math.asin(optics.amplitude_contrast)
    transfer: FloatArray = np.sin(phase)
    return transfer


def radiation_damping(frequency: FloatArray, dose: float) -> FloatArray:
    """Return the amplitude left after `dose` electrons per square Angstrom."""
    factor, exponent, constant = _CRITICAL_DOSE
    with np.errstate(divide="ignore"):
        critical = factor * np.maximum(frequency, 1e-6) ** exponent + constant
    left: FloatArray = np.exp(-0.5 * dose / critical)
    return left


def image_frequency(image_shape: tuple[int, int], pixel_size_angstrom: float) -> FloatArray:
    """Return |s| in 1 / Angstrom in the layout of ``rfft2``."""
    y = fft.fftfreq(image_shape[0], pixel_size_angstrom)
    x = fft.rfftfreq(image_shape[1], pixel_size_angstrom)
    radius: FloatArray = np.hypot(y[:, None], x[None, :])
    return radius


def signal_damping(
    frequency: FloatArray, scheme: TiltScheme, optics: Optics
) -> NDArray[np.float32]:
    """Return what the envelope leaves of the signal in each image, (K, y, x) of ``rfft2``."""
    angles, doses = scheme.angles_degrees(), scheme.dose_before()
    envelope = np.exp(-optics.bfactor * frequency**2 / 4)
    damping = np.repeat(envelope[None].astype(np.float32), len(angles), axis=0)
    for index, (angle, dose) in enumerate(zip(angles, doses)):
        if optics.dose_damping:
            # at half of the tilt's own dose
            damping[index] *= radiation_damping(frequency, dose + scheme.dose_per_tilt / 2)
        if optics.thickness_damping:
            damping[index] *= math.cos(math.radians(angle))
    return damping


def describe_tilt_series(
    name: str,
    scheme: TiltScheme,
    optics: Optics,
    pixel_size_angstrom: float,
    projector: RowProjector,
    defocus_angstrom: float | None,
) -> TiltSeries:
    """Return the tilt series as the particle model holds it.

    Parameters
    ----------
    name
        Of the tomogram.
    scheme, optics
        As recorded.
    pixel_size_angstrom
        Of images and tomogram.
    projector
        Gives the projection matrices.
    defocus_angstrom
        Of the centre; None when there is no contrast transfer function.
    """
    angles = scheme.angles_degrees()
    defocus = np.full(len(angles), np.nan if defocus_angstrom is None else defocus_angstrom)
    depth, height, width = projector.shape_zyx
    return TiltSeries(
        name=name,
        tilt_angles_degrees=angles,
        tilt_axis_degrees=90.0 if scheme.tilt_axis == "y" else 0.0,
        dose_e_per_angstrom2=scheme.dose_before(),
        defocus_u_angstrom=defocus,
        defocus_v_angstrom=defocus.copy(),
        astigmatism_degrees=np.zeros(len(angles)),
        phase_shift_degrees=np.zeros(len(angles)),
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
        pixel_size_angstrom=pixel_size_angstrom,
        hand=HAND,
        projections=projector.matrices(),
        size_xyz_px=(width, height, depth),
        scale=np.cos(np.radians(angles)) if optics.thickness_damping else np.ones(len(angles)),
        bfactor=np.full(len(angles), float(optics.bfactor)),
    )
