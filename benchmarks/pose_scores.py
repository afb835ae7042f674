"""Scores of a refinement whose true poses and true structure are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from preferred_particles import DataSet
from scipy import fft
from scipy.spatial.transform import Rotation

from cryodl.core.evaluation.directional import region_fsc
from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.fsc import fourier_shell_correlation, resolution_at
from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    euler_to_matrix,
    rotate_volume,
)
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.star import read_star

ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
# Fourier directions within this angle of the cone's axis are those that preferred views miss.
BADLY_SAMPLED_DEGREES = 45.0


def read_poses(path: Path) -> NDArray[np.float64]:
    """Return the rotation matrices of a star file in the order of the images, (k, 3, 3)."""
    table = read_star(path)["particles"]
    if "rlnImageName" in table:
        number = [int(str(name).split("@")[0]) for name in table["rlnImageName"]]
        table = table.iloc[np.argsort(number)]
    rot, tilt, psi = (table[name].to_numpy(float) for name in ANGLES)
    return euler_to_matrix(rot, tilt, psi)


def pose_errors(
    found: NDArray[np.float64], true: NDArray[np.float64], symmetry: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the angle to the nearest equivalent true pose, degrees, and the frame's drift.

    A refined map may drift as a whole where its symmetry lets it: freely without symmetry, about z
    with one axis, not at all with several. That rotation is fitted first, as the L1 mean of the
    differences, in which wrongly aligned particles count little.
    """
    operators = symmetry_matrices(symmetry)
    drift = np.eye(3)
    for _ in range(20):
        turned = found @ drift
        distance = np.stack([angular_distance_degrees(turned, true @ s) for s in operators])
        nearest = true @ operators[np.argmin(distance, axis=0)]
        difference = np.swapaxes(found, 1, 2) @ nearest
        weight = 1 / np.maximum(distance.min(axis=0), 0.5)
        mean = Rotation.from_matrix(difference).mean(weights=weight)
        drift = _possible(mean, symmetry).as_matrix()
    return distance.min(axis=0), drift


def _possible(drift: Rotation, symmetry: str) -> Rotation:
    """Return the part of a rotation of the whole map that leaves its symmetry axes in place."""
    if symmetry == "C1":
        return drift
    if symmetry.startswith("C"):
        return Rotation.from_euler("z", drift.as_rotvec()[2])
    return Rotation.identity()


def tilt_bias(
    found: NDArray[np.float64],
    true: NDArray[np.float64],
    errors: NDArray[np.float64],
    data: DataSet,
) -> float:
    """Return by how much preferred views are found too far from the cone's axis, degrees, mean.

    Views of a narrow cone tell the height of a structure times the tilt, but hardly either alone:
    a map pressed flat goes with tilts that are too large, one drawn out with tilts too small. Views
    nearly along the axis, whose found tilt can only be larger, and lost ones are left out.
    """
    from_axis = [
        np.degrees(np.arccos(np.clip(np.abs(poses[:, 2] @ data.cone_axis()), 0, 1)))
        for poses in (found, true)
    ]
    near, far = 0.4 * data.cone_degrees, data.cone_degrees
    counted = (from_axis[1] > near) & (from_axis[1] < far) & (errors < 15)
    return float((from_axis[0] - from_axis[1])[counted].mean())


def score(folder: Path, job: str, data: DataSet) -> dict[str, float]:
    """Return all figures of an ended refinement."""
    true, found = read_poses(folder / "true_poses.star"), read_poses(folder / job / "run_data.star")
    errors, drift = pose_errors(found, true, data.symmetry)
    in_cone = true[:, 2] @ data.cone_axis() >= np.cos(np.radians(data.cone_degrees))
    figures = {
        "tilt bias": tilt_bias(found @ drift, true, errors, data),
        "median error": float(np.median(errors)),
        "median in cone": float(np.median(errors[in_cone])),
        "median outside": float(np.median(errors[~in_cone])),
        "within 5": float(np.mean(errors < 5)),
        "within 10": float(np.mean(errors < 10)),
        "within 10 outside": float(np.mean(errors[~in_cone] < 10)),
        "drift": float(np.degrees(Rotation.from_matrix(drift).magnitude())),
    }
    # The last map of all particles is RELION's own in every run. Unfiltered half maps would not do:
    # a few frequencies that hardly any view touches can hold most of the power of a shell.
    final = read_volume(folder / job / "run_class001.mrc").data
    return {**figures, **map_scores(final, folder, drift, data)}


def map_scores(
    volume: NDArray[np.float32], folder: Path, drift: NDArray[np.float64], data: DataSet
) -> dict[str, float]:
    """Compare a map with the truth, both within the mask, after undoing the frame's drift."""
    truth, mask = (read_volume(folder / f"{name}.mrc").data for name in ("truth", "mask"))
    n, pixel = data.box_size_px, data.pixel_size_angstrom
    # Poses: A_found drift = A_true, so what is at x in the found map is at drift^T x in truth.
    moved = rotate_volume(volume, drift.T, order=3)
    moved = _shifted_onto(moved, truth * mask)
    curve = fourier_shell_correlation(moved * mask, truth * mask)
    region = double_cone_region(n, data.cone_axis(), BADLY_SAMPLED_DEGREES)
    inside = region_fsc(moved * mask, truth * mask, region)
    outside = region_fsc(moved * mask, truth * mask, ~region)
    last, half = n // 2, n // 4
    return {
        "fsc": float(curve[1 : half + 1].mean()),
        "fsc to nyquist": float(curve[1:last].mean()),
        "fsc poor directions": float(np.nanmean(inside[1 : half + 1])),
        "fsc poor to nyquist": float(np.nanmean(inside[1:last])),
        "fsc good to nyquist": float(np.nanmean(outside[1:last])),
        "resolution 0.5": resolution_at(curve, 0.5, n, pixel),
    }


def _shifted_onto(volume: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move a map by the sub-voxel shift, up to 2 px, at which it correlates best."""
    n = len(truth)
    transform, target = fft.fftn(volume), fft.fftn(truth)
    axis = np.fft.fftfreq(n)
    best, shift = -np.inf, np.zeros(3)
    for step in (1.0, 0.25):
        centre = shift.copy()
        for offset in np.ndindex(5, 5, 5):
            tried = centre + step * (np.array(offset) - 2)
            phase = [np.exp(-2j * np.pi * axis * t) for t in tried]
            ramp = phase[0][:, None, None] * phase[1][None, :, None] * phase[2][None, None, :]
            value = float(np.vdot(target, transform * ramp).real)
            if value > best:
                best, shift = value, tried
    phase = [np.exp(-2j * np.pi * axis * t) for t in shift]
    ramp = phase[0][:, None, None] * phase[1][None, :, None] * phase[2][None, None, :]
    return fft.ifftn(transform * ramp).real.astype(np.float32)
