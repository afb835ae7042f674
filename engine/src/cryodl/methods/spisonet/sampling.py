"""Sampling of Fourier space by the views of a particle set (3DFSD)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryodl.core.fourier.filters import radius_of_resolution_px
from cryodl.core.fourier.grids import centred_axis_px, shell_index
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.errors import ConfigError, InputError
from cryodl.methods.spisonet.sphere_cells import CELL_COUNT, cell_directions_xyz, cell_of

# Half-thickness of a view's central slice as a fraction of Nyquist: the published sqrt(5) voxels of
# a grid of 64, of which the coordinates go from -1 to 1.
SLICE_HALF_THICKNESS = math.sqrt(5) / 64
# A shell's values are divided by its maximum, times this, and cut at 1.
_HEADROOM = 1.1
_BINS = 512
_ROWS = 128


def view_directions_xyz(rot_degrees: ArrayLike, tilt_degrees: ArrayLike) -> NDArray[np.float64]:
    """Direction in the reference along which each particle was projected.

    It is the third row of RELION's matrix A(rot, tilt, psi): the particle's z axis in the frame
    of the reference, whatever psi.

    Parameters
    ----------
    rot_degrees, tilt_degrees : (n,) arrays
        RELION Euler angles.

    Returns
    -------
    ndarray, (n, 3) float64
        ``(sin tilt cos rot, sin tilt sin rot, cos tilt)``, order x, y, z.

    Raises
    ------
    InputError
        If the arrays are empty, differ in length or hold values that are not finite.
    """
    rot, tilt = (np.radians(np.asarray(a, dtype=np.float64)) for a in (rot_degrees, tilt_degrees))
    if rot.ndim != 1 or rot.shape != tilt.shape or rot.size == 0:
        raise InputError(
            f"views: {rot.shape} rot and {tilt.shape} tilt angles; give one of each for every "
            "particle, and at least one"
        )
    if not (np.isfinite(rot).all() and np.isfinite(tilt).all()):
        raise InputError("views: some rot or tilt angles are not finite; leave these particles out")
    sine = np.sin(tilt)
    return np.stack((sine * np.cos(rot), sine * np.sin(rot), np.cos(tilt)), axis=1)


def compute_sampling(
    rot_degrees: ArrayLike,
    tilt_degrees: ArrayLike,
    *,
    box_size_px: int,
    pixel_size_angstrom: float,
    low_resolution_angstrom: float = 100.0,
    high_resolution_angstrom: float = 1.0,
    symmetry: str = "C1",
) -> NDArray[np.float32]:
    """Compute how densely a set of views samples each direction and radius of Fourier space.

    A frequency is sampled by a view if it lies within the slab of `SLICE_HALF_THICKNESS` about the
    view's central slice. The number of such views, over directions of one shell, is divided by
    its maximum, times 1.1, and cut at 1. It is computed on cells of 1.5 degrees of the sphere.

    Parameters
    ----------
    rot_degrees, tilt_degrees : (n,) arrays
        RELION Euler angles of the particles (see `view_directions_xyz`).
    box_size_px : int
        Box of the result.
    pixel_size_angstrom : float
        Positive.
    low_resolution_angstrom, high_resolution_angstrom : float
        Shells coarser than the first are 1, finer than the second 0. Beyond Nyquist all is 0.
    symmetry : str
        Point group of the reconstruction, see `symmetry_matrices`.

    Returns
    -------
    ndarray, (n, n, n) float32
        Centred, axes (z, y, x), in [0, 1], for use in place of a 3DFSC.

    Raises
    ------
    InputError
        If there are no views, or angles are not finite.
    ConfigError
        If the band is empty or the symmetry unknown.
    """
    low, high = (
        radius_of_resolution_px(resolution, box_size_px, pixel_size_angstrom)
        for resolution in (low_resolution_angstrom, high_resolution_angstrom)
    )
    if not low < high:
        raise ConfigError(
            f"band: from {low_resolution_angstrom:g} to {high_resolution_angstrom:g} Angstrom is "
            "empty; give the larger number as the low resolution"
        )
    views = view_directions_xyz(rot_degrees, tilt_degrees)
    copies = np.einsum("sij,vj->svi", symmetry_matrices(symmetry), views).reshape(-1, 3)
    directions, counts = _group_views(copies)
    shells = np.arange(box_size_px // 2 + 1)
    table = _shell_table(_slab_counts(directions, counts), shells, box_size_px)
    table[shells < low] = 1
    table[shells > high] = 0
    table[0] = 1
    return _fill_volume(table, box_size_px)


def _group_views(views: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Merge the views of one cell into their mean direction; views and opposites count alike."""
    views = np.where(views[:, 2:] < 0, -views, views)
    cells = cell_of(*views.astype(np.float32).T)
    used, member, counts = np.unique(cells, return_inverse=True, return_counts=True)
    # On the equator a cell may hold a direction and its opposite: align them.
    first = np.zeros((len(used), 3))
    first[member] = views
    aligned = views * np.where((views * first[member]).sum(axis=1) < 0, -1, 1)[:, None]
    total = np.stack([np.bincount(member, weights=column) for column in aligned.T], axis=1)
    return total / np.linalg.norm(total, axis=1, keepdims=True), counts.astype(np.float64)


def _slab_counts(
    directions: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Count the views whose plane passes within a distance of each cell's direction.

    Returns
    -------
    ndarray, (cells, bins + 1) float64
        Entry b: views with ``|k . d| < b / bins`` for the unit vector k of the cell.
    """
    middles = cell_directions_xyz()
    out = np.zeros((CELL_COUNT, _BINS + 1))
    for start in range(0, CELL_COUNT, _ROWS):
        block = middles[start : start + _ROWS]
        distance = np.abs(block @ directions.T)
        bins = np.minimum((distance * _BINS).astype(np.intp), _BINS - 1)
        bins += np.arange(len(block))[:, None] * _BINS
        weights = np.broadcast_to(counts, bins.shape).ravel()
        histogram = np.bincount(bins.ravel(), weights=weights, minlength=len(block) * _BINS)
        out[start : start + len(block), 1:] = histogram.reshape(len(block), _BINS)
    return np.cumsum(out, axis=1)


def _shell_table(
    slab_counts: NDArray[np.float64], shells: NDArray[np.int64], box_size_px: int
) -> NDArray[np.float32]:
    """Scale the counts of each shell: (shells, cells), in [0, 1]."""
    table = np.ones((len(shells), CELL_COUNT), dtype=np.float32)
    for shell in shells[1:]:
        # A slab of constant thickness spans a smaller angle the larger the radius.
        reach = min(1.0, SLICE_HALF_THICKNESS * box_size_px / 2 / shell) * _BINS
        below = min(int(reach), _BINS - 1)
        part = reach - below
        sampled = (1 - part) * slab_counts[:, below] + part * slab_counts[:, below + 1]
        table[shell] = np.minimum(sampled * (_HEADROOM / max(sampled.max(), 1e-30)), 1)
    return table


def _fill_volume(table: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    volume = np.zeros((n, n, n), dtype=np.float32)
    axis = centred_axis_px(n).astype(np.float32)
    index = shell_index(n)
    for plane, z in enumerate(axis):
        cells = cell_of(axis[None, :], axis[:, None], np.full((n, n), z))
        inside = index[plane] < len(table)
        volume[plane][inside] = table[index[plane][inside], cells[inside]]
    return volume
