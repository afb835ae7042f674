"""Simulated subtomograms of several states in files, with their truth, for studies of latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.write import write_particles
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.subtomograms import (
    SimulatedSubtomograms,
    SubtomogramSettings,
    simulate_subtomograms,
)

CASES: dict[str, SubtomogramSettings] = {
    "two": SubtomogramSettings(structures=("groel_ring_cis", "groel_ring_trans")),
    "rare": SubtomogramSettings(
        structures=("groel_ring_cis", "groel_ring_trans"), proportions=(0.95, 0.05)
    ),
    "motion": SubtomogramSettings(
        structures=("groel_ring_cis",), motion_degrees=40.0, motion_steps=10
    ),
}


@dataclass(frozen=True)
class DataSet:
    """Files and truth.

    Attributes
    ----------
    star : Path
        With the perturbed poses.
    truth : SimulatedSubtomograms
        Everything that is true.
    """

    star: Path
    truth: SimulatedSubtomograms


def make(
    folder: Path,
    case: str,
    seed: int,
    *,
    snr: float,
    number: int,
    box_size_px: int,
    pixel_size_angstrom: float,
    rotation_error_degrees: float = 3.0,
    shift_error_px: float = 1.5,
    maps: list[str] | None = None,
) -> DataSet:
    """Simulate a case and write it as RELION would; a `pair` is of two maps."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = CASES["two" if case == "pair" else case]
    if case == "pair":
        chosen = replace(chosen, structures=moved_together(folder, *(maps or [])))
    settings = replace(
        chosen,
        number=number,
        box_size_px=box_size_px,
        pixel_size_angstrom=pixel_size_angstrom,
        noise=NoiseSettings(snr=snr),
        known_poses="perturbed",
        rotation_error_degrees=rotation_error_degrees,
        shift_error_px=shift_error_px,
    )
    truth = simulate_subtomograms(settings, seed)
    paths = [folder / f"{i + 1:06d}.mrc" for i in range(number)]
    for path, volume in zip(paths, truth.volumes, strict=True):
        write_volume(path, volume, pixel_size_angstrom=pixel_size_angstrom)
    particles = particles_from_subtomograms(
        paths,
        pixel_size_angstrom=pixel_size_angstrom,
        box_size_px=box_size_px,
        tomograms=["simulated"] * number,
        rotations=truth.known_rotations,
        shifts_angstrom=truth.known_shifts_px * pixel_size_angstrom,
        half_sets=truth.half_sets,
        ctf_paths=[folder / "ctf.mrc"] * number,
    )
    write_volume(folder / "ctf.mrc", truth.transfers, pixel_size_angstrom=1.0)
    write_particles(folder / "particles.star", particles)
    return DataSet(folder / "particles.star", truth)


def moved_together(folder: Path, first: str, second: str) -> tuple[str, str]:
    """Write two maps in one box, the second moved to where it fits the first; return their paths.

    Only whole voxels, and no rotation: for maps of one deposition.
    """
    volumes = [read_volume(path) for path in (first, second)]
    large, small = (np.asarray(v.data, dtype=np.float32) for v in volumes)
    padded = np.zeros_like(large)
    start = (large.shape[0] - small.shape[0]) // 2
    padded[(slice(start, start + small.shape[0]),) * 3] = small
    crossed = np.fft.rfftn(large) * np.fft.rfftn(padded).conj()
    place = np.unravel_index(np.fft.irfftn(crossed, s=large.shape).argmax(), large.shape)
    padded = np.roll(padded, place, axis=(0, 1, 2))
    names = []
    for name, data in (("first", large), ("second", padded)):
        path = folder / f"{name}.mrc"
        write_volume(path, data, pixel_size_angstrom=volumes[0].pixel_size_angstrom)
        names.append(str(path))
    return names[0], names[1]


def recall_of_rare(labels: NDArray, rare: NDArray[np.bool_]) -> tuple[float, float]:
    """Return recall and precision of the cluster that holds most of the rare state for its size."""
    scores = []
    for label in np.unique(labels):
        chosen = labels == label
        hits = float((chosen & rare).sum())
        recall, precision = hits / max(rare.sum(), 1), hits / chosen.sum()
        scores.append((2 * hits / (chosen.sum() + rare.sum()), recall, precision))
    _, recall, precision = max(scores)
    return recall, precision


def pose_errors(
    truth: SimulatedSubtomograms, rotations: NDArray[np.float64], shifts_px: NDArray[np.float64]
) -> tuple[float, float]:
    """Return median errors in degrees and pixels, after the turn and shift that all share."""
    relative = np.swapaxes(truth.rotations, 1, 2) @ rotations
    u, _, vt = np.linalg.svd(relative.sum(axis=0))
    common = u @ vt
    turned = rotations @ common.T
    # What all share in the frame of the reference: s = s' - A t.
    difference = np.einsum("nji,nj->ni", turned, shifts_px - truth.shifts_px)
    difference = difference - np.median(difference, axis=0)
    return (
        float(np.median(angular_distance_degrees(turned, truth.rotations))),
        float(np.median(np.linalg.norm(difference, axis=1))),
    )
