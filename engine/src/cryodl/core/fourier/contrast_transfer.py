"""The contrast transfer function of the microscope.

The sign is RELION's, for bright matter: with underfocus positive the value at zero frequency is
plus the amplitude contrast and the first band is positive. Images whose matter is dark have the
opposite sign.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.errors import ConfigError

Matter = Literal["bright", "dark"]


def electron_wavelength_angstrom(voltage_kv: float) -> float:
    """Return the relativistic wavelength: 0.01969 A at 300 kV."""
    if not (math.isfinite(voltage_kv) and voltage_kv > 0):
        raise ConfigError(f"voltage: {voltage_kv} kV, expected a positive number; give one")
    volts = voltage_kv * 1e3
    return 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))


def contrast_transfer(
    x_per_angstrom: ArrayLike,
    y_per_angstrom: ArrayLike,
    *,
    defocus_u_angstrom: float,
    defocus_v_angstrom: float | None = None,
    astigmatism_degrees: float = 0.0,
    voltage_kv: float = 300.0,
    spherical_aberration_mm: float = 2.7,
    amplitude_contrast: float = 0.07,
    phase_shift_degrees: float = 0.0,
    bfactor_angstrom2: float = 0.0,
    scale: float = 1.0,
    matter: Matter = "bright",
) -> NDArray[np.float64]:
    """Return the CTF at frequencies of an image.

    Parameters
    ----------
    x_per_angstrom, y_per_angstrom : arrays
        Components of the frequency; shapes broadcast.
    defocus_u_angstrom, defocus_v_angstrom : float
        Underfocus positive, along the direction below and across it; V is U by default.
    astigmatism_degrees : float
        Direction of U from x, as ``rlnDefocusAngle``.
    voltage_kv, spherical_aberration_mm, amplitude_contrast : float
        Of the microscope; the last from 0 to 1.
    phase_shift_degrees : float
        Of a phase plate.
    bfactor_angstrom2, scale : float
        Envelope ``exp(-B s^2 / 4)``, and a factor.
    matter : "bright" or "dark"
        In the images.

    Returns
    -------
    ndarray, float64
        ``sin(pi lambda dz s^2 - pi/2 Cs lambda^3 s^4 + shift + asin(contrast))`` with envelope.

    Raises
    ------
    ConfigError
        A parameter that is not finite or out of its range.

    References
    ----------
    Rohou and Grigorieff (2015), J. Struct. Biol. 192, 216; the signs are those of RELION 3.1.
    """
    defocus_v = defocus_u_angstrom if defocus_v_angstrom is None else defocus_v_angstrom
    numbers = [defocus_u_angstrom, defocus_v, astigmatism_degrees, spherical_aberration_mm]
    numbers += [phase_shift_degrees, bfactor_angstrom2, scale]
    if not all(math.isfinite(v) for v in numbers) or not 0 <= amplitude_contrast <= 1:
        raise ConfigError(
            f"CTF: defocus {defocus_u_angstrom}, {defocus_v} A at {astigmatism_degrees} degrees, "
            f"Cs {spherical_aberration_mm} mm, amplitude contrast {amplitude_contrast}; expected "
            "finite numbers and a contrast from 0 to 1"
        )
    if matter not in ("bright", "dark"):
        raise ConfigError(f"CTF: matter {matter!r}, expected bright or dark")
    wavelength = electron_wavelength_angstrom(voltage_kv)
    x = np.asarray(x_per_angstrom, dtype=np.float64)
    y = np.asarray(y_per_angstrom, dtype=np.float64)
    square = x * x + y * y
    mean, half = (defocus_u_angstrom + defocus_v) / 2, (defocus_u_angstrom - defocus_v) / 2
    twice = 2 * math.radians(astigmatism_degrees)
    # s^2 cos 2(a - a0) without angles, which zero frequency has none of.
    astigmatic = (x * x - y * y) * math.cos(twice) + 2 * x * y * math.sin(twice)
    cs_angstrom = spherical_aberration_mm * 1e7
    phase = math.pi * wavelength * (mean * square + half * astigmatic)
    phase -= math.pi / 2 * cs_angstrom * wavelength**3 * square * square
    phase += math.radians(phase_shift_degrees) + math.asin(amplitude_contrast)
    value = scale * np.sin(phase)
    if bfactor_angstrom2:
        value *= np.exp(-bfactor_angstrom2 / 4 * square)
    return np.asarray(value if matter == "bright" else -value)
