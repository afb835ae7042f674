"""What every number means in this package; `docs/conventions.md` has the worked examples.

Arrays
    Volumes are `[z, y, x]`, float32. The origin is the centre voxel ``n // 2`` of each axis, in
    real space and in centred Fourier space. Matter is bright.
Points
    ``(x, y, z)`` relative to the centre voxel. In files of coordinates they are counted from the
    first voxel, so ``array[z, y, x]`` is found at coordinates (x, y, z).
Lengths
    Angstrom, unless a name ends in ``_px``.
Angles
    Degrees, RELION's rot, tilt, psi, with ``A = Rz(-psi) Ry(-tilt) Rz(-rot)``.
Poses
    A and the shift s map reference to particle: ``x_particle = A x_reference - s``, where s is
    RELION's origin (``rlnOriginXAngst``). Scipion's matrix goes the other way and is
    ``M = [A^T | A^T s]``.
"""

from __future__ import annotations

PIXEL_SIZE_TOLERANCE = 1e-3
"""Relative difference up to which two pixel sizes are taken for the same."""

PIXEL_SIZE_RANGE_ANGSTROM = (1e-2, 1e4)
"""A header outside this range was left blank or counts in another unit."""


def centre_voxel(n: int) -> int:
    """Return the index of the origin along an axis of `n` voxels: RELION's and FFT's ``n // 2``."""
    return n // 2
