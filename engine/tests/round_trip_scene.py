"""An off-centre asymmetric object in a tomogram, at known places in known poses.

`python round_trip_scene.py FOLDER` writes it as files, for tests that cannot import the engine:
tomogram.mrc, reference.mrc, points.star (RELION 3.1, with poses), points.txt (x y z).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodl.core.geometry.rotations import matrix_to_euler, random_rotations
from cryodl.core.io.mrc import write_volume

TOMOGRAM_PIXEL = 4.0
BINNING = 2.0
PIXEL = TOMOGRAM_PIXEL * BINNING
BOX = 24
SHAPE = (80, 220, 230)
# Centre x, y, z, height and width of each blob, Angstrom: a shape that no rotation, shift or mirror
# image of it is like.
BLOBS = (
    ((28.0, 8.0, -12.0), 1.0, 14.0),
    ((-4.0, 36.0, 6.0), 0.7, 13.0),
    ((10.0, -20.0, 30.0), 1.3, 13.0),
    ((44.0, 20.0, 22.0), 0.8, 14.0),
)


@dataclass(frozen=True)
class Scene:
    """What was placed.

    Attributes
    ----------
    tomogram : (z, y, x)
        Of pixels of `TOMOGRAM_PIXEL`.
    points_px : (N, 3)
        (x, y, z) in the tomogram.
    rotations, shifts_angstrom : (N, 3, 3) and (N, 3)
        A and s of ``x_particle = A x_reference - s``.
    reference : (BOX, BOX, BOX)
        The object on the grid of the boxes.
    """

    tomogram: np.ndarray
    points_px: np.ndarray
    rotations: np.ndarray
    shifts_angstrom: np.ndarray
    reference: np.ndarray


def blob(shape, centre_xyz_px, sigma_px):
    """Return a Gaussian as a product of three, (z, y, x)."""
    profiles = [
        np.exp(-((np.arange(n) - c) ** 2) / (2 * sigma_px**2))
        for n, c in zip(shape, centre_xyz_px[::-1])
    ]
    return np.einsum("i,j,k->ijk", *profiles)


def make_scene(number: int = 12, noise: float = 0.0, seed: int = 0) -> Scene:
    """Place the object `number` times, not overlapping, each in a pose of its own."""
    random = np.random.default_rng(seed)
    columns = 4
    places = [(34 + 53 * (i % columns), 34 + 53 * (i // columns), 40) for i in range(number)]
    points = np.array(places) + random.uniform(-1, 1, (number, 3))
    rotations = random_rotations(number, random)
    shifts = random.uniform(-8, 8, (number, 3))
    tomogram = random.normal(scale=noise, size=SHAPE) if noise else np.zeros(SHAPE)
    for point, rotation, shift in zip(points, rotations, shifts):
        for centre, height, sigma in BLOBS:
            place = point + (rotation @ np.array(centre) - shift) / TOMOGRAM_PIXEL
            tomogram += height * blob(SHAPE, place, sigma / TOMOGRAM_PIXEL)
    reference = sum(
        height * blob((BOX,) * 3, BOX // 2 + np.array(centre) / PIXEL, sigma / PIXEL)
        for centre, height, sigma in BLOBS
    )
    return Scene(
        tomogram.astype(np.float32), points, rotations, shifts, reference.astype(np.float32)
    )


def write_scene(scene: Scene, folder: Path) -> None:
    """Write the files that the docstring of the module names."""
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / "tomogram.mrc", scene.tomogram, pixel_size_angstrom=TOMOGRAM_PIXEL)
    write_volume(folder / "reference.mrc", scene.reference, pixel_size_angstrom=PIXEL)
    np.savetxt(folder / "points.txt", scene.points_px, fmt="%.4f")
    angles = matrix_to_euler(scene.rotations)
    rows = [
        f"tomogram {x:.4f} {y:.4f} {z:.4f} {rot:.5f} {tilt:.5f} {psi:.5f} {a:.5f} {b:.5f} {c:.5f} "
        f"1 {1 + i % 2} {0.1 * i:.2f}"
        for i, ((x, y, z), (rot, tilt, psi), (a, b, c)) in enumerate(
            zip(scene.points_px, angles, scene.shifts_angstrom)
        )
    ]
    labels = [
        "MicrographName",
        *(f"Coordinate{axis}" for axis in "XYZ"),
        *(f"Angle{name}" for name in ("Rot", "Tilt", "Psi")),
        *(f"Origin{axis}Angst" for axis in "XYZ"),
        "OpticsGroup",
        "RandomSubset",
        "AutopickFigureOfMerit",
    ]
    text = (
        "\n# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n"
        "_rlnImagePixelSize\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
        f"1 opticsGroup1 {TOMOGRAM_PIXEL} 300 2.7 0.07\n\n\n# version 30001\n\ndata_particles\n\n"
        "loop_\n" + "".join(f"_rln{label}\n" for label in labels) + "\n".join(rows) + "\n"
    )
    (folder / "points.star").write_text(text)


if __name__ == "__main__":
    write_scene(make_scene(), Path(sys.argv[1]))
