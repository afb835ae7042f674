"""Averages of the half sets, what they agree on, and references made from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryodl.core.fourier.filters import apply_shell_profile, low_pass
from cryodl.core.fourier.fsc import crossing_shell
from cryodl.core.fourier.masked_fsc import MaskedFsc, masked_fsc
from cryodl.core.volumes.averaging import WedgeAverage
from cryodl.core.volumes.masks import estimate_mask, soft_sphere
from cryodl.core.volumes.particle_average import average_particles
from cryodl.errors import InputError
from cryodl.methods.selfalign.inputs import CheckedParticles

Floats = NDArray[np.float64]
Map = NDArray[np.float32]
_PARTICLES_OF_A_PASS = 16
# Early rounds trust only what the halves clearly agree on.
STRICT, LENIENT = 0.5, 0.143


@dataclass(frozen=True)
class HalfMaps:
    """Averages of the half sets and of all."""

    half1: Map
    half2: Map
    average: Map


def average_halves(
    checked: CheckedParticles,
    rotations: Floats,
    shifts_px: Floats,
    halves: NDArray[np.int64],
    kept: NDArray[np.bool_],
    device: str = "cpu",
) -> HalfMaps:
    """Average particles in poses of the frame of their boxes.

    Raises
    ------
    InputError
        A half set is empty.
    """
    particles = checked.particles
    total = WedgeAverage(
        particles.box_size_px,
        checked.settings.symmetry,
        weighting="premultiplied" if checked.volumes.premultiplied else "transfer",
        device=device,
    )
    chosen = np.flatnonzero(kept)
    for half in (1, 2):
        if not (halves[chosen] == half).any():
            raise InputError(
                f"half set {half}: has no particles, expected some in each; correct "
                "rlnRandomSubset or give more particles"
            )
    if particles.image_kind == "tilt_stack":
        return _of_tilt_images(checked, rotations, shifts_px, halves, chosen)
    for start in range(0, len(chosen), _PARTICLES_OF_A_PASS):
        rows = chosen[start : start + _PARTICLES_OF_A_PASS]
        volumes, transfers = checked.read(rows)
        total.add(volumes, rotations[rows], shifts_px[rows], transfers, half_sets=halves[rows])
    half1, half2 = total.halves(floor=0.1)
    return HalfMaps(half1, half2, total.result(floor=0.1))


def _of_tilt_images(
    checked: CheckedParticles,
    rotations: Floats,
    shifts_px: Floats,
    halves: NDArray[np.int64],
    chosen: NDArray[np.integer],
) -> HalfMaps:
    """Average from the images themselves, which is more exact than from their volumes."""
    shifts = shifts_px * checked.pixel_size_angstrom
    posed = checked.particles.with_poses(rotations, shifts).with_half_sets(halves)
    found = average_particles(posed.subset(chosen), replace(checked.settings, floor=0.1))
    sign = np.float32(checked.sign)
    return HalfMaps(sign * found.half1, sign * found.half2, sign * found.average)


def agreement(
    maps: HalfMaps, mask: Map | None, pixel_size_angstrom: float
) -> tuple[MaskedFsc, Map]:
    """Return the gold-standard FSC, and the mask it was measured in."""
    region = default_mask(maps.average.shape[0]) if mask is None else mask
    return masked_fsc(maps.half1, maps.half2, region, pixel_size_angstrom), region


def default_mask(n: int) -> Map:
    """Return a sphere that leaves out the rim of the box."""
    return soft_sphere(n, 0.4 * n, max(3.0, 0.08 * n))


def close_mask(average: Map, pixel_size_angstrom: float) -> Map | None:
    """Return a mask about a good average, None if it cannot be told from its surroundings."""
    n = average.shape[0]
    try:
        mask = estimate_mask(
            average, pixel_size_angstrom, 6 * pixel_size_angstrom, extend_px=0.06 * n, edge_px=4
        )
    except InputError:
        return None
    share = float(mask.mean())
    return mask if 0.01 < share < 0.5 else None


def band_of(fsc: Floats, threshold: float, least: int) -> int:
    """Return the last shell before the curve falls below a threshold, at least `least`."""
    crossing = crossing_shell(fsc, threshold)
    shell = len(fsc) - 2 if crossing is None else int(np.floor(crossing))
    return int(np.clip(shell, least, len(fsc) - 2))


def reference_of_half(half: Map, fsc: Floats, shell: int) -> Map:
    """Weight the shells of a half map by what is true of them, and end at a shell.

    With half maps as good as their FSC a Wiener filter multiplies by it.
    """
    profile = np.clip(fsc, 0, 1).astype(np.float32)
    profile[shell + 1 :] = 0
    profile[0] = 1
    return apply_shell_profile(half, profile)


def first_reference(reference: Map, resolution_angstrom: float, pixel: float) -> Map:
    """Low-pass the given reference."""
    if resolution_angstrom <= 2 * pixel:
        return reference
    return low_pass(reference, resolution_angstrom, pixel, soft_px=2)


def assign_halves(given: NDArray[np.int64], tomograms: list[str], seed: int) -> NDArray[np.int64]:
    """Return a half set for each particle: as given, else by chance, even in each tomogram."""
    halves = np.array(given)
    generator = np.random.default_rng(seed)
    names = np.array(tomograms)
    for name in sorted(set(tomograms)):
        free = np.flatnonzero((names == name) & (halves == 0))
        generator.shuffle(free)
        counts = [(halves == 1).sum(), (halves == 2).sum()]
        first = 1 if counts[0] <= counts[1] else 2
        halves[free[::2]], halves[free[1::2]] = first, 3 - first
    return halves


def kept_by_score(scores: Floats, halves: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Return which particles of each half have the best scores."""
    kept = np.ones(len(scores), dtype=bool)
    if share >= 1:
        return kept
    for half in (1, 2):
        members = np.flatnonzero(halves == half)
        count = max(1, round(share * len(members)))
        order = members[np.argsort(scores[members])]
        kept[order[: len(members) - count]] = False
    return kept
