"""Simulated subtomograms of several states in files, with their truth, for studies of latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.io.mrc import write_volume
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
) -> DataSet:
    """Simulate a case and write it as RELION would."""
    settings = replace(
        CASES[case],
        number=number,
        box_size_px=box_size_px,
        pixel_size_angstrom=pixel_size_angstrom,
        noise=NoiseSettings(snr=snr),
        known_poses="perturbed",
        rotation_error_degrees=rotation_error_degrees,
        shift_error_px=shift_error_px,
    )
    truth = simulate_subtomograms(settings, seed)
    folder.mkdir(parents=True, exist_ok=True)
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


def adjusted_rand_index(first: NDArray, second: NDArray) -> float:
    """Return how well two labellings agree: 1 the same, 0 chance (Hubert and Arabie 1985)."""
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)

    def pairs(counts: NDArray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs(np.array([table.sum()]))
    largest = (rows + columns) / 2
    return (both - expected) / (largest - expected) if largest > expected else 1.0


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
