"""The molecules of a simulation: where they come from, how they move, and how they are posed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.conventions import centre_voxel
from cryodl.core.fourier.filters import low_pass
from cryodl.core.geometry.rotations import rotate_volume
from cryodl.core.io.mrc import read_volume
from cryodl.core.simulation.densities import density_facts, list_structures, load_density
from cryodl.core.simulation.half_maps import soft_mask
from cryodl.core.volumes.boxes import resample_volume
from cryodl.errors import ConfigError, InputError

FloatVolume = NDArray[np.float32]

_FINEST_PX = 2.5
"""Maps are cut at this many pixels: what is next to Nyquist does not survive a rotation."""


@dataclass(frozen=True)
class Structure:
    """A density that can be put into any pose.

    Attributes
    ----------
    name
        For tables.
    density
        ``(n, n, n)`` (z, y, x), bright = matter, the molecule about voxel ``n // 2``.
    coefficients
        Its cubic spline.
    mask
        True inside the molecule.
    radius_px
        Of the ball about the centre voxel that holds the mask.
    """

    name: str
    density: FloatVolume
    coefficients: FloatVolume
    mask: NDArray[np.bool_]
    radius_px: float

    def posed(
        self,
        rotation: NDArray[np.float64],
        translation_px: Sequence[float] | NDArray[np.float64],
        box_size_px: int,
    ) -> FloatVolume:
        """Return the density turned by A and moved by t (x, y, z), in a box of its own size."""
        return _resampled(self.coefficients, rotation, translation_px, box_size_px, order=3)

    def posed_mask(
        self,
        rotation: NDArray[np.float64],
        translation_px: Sequence[float] | NDArray[np.float64],
        box_size_px: int,
    ) -> NDArray[np.bool_]:
        """Return the mask in the same pose."""
        mask = self.mask.astype(np.float32)
        inside: NDArray[np.bool_] = (
            _resampled(mask, rotation, translation_px, box_size_px, order=1) > 0.5
        )
        return inside


def make_structure(name: str, density: FloatVolume) -> Structure:
    """Prepare a density for posing.

    Parameters
    ----------
    name
        For tables.
    density
        ``(n, n, n)``, 8 voxels or more, finite, not constant, bright = matter.

    Raises
    ------
    InputError
        If the density is not such a cube.
    """
    density = np.ascontiguousarray(density, dtype=np.float32)
    mask = soft_mask(density, lowpass_px=1.0) > 0.5
    n = density.shape[0]
    places = np.argwhere(mask) - centre_voxel(n)
    coefficients = ndimage.spline_filter(density, order=3, output=np.float32, mode="mirror")
    radius = float(np.sqrt(np.max(np.sum(places**2, axis=1))))
    return Structure(name, density, coefficients, mask, radius)


def load_structure(
    structure: str, box_size_px: int, pixel_size_angstrom: float | None
) -> tuple[FloatVolume, float]:
    """Return a shipped density or a map from a file on the wanted grid.

    Parameters
    ----------
    structure
        Name of a shipped density, or path of a cubic MRC file.
    box_size_px
        Edge n of the result.
    pixel_size_angstrom
        Pixel size of the result; None keeps the field of view.

    Returns
    -------
    density : numpy.ndarray
        float32, ``(n, n, n)`` (z, y, x).
    pixel_size_angstrom : float
        Pixel size of the result.

    Raises
    ------
    ConfigError
        If there is neither such a density nor such a file.
    InputError
        If the file is not a cube with a pixel size.
    """
    if structure in list_structures():
        return load_density(structure, box_size_px, pixel_size_angstrom)
    if not Path(structure).is_file():
        raise ConfigError(
            f"--structure: found {structure!r}, expected a file or one of "
            f"{', '.join(list_structures())}"
        )
    volume = read_volume(structure, require_cubic=True)
    stored_pixel = volume.pixel_size_angstrom
    wanted = pixel_size_angstrom or stored_pixel * volume.data.shape[0] / box_size_px
    return resample_volume(volume.data, stored_pixel, box_size_px, wanted), wanted


def load_structures(
    names: Sequence[str],
    pixel_size_angstrom: float,
    *,
    largest_box_px: int | None = None,
    resolution_angstrom: float | None = None,
    equalise: bool = False,
) -> list[Structure]:
    """Load densities at one pixel size, each in the smallest box that holds it.

    Parameters
    ----------
    names
        Shipped densities or paths of cubic MRC files.
    pixel_size_angstrom
        Pixel size wanted.
    largest_box_px
        Edge that no molecule may exceed.
    resolution_angstrom
        Finest detail kept; None is 2.5 pixels.
    equalise
        True scales every density to the same deviation inside its mask, so that classes cannot
        be told by their contrast.

    Raises
    ------
    ConfigError
        No such structure, none at all, or one that does not fit.
    InputError
        A file that is not a cubic density.
    """
    if not names:
        raise ConfigError("--structure: found none, expected one or more")
    finest = max(_FINEST_PX * pixel_size_angstrom, resolution_angstrom or 0.0)
    structures = []
    for name in names:
        field = _field_angstrom(name)
        box = max(16, 2 * math.ceil(field / pixel_size_angstrom / 2) + 2)
        density, _ = load_structure(name, box, pixel_size_angstrom)
        structure = make_structure(Path(name).stem, low_pass(density, finest, pixel_size_angstrom))
        if largest_box_px is not None and 2 * structure.radius_px > largest_box_px:
            needed = 2 * structure.radius_px * pixel_size_angstrom
            raise ConfigError(
                f"--structure {name}: found a molecule of {needed:.0f} A, which a box of "
                f"{largest_box_px} px of {pixel_size_angstrom:g} A cuts; take a larger box or "
                "coarser pixels"
            )
        if equalise:
            scale = float(np.std(structure.density[structure.mask]))
            structure = make_structure(structure.name, structure.density / np.float32(scale))
        structures.append(structure)
    return structures


def bend(structure: Structure, angle_degrees: float, edge_px: float = 2.0) -> Structure:
    """Turn the half of a molecule above its centre about the x axis: a hinge.

    Parameters
    ----------
    structure
        The molecule at rest.
    angle_degrees
        Turn of the upper half (z above the centre voxel).
    edge_px
        Width of the seam.
    """
    n = structure.density.shape[0]
    z = np.arange(n, dtype=np.float64) - centre_voxel(n)
    upper = (0.5 + 0.5 * np.tanh(z / edge_px)).astype(np.float32)[:, None, None]
    angle = math.radians(angle_degrees)
    turn = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, math.cos(angle), -math.sin(angle)],
            [0.0, math.sin(angle), math.cos(angle)],
        ]
    )
    moved = rotate_volume(structure.density * upper, turn, order=3)
    bent = make_structure(structure.name, structure.density * (1 - upper) + moved)
    return replace(bent, name=f"{structure.name} {angle_degrees:+.1f}")


def states_of(
    structures: Sequence[Structure], motion_degrees: float, steps: int
) -> list[list[Structure]]:
    """Return for each structure its states, `steps` of them over the range of the hinge.

    Raises
    ------
    ConfigError
        A number of steps below 1, or more than one step of no motion.
    """
    if steps < 1 or (steps > 1 and motion_degrees == 0):
        raise ConfigError(
            f"motion: found {steps} steps over {motion_degrees} degrees, expected 1 step or more, "
            "and a motion above 0 where there are several"
        )
    if steps == 1 and motion_degrees == 0:
        return [[structure] for structure in structures]
    angles = np.linspace(-motion_degrees / 2, motion_degrees / 2, steps)
    if steps == 1:
        angles = np.array([motion_degrees])
    return [[bend(structure, float(angle)) for angle in angles] for structure in structures]


def random_blob(
    radius_px: float, elongation: float, rng: np.random.Generator, name: str = "blob"
) -> Structure:
    """Return a lumpy ellipsoid that is no molecule: a decoy.

    Parameters
    ----------
    radius_px
        Half the length of its long axis.
    elongation
        Long axis over the short ones, 1 or more.
    rng
        Source of randomness.
    name
        For tables.
    """
    n = max(16, 2 * math.ceil(radius_px) + 6)
    axis = np.arange(n) - centre_voxel(n)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    short = radius_px / elongation
    distance = np.sqrt((z / radius_px) ** 2 + (y**2 + x**2) / short**2)
    body = 1.0 / (1.0 + np.exp(np.clip((distance - 0.85) * short / 0.5, -50, 50)))
    lumps = ndimage.gaussian_filter(rng.standard_normal((n, n, n)), max(1.0, short / 4))
    lumps /= lumps.std()
    return make_structure(name, (body * (1.0 + 0.4 * lumps)).astype(np.float32))


def _field_angstrom(name: str) -> float:
    if name in list_structures():
        facts = density_facts(name)
        return facts.box_size_px * facts.pixel_size_angstrom
    if not Path(name).is_file():
        raise ConfigError(
            f"--structure: found {name!r}, expected a file or one of {', '.join(list_structures())}"
        )
    volume = read_volume(name, require_cubic=True)
    return float(volume.data.shape[0] * volume.pixel_size_angstrom)


def _resampled(
    source: FloatVolume,
    rotation: NDArray[np.float64],
    translation_px: Sequence[float] | NDArray[np.float64],
    box_size_px: int,
    order: int,
) -> FloatVolume:
    """Sample a volume (spline coefficients when `order` is 3) at ``A^T (x - t)``."""
    matrix = np.asarray(rotation, dtype=np.float64)
    if matrix.shape != (3, 3):
        raise InputError(f"rotation: found shape {matrix.shape}, expected one 3 x 3 matrix")
    inverse_zyx = matrix.T[::-1, ::-1]
    target = centre_voxel(box_size_px) + np.asarray(translation_px, dtype=np.float64)[::-1]
    offset = centre_voxel(source.shape[0]) - inverse_zyx @ target
    moved: FloatVolume = ndimage.affine_transform(
        source,
        inverse_zyx,
        offset,
        output_shape=(box_size_px,) * 3,
        output=np.float32,
        order=order,
        mode="constant",
        prefilter=False,
    )
    return moved
