"""Small subvolumes with known classes, for the tests of Autoencoder3D."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.write import write_particles

PIXEL = 10.0


def shape(kind: int, n: int = 16) -> np.ndarray:
    """Return one of three lop-sided objects: a rod, a plate, a ball with a knob."""
    points = {
        0: [(-4, 0, 0, 1.3), (-1.5, 0, 0, 1), (1.5, 0, 0, 1), (4, 0, 1, 0.7)],
        1: [(-3, 0, 0, 1.2), (3, 0, 0, 0.8), (0, 3, 0, 1), (0, -2, 0, 0.7), (0, 0, 0, 1)],
        2: [(0, 0, 0, 2.5), (0, 0, 1, 2), (3, 1, 0, 0.8)],
    }[kind]
    volume = np.zeros((n, n, n))
    for x, y, z, weight in points:
        place = np.round(np.array([z, y, x]) * n / 16).astype(int) + n // 2
        volume[tuple(place)] += weight
    volume = ndimage.gaussian_filter(volume, 1.2 * n / 16)
    return ((volume - volume.mean()) / volume.std()).astype(np.float32)


def turned(volume: np.ndarray, rotation: np.ndarray, place_xyz=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Return a volume turned by A, with its centre at a place."""
    matrix = rotation.T[::-1, ::-1]
    middle = np.full(3, volume.shape[0] // 2)
    offset = middle - matrix @ (middle + np.asarray(place_xyz)[::-1])
    return ndimage.affine_transform(volume, matrix, offset, order=3)


def particles(counts, noise=0.5, n=16, seed=0):
    """Return boxes in any orientation and their classes, mixed."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    boxes = [
        turned(shape(kind, n), rotation, rng.uniform(-1, 1, 3)) + rng.normal(0, noise, (n, n, n))
        for kind, rotation in zip(truth, random_rotations(len(truth), rng), strict=True)
    ]
    return np.array(boxes, dtype=np.float32), truth


def write_set(folder, boxes, name="particles.star"):
    """Write boxes and a STAR file of them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{i:03d}.mrc" for i in range(len(boxes))]
    for path, box in zip(paths, boxes, strict=True):
        write_volume(path, box, pixel_size_angstrom=PIXEL)
    made = make_particles(
        image_paths=paths,
        image_kind="volume",
        pixel_size_angstrom=PIXEL,
        box_size_px=boxes.shape[-1],
    )
    write_particles(folder / name, made)
    return folder / name


def tomogram(seed=0, edge=64, depth=32, count=16, noise=0.3):
    """Return a tomogram of rods and balls, matter bright, its places and classes."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < count:
        place = rng.uniform(8, np.array([edge, edge, depth]) - 9)
        if all(np.linalg.norm(place - other) > 12 for other in places):
            places.append(place)
    volume = rng.normal(0, noise, (depth, edge, edge))
    classes = np.arange(count) % 2
    for place, kind, rotation in zip(places, classes, random_rotations(count, rng), strict=True):
        whole = np.round(place).astype(int)
        box = np.maximum(turned(shape(2 * kind), rotation, place - whole), 0)
        x, y, z = whole
        volume[z - 8 : z + 8, y - 8 : y + 8, x - 8 : x + 8] += box
    return volume.astype(np.float32), np.array(places), classes
