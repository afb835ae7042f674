"""Average the particles of a file by their poses: subtomograms, or stacks of tilt images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from cryodl.conventions import PIXEL_SIZE_TOLERANCE
from cryodl.core.fourier.ctf import ctf_sums, ctf_volume
from cryodl.core.fourier.dose import DoseModel
from cryodl.core.fourier.insertion import SliceInsertion, gridding_correction
from cryodl.core.fourier.tilts import depths_angstrom, tilt_transfer, view_rotations
from cryodl.core.fourier.transform import half_to_centred
from cryodl.core.fourier.wedge import missing_wedge, tilt_sampling
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.images import read_subtomogram, read_tilt_images
from cryodl.core.io.particles.model import ParticleSet, TiltSeries
from cryodl.core.io.particles.tilt_series import particle_tilts
from cryodl.core.volumes.averaging import WedgeAverage, divide_by_weight
from cryodl.errors import InputError

Transfer = Literal["ctf", "wedge", "none"]
_PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"


@dataclass(frozen=True)
class AverageSettings:
    """How particles are averaged.

    Attributes
    ----------
    symmetry : str
        Point group.
    transfer : "ctf", "wedge" or "none"
        What the particles were seen through: CTF and tilts, or tilts alone (subtomograms whose CTF
        was corrected), or nothing. What is not known of the first is left out of it.
    dose : "grant", "bfactor" or "none"
        Damage, as part of the CTF.
    tilt_axis_degrees : float
        For particles with a range of tilts only.
    regularisation, floor : float
        See `WedgeAverage.result`.
    batch : int
        Subtomograms of one pass.
    device : str
        Of torch, for subtomograms; tilt images are inserted on the CPU.
    """

    symmetry: str = "C1"
    transfer: Transfer = "ctf"
    dose: DoseModel = "grant"
    tilt_axis_degrees: float = 90.0
    regularisation: float = 0.0
    floor: float = 0.02
    batch: int = 16
    device: str = "cpu"


@dataclass(frozen=True)
class ParticleAverage:
    """The average of all particles, those of the two half sets, and how many went into these."""

    average: NDArray[np.float32]
    half1: NDArray[np.float32]
    half2: NDArray[np.float32]
    counts: tuple[int, int]


def average_particles(
    particles: ParticleSet,
    settings: AverageSettings | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> ParticleAverage:
    """Average particles from their files, in the pose each has.

    Parameters
    ----------
    particles : ParticleSet
        Subtomograms with a range of tilts, tilt series or CTF volumes, or stacks of tilt images
        with their tilt series. Half sets are kept; particles without one fill up the smaller.
    settings : AverageSettings, optional
        Defaults otherwise.
    progress : callable, optional
        Told the fraction that is done.

    Returns
    -------
    ParticleAverage
        (n, n, n) each.

    Raises
    ------
    InputError
        Particles without images, of several pixel sizes, fewer than two, or without what their
        kind needs.
    """
    chosen = settings or AverageSettings()
    pixel = _pixel_size(particles)
    tell = progress or (lambda fraction: None)
    if particles.image_kind == "volume":
        return _average_volumes(particles, chosen, pixel, tell)
    if particles.image_kind == "tilt_stack":
        return _average_stacks(particles, chosen, pixel, tell)
    raise InputError(
        f"{particles.path or 'particles'}: found {particles.image_kind!r} as images, expected "
        "subtomograms or stacks of tilt images; extract them"
    )


def particle_transfer(
    particles: ParticleSet, index: int, settings: AverageSettings, *, squared: bool = False
) -> NDArray[np.float32] | None:
    """Return what one subtomogram was seen through.

    Parameters
    ----------
    particles : ParticleSet
        Of subtomograms.
    index : int
        Which.
    settings : AverageSettings
        `transfer`, `dose` and `tilt_axis_degrees` are used.
    squared : bool
        The weight of a subtomogram that was multiplied by its CTF, in place of its CTF.

    Returns
    -------
    ndarray, (n, n, n) float32, or None
        Centred, in the frame of the box, which may have been cut rotated: its CTF volume, else
        that of its tilts, else the wedge of the tilt range. None where nothing is known, or
        asked for.
    """
    if settings.transfer == "none":
        return None
    if settings.transfer == "ctf" and particles.ctf_paths:
        path = particles.ctf_paths[index]
        if path.suffix.lower() != ".star":
            # Made with the box, and turned as it is.
            return read_ctf_volume(path, particles.box_size_px)
    found = _transfer_in_tomogram(particles, index, settings, squared)
    if found is None or particles.box_rotations is None:
        return found
    # x_tomogram = A_sub x_box, and so are frequencies.
    return turned_weight(found, particles.box_rotations[index])


def _transfer_in_tomogram(
    particles: ParticleSet, index: int, settings: AverageSettings, squared: bool
) -> NDArray[np.float32] | None:
    n, pixel = particles.box_size_px, float(particles.pixel_size_angstrom[index])
    tilts = particle_tilts(particles, index)
    if tilts is not None:
        if settings.transfer == "wedge":
            axis = tilts.tilt_axis_degrees
            return tilt_sampling(n, tilts.tilt_angles_degrees, tilt_axis_degrees=axis)
        offset = offset_from_centre_angstrom(particles, index, tilts)
        if squared:
            sums = ctf_sums(n, pixel, tilts, dose=settings.dose, offset_xyz_angstrom=offset)
            return sums.squared / np.maximum(sums.slabs, 1)
        return ctf_volume(n, pixel, tilts, dose=settings.dose, offset_xyz_angstrom=offset)
    if particles.tilt_range_degrees is not None:
        low, high = particles.tilt_range_degrees
        return missing_wedge(n, low, high, tilt_axis_degrees=settings.tilt_axis_degrees)
    return None


def turned_weight(weight: NDArray[np.float32], rotation: ArrayLike) -> NDArray[np.float32]:
    """Return a centred Fourier weight W in another frame: ``W'(k) = W(R k)``.

    Parameters
    ----------
    weight : (n, n, n) array
        Symmetric about its centre.
    rotation : (3, 3) array
        R, on (x, y, z).

    Returns
    -------
    ndarray, (n, n, n) float32
        Linear between voxels; beyond the box, where only corners lie, as at its rim.
    """
    n = weight.shape[0]
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    places = np.stack([x, y, z], axis=-1) @ np.asarray(rotation, dtype=np.float64).T
    where = np.moveaxis(places[..., ::-1], -1, 0) + n // 2
    return np.asarray(map_coordinates(weight, where, order=1, mode="nearest"), dtype=np.float32)


def read_ctf_volume(path: Path, n: int) -> NDArray[np.float32]:
    """Read a CTF volume of RELION, whole and centred or half and with zero frequency first.

    Returns
    -------
    ndarray, (n, n, n) float32
        Centred.

    Raises
    ------
    InputError
        It belongs to another box.
    """
    data = np.asarray(read_volume(path, require_variance=False).data)
    if data.shape == (n, n, n):
        return data
    if data.shape == (n, n, n // 2 + 1):
        return half_to_centred(data, n)
    raise InputError(
        f"{path}: shape {data.shape}, expected {(n, n, n)} or {(n, n, n // 2 + 1)} for particles "
        f"of {n} px; make the CTF volumes for this box"
    )


def offset_from_centre_angstrom(
    particles: ParticleSet, index: int, tilts: TiltSeries
) -> NDArray[np.float64] | None:
    """Return a particle's place from the centre of its tomogram, (x, y, z), None if not known."""
    place = particles.coordinates_px[index] * particles.coordinate_pixel_size_angstrom[index]
    if tilts.size_xyz_px is None or not np.isfinite(place).all():
        return None
    return np.asarray(place - np.array(tilts.size_xyz_px) * tilts.pixel_size_angstrom / 2)


def are_premultiplied(particles: ParticleSet) -> bool:
    """Tell whether the file says that its images were multiplied by their CTF."""
    for block in particles.blocks.values():
        if _PREMULTIPLIED in block:
            values = np.atleast_1d(np.asarray(block[_PREMULTIPLIED], dtype=float))
            return bool(values.size and (values != 0).all())
    return False


def _average_volumes(
    particles: ParticleSet, settings: AverageSettings, pixel: float, tell: Callable[[float], None]
) -> ParticleAverage:
    premultiplied = are_premultiplied(particles)
    rotations, shifts = particles.box_poses()
    average = WedgeAverage(
        particles.box_size_px,
        settings.symmetry,
        weighting="premultiplied" if premultiplied else "transfer",
        device=settings.device,
    )
    for chosen in _batches(len(particles), settings.batch):
        volumes = np.stack([read_subtomogram(particles, i) for i in chosen])
        transfers = [
            particle_transfer(particles, i, settings, squared=premultiplied) for i in chosen
        ]
        known = [transfer for transfer in transfers if transfer is not None]
        if known and len(known) < len(chosen):
            lost = particles.names[chosen[[t is None for t in transfers].index(True)]]
            raise InputError(
                f"{particles.path or 'particles'}: {lost} has no tilts or CTF and others have, "
                "expected them of all or of none; give the tilt series of its tomogram"
            )
        average.add(
            volumes,
            rotations[chosen],
            shifts[chosen] / pixel,
            np.stack(known) if known else None,
            half_sets=particles.half_sets[chosen],
        )
        tell((chosen[-1] + 1) / len(particles))
    if average.counts.min() == 0:
        raise _too_few(particles)
    average_of = [
        average.result(half, regularisation=settings.regularisation, floor=settings.floor)
        for half in (None, 1, 2)
    ]
    counts = (int(average.counts[0]), int(average.counts[1]))
    return ParticleAverage(average_of[0], average_of[1], average_of[2], counts)


def _average_stacks(
    particles: ParticleSet, settings: AverageSettings, pixel: float, tell: Callable[[float], None]
) -> ParticleAverage:
    n = particles.box_size_px
    halves, counts = [SliceInsertion(n), SliceInsertion(n)], [0, 0]
    premultiplied = are_premultiplied(particles)
    for index in range(len(particles)):
        given = int(particles.half_sets[index])
        half = given - 1 if given else int(counts[0] > counts[1])
        insert_stack(halves[half], particles, index, settings, pixel, premultiplied)
        counts[half] += 1
        tell((index + 1) / len(particles))
    if min(counts) == 0:
        raise _too_few(particles)
    sums = [half.sums() for half in halves]
    both = tuple(a + b for a, b in zip(*sums))
    correction = gridding_correction(n)
    average, half1, half2 = (
        divide_by_weight(
            data, weight, n, regularisation=settings.regularisation, floor=settings.floor
        )
        / correction
        for data, weight in (both, *sums)
    )
    return ParticleAverage(average, half1, half2, (counts[0], counts[1]))


def insert_stack(
    insertion: SliceInsertion,
    particles: ParticleSet,
    index: int,
    settings: AverageSettings,
    pixel: float,
    premultiplied: bool,
) -> None:
    """Insert the tilt images of particle `index` in its pose, with all copies of the symmetry.

    Raises
    ------
    InputError
        Its tilts are not known, or are not as many as its images.
    """
    tilts = particle_tilts(particles, index)
    if tilts is None:
        raise InputError(
            f"{particles.path or 'particles'}: {particles.names[index]} has no tilt series, "
            "expected the tilts of its images; give the file of the tomograms"
        )
    images = read_tilt_images(particles, index)
    count = len(tilts.tilt_angles_degrees)
    frames = np.arange(count)
    if particles.visible_frames is not None:
        frames = np.flatnonzero(particles.visible_frames[index][:count])
    if len(images) != len(frames):
        raise InputError(
            f"{particles.image_paths[index]}: {len(images)} images, expected {len(frames)} for the "
            "visible tilts of its tomogram; extract the particles again"
        )
    x, y = insertion.frequencies_px.T / (particles.box_size_px * pixel)
    transfer = np.ones((len(frames), len(x)))
    rest = np.ones_like(transfer)
    if settings.transfer == "ctf":
        offset = offset_from_centre_angstrom(particles, index, tilts)
        heights = depths_angstrom(tilts, offset)
        without_ctf = replace(tilts, defocus_u_angstrom=np.full(count, np.nan))
        for row, frame in enumerate(frames):
            height = float(heights[frame])
            args = (int(frame), x, y)
            transfer[row] = tilt_transfer(tilts, *args, dose=settings.dose, depth_angstrom=height)
            rest[row] = tilt_transfer(without_ctf, *args, dose=settings.dose)
    turned = view_rotations(tilts)[frames]
    shifts = turned[:, :2] @ (particles.shifts_angstrom[index] / pixel)
    for operation in symmetry_matrices(settings.symmetry):
        insertion.insert(
            images,
            turned @ particles.rotations[index] @ operation,
            shifts,
            rest if premultiplied else transfer,
            transfer**2,
        )


def _batches(count: int, size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, count, max(size, 1)):
        yield np.arange(start, min(start + max(size, 1), count))


def _pixel_size(particles: ParticleSet) -> float:
    sizes = particles.pixel_size_angstrom
    if len(particles) < 2:
        raise _too_few(particles)
    if sizes.max() - sizes.min() > PIXEL_SIZE_TOLERANCE * sizes.min():
        raise InputError(
            f"{particles.path or 'particles'}: pixel sizes from {sizes.min():g} to "
            f"{sizes.max():g} A, expected one; extract the particles at one pixel size"
        )
    return float(sizes[0])


def _too_few(particles: ParticleSet) -> InputError:
    return InputError(
        f"{particles.path or 'particles'}: {len(particles)} particles, and a half set without any; "
        "expected at least one in each half; give more particles or correct their half sets"
    )
