"""Tilt series for the tests of wedge, CTF and averaging."""

import numpy as np

from cryodl.core.io.particles.model import TiltSeries


def tilt_series(angles, *, axis=90.0, defocus=30000.0, **changes):
    """Return a tilt series of 300 kV with 3 electrons per A^2 a tilt, in the order given."""
    angles = np.atleast_1d(np.asarray(angles, dtype=float))
    count = len(angles)
    values = {
        "name": "ts",
        "tilt_angles_degrees": angles,
        "tilt_axis_degrees": axis,
        "dose_e_per_angstrom2": 3.0 * np.arange(count),
        "defocus_u_angstrom": np.full(count, defocus),
        "defocus_v_angstrom": np.full(count, defocus),
        "astigmatism_degrees": np.zeros(count),
        "phase_shift_degrees": np.zeros(count),
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.07,
        "pixel_size_angstrom": 2.0,
    }
    return TiltSeries(**{**values, **changes})
