"""Profiles of lipid bilayers and gold beads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def bilayer_profile(distance_px: FloatArray, thickness_px: float) -> FloatArray:
    """Return the density across a bilayer: two bright leaflets, a faint middle.

    Parameters
    ----------
    distance_px
        Signed distance from the middle of the membrane.
    thickness_px
        Between the centres of the leaflets, about 40 Angstrom in real membranes.

    Returns
    -------
    numpy.ndarray
        1 at the leaflets, negative in the middle (lipid tails scatter less than water), 0 away.
    """
    width = max(0.2 * thickness_px, 0.6)
    leaflets = np.exp(-0.5 * ((np.abs(distance_px) - thickness_px / 2) / width) ** 2)
    tails = np.exp(-0.5 * (distance_px / (0.6 * width)) ** 2)
    profile: FloatArray = leaflets - 0.3 * tails
    return profile


def bead_profile(distance_px: FloatArray, radius_px: float) -> FloatArray:
    """Return 1 inside a ball, 0 outside, with an edge of about one pixel."""
    profile: FloatArray = np.clip(radius_px + 0.5 - distance_px, 0.0, 1.0)
    return profile
