"""Read and check what the commands are given, before anything is computed or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodl.core.io.mrc import Volume, check_same_grid, read_volume
from cryodl.errors import ConfigError, InputError

SMALLEST_BOX_PX = 24
SAME_DATA = (
    "Both half maps hold the same values: their FSC is 1 everywhere and says nothing, and nothing "
    "can be learned of the noise. Give two half maps that were refined apart."
)
_MASK_TOLERANCE = 1e-3


@dataclass(frozen=True)
class HalfMaps:
    """One or two half maps on a common grid, with an optional mask.

    Attributes
    ----------
    half1, half2 : Volume
        ``(n, n, n)``; `half2` is None when a map is worked on alone.
    mask : np.ndarray or None
        ``(n, n, n)`` float32 in [0, 1].
    """

    half1: Volume
    half2: Volume | None
    mask: np.ndarray | None

    @property
    def box_size_px(self) -> int:
        """Edge of the box."""
        return int(self.half1.data.shape[0])

    @property
    def pixel_size_angstrom(self) -> float:
        """Pixel size of the halves."""
        return self.half1.pixel_size_angstrom

    @property
    def same_data(self) -> bool:
        """True when both halves hold the same values: then nothing can be learned of noise."""
        if self.half2 is None:
            return False
        return bool(np.array_equal(self.half1.data, self.half2.data))


def read_half_maps(
    half1: Path, half2: Path | None, mask: Path | None, pixel_size_angstrom: float | None
) -> HalfMaps:
    """Read half maps and mask and make sure that they belong together.

    Raises
    ------
    InputError
        Anything `read_volume` refuses, a box below 24 voxels, boxes or pixel sizes that differ,
        a mask of another box, empty, or outside [0, 1].
    """
    first = read_map(half1, pixel_size_angstrom)
    second = None
    if half2 is not None:
        second = read_map(half2, pixel_size_angstrom)
        check_same_grid(first, second)
    return HalfMaps(first, second, None if mask is None else read_mask(mask, first))


def read_map(path: Path, pixel_size_angstrom: float | None = None) -> Volume:
    """Read one cubic map of at least 24 voxels."""
    volume = read_volume(path, pixel_size_angstrom=pixel_size_angstrom, require_cubic=True)
    edge = volume.data.shape[0]
    if edge < SMALLEST_BOX_PX:
        raise InputError(
            f"{path}: found a box of {edge} voxels, expected at least {SMALLEST_BOX_PX}; "
            "give a larger box or a smaller pixel size"
        )
    return volume


def read_mask(path: Path, like: Volume) -> np.ndarray:
    """Read a solvent mask for maps on the grid of `like`; returns ``(n, n, n)`` in [0, 1].

    The pixel size of a mask is not looked at: many programs leave 1.0 there.
    """
    mask = read_volume(
        path,
        pixel_size_angstrom=like.pixel_size_angstrom,
        require_cubic=True,
        require_variance=False,
    ).data
    if mask.shape != like.data.shape:
        raise InputError(
            f"{path}: found a mask of {_box(mask)}, expected {_box(like.data)} as in "
            f"{like.path}; make the mask on the grid of the maps"
        )
    low, high = float(mask.min()), float(mask.max())
    if low < -_MASK_TOLERANCE or high > 1 + _MASK_TOLERANCE:
        raise InputError(
            f"{path}: found mask values from {low:.3g} to {high:.3g}, expected 0 to 1; "
            "rescale or threshold the mask"
        )
    if high < 0.5:
        raise InputError(
            f"{path}: found an empty mask (largest value {high:.3g}), expected values near 1 "
            "over the particle; make the mask again with a lower threshold"
        )
    return np.clip(mask, 0.0, 1.0)


def read_weight(path: Path, like: Volume) -> np.ndarray:
    """Read a directional weight such as a 3DFSC; returns ``(n, n, n)`` clipped to [0, 1]."""
    weight = read_volume(
        path,
        pixel_size_angstrom=like.pixel_size_angstrom,
        require_cubic=True,
        require_variance=False,
    ).data
    if weight.shape != like.data.shape:
        raise InputError(
            f"{path}: found a weight of {_box(weight)}, expected {_box(like.data)} as in "
            f"{like.path}; compute it from these half maps"
        )
    if float(weight.max()) <= 0 or float(weight.min()) < -1.01 or float(weight.max()) > 1.01:
        raise InputError(
            f"{path}: found values from {weight.min():.3g} to {weight.max():.3g}, expected a "
            "3DFSC with values up to 1; compute it with cryodl spisonet fsc3d"
        )
    return np.clip(weight, 0.0, 1.0)


def check_resolution(flag: str, resolution_angstrom: float, like: Volume) -> None:
    """Refuse a resolution that the grid cannot hold.

    Raises
    ------
    ConfigError
        Finer than Nyquist, or coarser than half the box.
    """
    finest = 2 * like.pixel_size_angstrom
    coarsest = like.data.shape[0] * like.pixel_size_angstrom / 2
    if not finest * 0.999 <= resolution_angstrom <= coarsest:
        raise ConfigError(
            f"{flag}: found {resolution_angstrom:g} A, expected {finest:.4g} (Nyquist) to "
            f"{coarsest:.4g} A for a box of {like.data.shape[0]} voxels of "
            f"{like.pixel_size_angstrom:.4g} A; change it"
        )


def check_band(low_res: float, high_res: float, like: Volume) -> None:
    """Refuse a band that is upside down, out of the grid, or holds no shell.

    Raises
    ------
    ConfigError
        Names both ends.
    """
    check_resolution("--high-res", high_res, like)
    check_resolution("--low-res", low_res, like)
    extent = like.data.shape[0] * like.pixel_size_angstrom
    if int(extent / high_res) - int(extent / low_res) < 2:
        raise ConfigError(
            f"--low-res: found a band from {low_res:g} to {high_res:g} A, expected it to run from "
            "a larger to a smaller number and to hold at least one shell; widen the band"
        )


def _box(data: np.ndarray) -> str:
    return "x".join(str(n) for n in data.shape)
