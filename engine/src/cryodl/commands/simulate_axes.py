"""Axes as users write them."""

from __future__ import annotations

import math

_NAMED_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def axis_xyz(text: str) -> tuple[float, float, float]:
    """Read an axis as users write it.

    Parameters
    ----------
    text
        ``x``, ``y``, ``z``, or three numbers (x, y, z) with commas or spaces between.

    Returns
    -------
    tuple of float
        The three components, of any length but 0.

    Raises
    ------
    ValueError
        If it is neither; pydantic turns it into one line for the user.
    """
    named = _NAMED_AXES.get(text.strip().lower())
    if named is not None:
        return named
    try:
        x, y, z = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        x = y = z = math.nan
    if not (math.isfinite(x + y + z) and any((x, y, z))):
        raise ValueError(
            f"--axis: found {text!r}, expected x, y, z or three numbers that are not all zero; "
            "give for example 0,0,1"
        )
    return x, y, z
