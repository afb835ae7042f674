"""How radiation damage weakens what an image shows."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.errors import ConfigError

DoseModel = Literal["grant", "bfactor", "none"]
# Critical exposure a k^b + c in e/A^2, k in 1/A, at 300 kV.
_CRITICAL_A, _CRITICAL_B, _CRITICAL_C = 0.245, -1.665, 2.81
# Of the critical exposure at 300 kV, by voltage in kV.
_VOLTAGES_KV, _SHARES = (200.0, 300.0), (0.8, 1.0)
# A^2 of B-factor for each e/A^2 in RELION's subtomogram averaging.
_BFACTOR_PER_DOSE = 4.0


def dose_weight(
    frequency_per_angstrom: ArrayLike,
    dose_e_per_angstrom2: ArrayLike,
    *,
    model: DoseModel = "grant",
    voltage_kv: float = 300.0,
) -> NDArray[np.float64]:
    """Return the share of the signal's amplitude that is left after an exposure.

    Parameters
    ----------
    frequency_per_angstrom : array
        Spatial frequencies k, not negative; broadcasts with the exposure.
    dose_e_per_angstrom2 : array
        Electrons per A^2 received before, not negative.
    model : "grant", "bfactor" or "none"
        ``exp(-dose / (2 (0.245 k^-1.665 + 2.81)))``; ``exp(-B k^2 / 4)`` with B = 4 A^2 for each
        electron per A^2; or 1.
    voltage_kv : float
        At 200 kV the critical exposure of the first model is 0.8 of that at 300 kV; between them
        it is interpolated.

    Returns
    -------
    ndarray, float64
        1 at zero frequency and for no exposure.

    Raises
    ------
    ConfigError
        Negative or infinite numbers, or an unknown model.

    References
    ----------
    Grant and Grigorieff (2015), eLife 4, e06980, equations 3 and 5. Bharat et al. (2015),
    Structure 23, 1743, for the B-factor.
    """
    k = np.asarray(frequency_per_angstrom, dtype=np.float64)
    dose = np.asarray(dose_e_per_angstrom2, dtype=np.float64)
    for name, values in (("frequency", k), ("dose", dose)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ConfigError(f"dose weight: a {name} is negative or not finite; give 0 or more")
    if model == "none":
        return np.ones(np.broadcast_shapes(k.shape, dose.shape))
    if model == "bfactor":
        return np.asarray(np.exp(-_BFACTOR_PER_DOSE * dose * k**2 / 4))
    if model != "grant":
        raise ConfigError(f"dose weight: {model!r} is unknown; give grant, bfactor or none")
    share = float(np.interp(voltage_kv, _VOLTAGES_KV, _SHARES))
    # Infinite at zero frequency: nothing is lost there.
    with np.errstate(divide="ignore"):
        critical = share * (_CRITICAL_A * k**_CRITICAL_B + _CRITICAL_C)
    return np.asarray(np.exp(-dose / (2 * critical)))
