"""What a correction starts from, once everything is read and checked, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cryodl.methods.spisonet.inputs import HalfMaps

if TYPE_CHECKING:
    from cryodl.methods.spisonet.config import CorrectConfig


@dataclass(frozen=True)
class Prepared:
    """Everything that a correction starts from, checked.

    Attributes
    ----------
    maps : HalfMaps
        As read.
    halves : list of np.ndarray
        (n, n, n): the half maps in use, with the reference's low resolution if there is one.
    masks : list of np.ndarray
        (n, n, n) for each half map, given or estimated; estimated masks of independent halves
        differ.
    weight : np.ndarray
        (n, n, n), centred, the 3DFSC or what was given instead.
    mean_cosine : bool
        Whether the weight holds mean cosines.
    limit_angstrom : float
        Resolution up to which maps are corrected.
    """

    maps: HalfMaps
    halves: list[np.ndarray]
    masks: list[np.ndarray]
    weight: np.ndarray
    mean_cosine: bool
    limit_angstrom: float


@dataclass(frozen=True)
class Correction:
    """One corrected half map up to the limit, and what was learned on the way.

    Attributes
    ----------
    filtered : np.ndarray
        (n, n, n), on the grey scale of the input.
    explained : np.ndarray or None
        (n//2 + 1,): share of the signal in missing directions that is predicted, by shell.
    """

    filtered: np.ndarray
    explained: np.ndarray | None


def description(config: CorrectConfig, prepared: Prepared) -> dict[str, Any]:
    """Return what a model file says of itself."""
    return {
        "variant": config.method,
        "width": int(config.width),
        "norm": config.norm,
        "pixel_size_angstrom": prepared.maps.pixel_size_angstrom,
        "box_size_px": prepared.maps.box_size_px,
        "limit_resolution_angstrom": prepared.limit_angstrom,
    }
