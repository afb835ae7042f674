"""Small data sets on the disk for the tests of SelfAlign."""

import numpy as np

from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.write import write_particles

BOX, PIXEL = 20, 12.0


def phantom(seed=3, n=BOX):
    """Return an asymmetric assembly of blobs."""
    rng = np.random.default_rng(seed)
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((n, n, n))
    for centre in rng.uniform(-n / 5, n / 5, (12, 3)):
        d2 = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        volume += rng.uniform(0.5, 1.5) * np.exp(-d2 / (2 * 1.2**2))
    return volume.astype(np.float32)


def write_set(folder, count=12, snr=0.5, seed=0, reference=None, n=BOX, name="p"):
    """Write subtomograms with a wedge, their reference and their true poses; return the poses."""
    rng = np.random.default_rng(seed)
    density = phantom(n=n) if reference is None else reference
    wedge = missing_wedge(n, -60, 60)
    rotations, shifts = random_rotations(count, rng), rng.uniform(-1.5, 1.5, (count, 3))
    axis = np.arange(n) - n // 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < (0.4 * n) ** 2
    images = folder / "subtomograms"
    images.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, (rotation, shift) in enumerate(zip(rotations, shifts)):
        clean = rotate_volume(density, rotation, translation_px=-shift, order=3)
        noise = rng.standard_normal(clean.shape) * np.sqrt(density[inside].var() / snr)
        paths.append(images / f"{name}{i:03d}.mrc")
        write_volume(paths[-1], apply_transfer(clean + noise, wedge), pixel_size_angstrom=PIXEL)
    write_volume(folder / "reference.mrc", density, pixel_size_angstrom=PIXEL)
    truth = particles_from_subtomograms(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=n,
        rotations=rotations,
        shifts_angstrom=shifts * PIXEL,
        tomograms=["t1"] * count,
    )
    write_particles(folder / "truth.star", truth)
    return rotations, shifts
