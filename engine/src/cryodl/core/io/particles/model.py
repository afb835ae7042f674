"""What a particle is, whichever program wrote it.

Positions, poses and classes are arrays with one row per particle; everything a file holds beyond
that stays in `ParticleSet.blocks`, so that writing loses nothing. Readers and writers of the
dialects are the neighbours of this module.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

if TYPE_CHECKING:
    from cryodl.core.io.star import StarBlocks

Dialect = Literal["relion30", "relion31", "relion4", "relion5", "warp"]
ImageKind = Literal["volume", "tilt_stack", "image", "none"]


@dataclass(frozen=True)
class TiltSeries:
    """How one tomogram, or one particle, was recorded; K tilts.

    Attributes
    ----------
    name : str
        Of the tomogram.
    tilt_angles_degrees : (K,) float64
        Active, right-handed rotations t of the specimen about the tilt axis a: the beam runs along
        ``(-sin t sin a, sin t cos a, cos t)`` of the tomogram.
    tilt_axis_degrees : float
        From the x axis of the tomogram, in its xy plane: 90 is a tilt axis along y.
    dose_e_per_angstrom2 : (K,) float64
        Electrons received before each tilt.
    defocus_u_angstrom, defocus_v_angstrom, astigmatism_degrees, phase_shift_degrees : (K,) float64
        CTF of each tilt, underfocus positive; NaN in `defocus_u_angstrom` means unknown.
    voltage_kv, spherical_aberration_mm, amplitude_contrast : float
        Of the microscope.
    pixel_size_angstrom : float
        Of the tilt series, and of the unbinned tomogram.
    hand : int
        ``rlnTomoHand``: sign with which defocus grows along the beam, 1 or -1.
    projections : (K, 3, 4) float64, optional
        From unbinned voxels (x, y, z, 1) of the tomogram to x, y (and depth) on each tilt image.
    size_xyz_px : (int, int, int), optional
        Of the unbinned tomogram.
    scale : (K,) float64, optional
        ``rlnCtfScalefactor``.
    bfactor : (K,) float64, optional
        B-factor of each tilt in Å^2.
    """

    name: str
    tilt_angles_degrees: NDArray[np.float64]
    tilt_axis_degrees: float
    dose_e_per_angstrom2: NDArray[np.float64]
    defocus_u_angstrom: NDArray[np.float64]
    defocus_v_angstrom: NDArray[np.float64]
    astigmatism_degrees: NDArray[np.float64]
    phase_shift_degrees: NDArray[np.float64]
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size_angstrom: float
    hand: int = -1
    projections: NDArray[np.float64] | None = None
    size_xyz_px: tuple[int, int, int] | None = None
    scale: NDArray[np.float64] | None = None
    bfactor: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ReadingReport:
    """How many particles a file held, how many are used, and why the others are not."""

    read: int
    dropped: Counter[str] = field(default_factory=Counter)
    remarks: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """Particles that can be used."""
        return self.read - sum(self.dropped.values())

    def lines(self) -> list[str]:
        """Return the account for people, one line a reason."""
        lines = [f"{self.read} particles read, {self.kept} kept"]
        lines += [f"{count} dropped: {reason}" for reason, count in self.dropped.items()]
        return lines + [f"note: {remark}" for remark in self.remarks]


@dataclass(frozen=True)
class ParticleSet:
    """N particles with positions and poses.

    Attributes
    ----------
    names : list of str
        Identity of each particle, unique in the set; latents and poses are kept under it.
    tomograms : list of str
        Name of the tomogram of each, empty where a particle has none.
    image_kind : "volume", "tilt_stack", "image" or "none"
        Cubic subtomograms, stacks of 2D tilt images, single-particle images, or bare coordinates.
    image_paths : list of Path
        Where the images are, resolved; empty for bare coordinates.
    image_indices : (N,) int64
        Number of the image in its stack from 0; 0 for a file of its own.
    pixel_size_angstrom : (N,) float64
        Of the images; for bare coordinates of the tomogram.
    box_size_px : int
        Of the images, 0 for bare coordinates.
    coordinates_px : (N, 3) float64
        (x, y, z) counted from the first voxel of the tomogram, NaN where there is none.
    coordinate_pixel_size_angstrom : (N,) float64
        Of the tomogram in which the coordinates count.
    rotations : (N, 3, 3) float64
        A, all parts of the pose combined: ``x_particle = A x_reference - s``.
    shifts_angstrom : (N, 3) float64
        s, RELION's origin in the frame of the tomogram (of the image, for single particles, where
        the last is 0).
    half_sets : (N,) int64
        1 or 2, 0 where none was given.
    classes : (N,) int64
        Class number, 0 where none was given.
    ctf_paths : list of Path
        CTF volume or CTF STAR file of each, empty list when there are none.
    tilts : dict of str to TiltSeries
        By name of the tomogram; empty when nothing is known but perhaps a `tilt_range_degrees`.
    tilt_range_degrees : (float, float), optional
        Of all particles, when no list of tilts is known.
    visible_frames : (N, K) bool, optional
        Which tilts of the series a particle has, for ``tilt_stack``; where tomograms have
        different numbers of tilts, K is the largest and the others end in False.
    blocks : StarBlocks
        All the file held, the rows of the particle table already those that were kept.
    particle_block : str
        Name of the block with one row per particle.
    dialect : str
        In which the file was written.
    report : ReadingReport
        What became of the rows that were read.
    path : Path, optional
        The file.
    box_rotations : (N, 3, 3) float64, optional
        A_sub, the rotation with which RELION 4 and 5 cut the boxes; None stands for boxes that lie
        as the tomogram does. For poses in the frame of the boxes see `box_poses`.
    companions : dict of str to Path
        Label of an optimisation set (``rlnTomoTomogramsFile``) to the file it names.
    """

    names: list[str]
    tomograms: list[str]
    image_kind: ImageKind
    image_paths: list[Path]
    image_indices: NDArray[np.int64]
    pixel_size_angstrom: NDArray[np.float64]
    box_size_px: int
    coordinates_px: NDArray[np.float64]
    coordinate_pixel_size_angstrom: NDArray[np.float64]
    rotations: NDArray[np.float64]
    shifts_angstrom: NDArray[np.float64]
    half_sets: NDArray[np.int64]
    classes: NDArray[np.int64]
    ctf_paths: list[Path]
    tilts: dict[str, TiltSeries]
    tilt_range_degrees: tuple[float, float] | None
    visible_frames: NDArray[np.bool_] | None
    blocks: StarBlocks
    particle_block: str
    dialect: Dialect
    report: ReadingReport
    path: Path | None = None
    box_rotations: NDArray[np.float64] | None = None
    companions: dict[str, Path] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.names)

    def subset(self, chosen: NDArray[Any]) -> ParticleSet:
        """Return the particles that `chosen` names, by index (order is kept) or by mask.

        Raises
        ------
        InputError
            A mask of another length than the set.
        """
        chosen = np.asarray(chosen)
        if chosen.dtype == bool:
            if len(chosen) != len(self):
                raise InputError(
                    f"particles: found a mask of {len(chosen)} values for {len(self)} particles, "
                    "expected one value each; make the mask from the same set"
                )
            chosen = np.flatnonzero(chosen)
        rows = [int(i) for i in chosen]
        blocks = type(self.blocks)(self.blocks, self.blocks.version)
        if self.particle_block in blocks:
            blocks[self.particle_block] = (
                blocks[self.particle_block].iloc[rows].reset_index(drop=True)
            )
        kept: dict[str, Any] = {}
        for name in _ROW_ARRAYS:
            if getattr(self, name) is not None:
                kept[name] = getattr(self, name)[rows]
        for name in _ROW_LISTS:
            kept[name] = [getattr(self, name)[i] for i in rows if getattr(self, name)]
        return replace(self, blocks=blocks, **kept)

    def box_poses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return rotations and shifts (Å) in the frame of the boxes: what averages volumes.

        ``x_box = A_part x_reference - o`` with ``A_part = A_sub^T A`` and ``o = A_sub^T s``; the
        same as `rotations` and `shifts_angstrom` unless the boxes were cut rotated.
        """
        if self.box_rotations is None:
            return self.rotations, self.shifts_angstrom
        inverse = np.swapaxes(self.box_rotations, 1, 2)
        return inverse @ self.rotations, np.einsum("nij,nj->ni", inverse, self.shifts_angstrom)

    def places_px(self) -> NDArray[np.float64]:
        """Return where the centres of the references lie, (N, 3) as `coordinates_px`.

        A pose found at x with the shift s has its reference's centre at x - s.
        """
        pixel = self.coordinate_pixel_size_angstrom[:, None]
        shifts = np.divide(
            self.shifts_angstrom, pixel, out=np.zeros((len(self), 3)), where=pixel > 0
        )
        return self.coordinates_px - shifts

    def with_poses(
        self, rotations: NDArray[np.float64], shifts_angstrom: NDArray[np.float64]
    ) -> ParticleSet:
        """Return the set with other poses, in the meaning of the attributes."""
        rotations = np.asarray(rotations, dtype=np.float64).reshape(len(self), 3, 3)
        shifts = np.asarray(shifts_angstrom, dtype=np.float64).reshape(len(self), 3)
        return replace(self, rotations=rotations, shifts_angstrom=shifts)

    def with_classes(self, classes: NDArray[np.int64]) -> ParticleSet:
        """Return the set with other class numbers."""
        return replace(self, classes=np.asarray(classes, dtype=np.int64).reshape(len(self)))

    def with_half_sets(self, half_sets: NDArray[np.int64]) -> ParticleSet:
        """Return the set with other half sets, 1 or 2 each."""
        return replace(self, half_sets=np.asarray(half_sets, dtype=np.int64).reshape(len(self)))

    def with_column(self, label: str, values: Any) -> ParticleSet:
        """Return the set with one more column in its table, ``cdlScore`` for instance."""
        blocks = type(self.blocks)(self.blocks, self.blocks.version)
        table = blocks[self.particle_block].copy()
        table[label] = list(values)
        blocks[self.particle_block] = table
        return replace(self, blocks=blocks)


_ROW_ARRAYS = (
    "image_indices",
    "pixel_size_angstrom",
    "coordinates_px",
    "coordinate_pixel_size_angstrom",
    "rotations",
    "shifts_angstrom",
    "half_sets",
    "classes",
    "visible_frames",
    "box_rotations",
)
_ROW_LISTS = ("names", "tomograms", "image_paths", "ctf_paths")
