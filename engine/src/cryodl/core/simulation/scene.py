"""A crowded piece of ice: molecules, decoys, membranes and gold beads, none inside another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.simulation.membranes import bead_profile, bilayer_profile
from cryodl.core.simulation.noise import smooth_volume
from cryodl.core.simulation.poses import draw_classes
from cryodl.core.simulation.structures import Structure, random_blob
from cryodl.errors import ConfigError

FloatVolume = NDArray[np.float32]
FloatArray = NDArray[np.float64]

_CANDIDATES = 128
_ROUNDS = 60


@dataclass(frozen=True)
class SceneSettings:
    """What is in the ice; lengths in pixels.

    Attributes
    ----------
    number
        Of particles.
    proportions
        Of the structures; None is equal.
    spacing
        Least distance of two centres, in units of the sum of their radii.
    border_px
        Least distance of centres from the faces of the volume; None is their radius.
    decoys
        Lumpy balls (smaller than the particles) and rods, in turn.
    vesicles, sheets
        Closed and flat membranes.
    vesicle_radius_px
        Mean radius; None is what the thickness of the ice allows.
    membrane_thickness_px
        Between the leaflets.
    beads, bead_radius_px, bead_contrast
        Gold beads; their density in units of that of the particles.
    texture
        Deviation of the uneven ice, in units of the density of the particles.
    texture_correlation_px
        Its smoothness.
    """

    number: int = 100
    proportions: tuple[float, ...] | None = None
    spacing: float = 1.0
    border_px: float | None = None
    decoys: int = 0
    vesicles: int = 0
    sheets: int = 0
    vesicle_radius_px: float | None = None
    membrane_thickness_px: float = 4.0
    beads: int = 0
    bead_radius_px: float = 5.0
    bead_contrast: float = 8.0
    texture: float = 0.0
    texture_correlation_px: float = 3.0


@dataclass(frozen=True)
class Scene:
    """The specimen and its truth; coordinates (x, y, z) are counted from the first voxel.

    Attributes
    ----------
    particles
        (z, y, x) density of the particles alone.
    others
        Density of everything else.
    labels
        uint8: 0 ice, then the classes, then membrane, gold, decoy.
    coordinates_px, rotations, classes, states
        Of the particles that found room.
    decoys_px, beads_px
        Where those are.
    number_classes
        Labels up to this are particles.
    """

    particles: FloatVolume
    others: FloatVolume
    labels: NDArray[np.uint8]
    coordinates_px: FloatArray
    rotations: FloatArray
    classes: NDArray[np.int64]
    states: NDArray[np.int64]
    decoys_px: FloatArray
    beads_px: FloatArray
    number_classes: int


@dataclass(frozen=True)
class _Wall:
    """A membrane: a sphere about `centre` of `radius`, or a plane when the radius is infinite."""

    centre: FloatArray
    radius: float
    normal: FloatArray

    def distance(self, points_xyz: FloatArray) -> FloatArray:
        """Return the signed distance from the middle of the membrane."""
        away = points_xyz - self.centre
        if math.isinf(self.radius):
            return np.asarray(away @ self.normal, dtype=np.float64)
        return np.asarray(np.linalg.norm(away, axis=-1) - self.radius, dtype=np.float64)


def build_scene(
    shape_zyx: tuple[int, int, int],
    structures: Sequence[Sequence[Structure]],
    settings: SceneSettings,
    rng: np.random.Generator,
) -> Scene:
    """Fill a volume.

    Parameters
    ----------
    shape_zyx
        Of the volume.
    structures
        By class, then by state.
    settings
        What is asked for. What finds no room is left out: the scene tells what is there.
    rng
        Source of randomness.

    Raises
    ------
    ConfigError
        A number below 0, or a volume too thin for a particle.
    """
    _check(settings, shape_zyx, structures)
    walls = _draw_walls(shape_zyx, settings, rng)
    placer = _Placer(shape_zyx, walls, settings, rng)
    beads = placer.place([settings.bead_radius_px] * settings.beads)
    classes = draw_classes(settings.number, settings.proportions, len(structures), rng)
    states = rng.integers(0, len(structures[0]), settings.number)
    chosen = [structures[c - 1][s] for c, s in zip(classes, states)]
    # the largest first, while there is room
    order = np.argsort([-structure.radius_px for structure in chosen], kind="stable")
    places = np.full((settings.number, 3), np.nan)
    places[order] = placer.place([chosen[i].radius_px for i in order])
    size = min(states_of_class[0].radius_px for states_of_class in structures)
    blobs = [_decoy(i, size, rng) for i in range(settings.decoys)]
    decoys = placer.place([blob.radius_px for blob in blobs])
    there = np.isfinite(places[:, 0])
    kept = np.flatnonzero(there)
    canvas = _Canvas(shape_zyx, len(structures))
    brightness = float(np.mean(structures[0][0].density[structures[0][0].mask]))
    rotations = random_rotations(settings.number, rng)
    for index in kept:
        canvas.add(
            canvas.particles, chosen[index], places[index], rotations[index], int(classes[index])
        )
    for blob, place, turn in zip(blobs, decoys, random_rotations(max(len(blobs), 1), rng)):
        if np.isfinite(place[0]):
            canvas.add(canvas.others, blob, place, turn, len(structures) + 3, brightness)
    canvas.add_walls(walls, settings.membrane_thickness_px, brightness)
    canvas.add_beads(beads, settings.bead_radius_px, brightness * settings.bead_contrast)
    if settings.texture > 0:
        canvas.others += np.float32(settings.texture * brightness) * smooth_volume(
            shape_zyx, settings.texture_correlation_px, rng
        )
    return Scene(
        particles=canvas.particles,
        others=canvas.others,
        labels=canvas.labels,
        coordinates_px=places[kept],
        rotations=rotations[kept],
        classes=classes[kept],
        states=states[kept],
        decoys_px=decoys[np.isfinite(decoys[:, 0])],
        beads_px=beads[np.isfinite(beads[:, 0])],
        number_classes=len(structures),
    )


class _Placer:
    """Draws places at random until one is free of everything placed before."""

    def __init__(
        self,
        shape_zyx: tuple[int, int, int],
        walls: list[_Wall],
        settings: SceneSettings,
        rng: np.random.Generator,
    ) -> None:
        self._size_xyz = np.array(shape_zyx[::-1], dtype=np.float64)
        self._walls, self._settings, self._rng = walls, settings, rng
        self._places = np.empty((0, 3))
        self._radii = np.empty(0)

    def place(self, radii: Sequence[float]) -> FloatArray:
        """Return (N, 3) places (x, y, z), NaN for what found none."""
        found = np.full((len(radii), 3), np.nan)
        for index, radius in enumerate(radii):
            for _ in range(_ROUNDS):
                free = self._free_candidates(radius)
                if len(free):
                    found[index] = free[0]
                    self._places = np.vstack([self._places, free[:1]])
                    self._radii = np.append(self._radii, radius)
                    break
        return found

    def _free_candidates(self, radius: float) -> FloatArray:
        border = self._settings.border_px
        edge = min(radius, float(self._size_xyz.min() - 1) / 2) if border is None else border
        points = self._rng.uniform(edge, self._size_xyz - 1 - edge, (_CANDIDATES, 3))
        free = np.ones(len(points), dtype=bool)
        for wall in self._walls:
            room = radius + 0.75 * self._settings.membrane_thickness_px
            free &= np.abs(wall.distance(points)) >= room
        if len(self._places):
            distance = np.linalg.norm(points[:, None] - self._places[None], axis=2)
            free &= (distance >= self._settings.spacing * (radius + self._radii)).all(axis=1)
        return points[free]


class _Canvas:
    """The volumes of a scene while it is painted."""

    def __init__(self, shape_zyx: tuple[int, int, int], classes: int) -> None:
        self.particles: FloatVolume = np.zeros(shape_zyx, dtype=np.float32)
        self.others: FloatVolume = np.zeros(shape_zyx, dtype=np.float32)
        self.labels: NDArray[np.uint8] = np.zeros(shape_zyx, dtype=np.uint8)
        self._classes = classes

    def add(
        self,
        volume: FloatVolume,
        structure: Structure,
        place_xyz: FloatArray,
        rotation: FloatArray,
        label: int,
        scale: float = 1.0,
    ) -> None:
        """Add a molecule and label its voxels."""
        box = 2 * math.ceil(structure.radius_px) + 5
        whole = np.floor(place_xyz + 0.5)
        posed = structure.posed(rotation, place_xyz - whole, box)
        inside = structure.posed_mask(rotation, place_xyz - whole, box)
        outer, inner = [], []
        for start, n in zip(whole[::-1].astype(int) - box // 2, volume.shape):
            low, high = max(0, -start), min(box, n - start)
            outer.append(slice(start + low, start + high))
            inner.append(slice(low, high))
        volume[tuple(outer)] += np.float32(scale) * posed[tuple(inner)]
        self.labels[tuple(outer)][inside[tuple(inner)]] = label

    def add_walls(self, walls: list[_Wall], thickness_px: float, brightness: float) -> None:
        """Add the membranes, where nothing else is."""
        if not walls:
            return
        depth, height, width = self.others.shape
        y, x = np.mgrid[:height, :width].astype(np.float64)
        for z in range(depth):
            points = np.stack([x, y, np.full_like(x, z)], axis=-1)
            for wall in walls:
                distance = wall.distance(points)
                near = np.abs(distance) < 1.5 * thickness_px
                if near.any():
                    sheet = brightness * bilayer_profile(distance[near], thickness_px)
                    self.others[z][near] += sheet.astype(np.float32)
                    body = (np.abs(distance) <= 0.75 * thickness_px) & (self.labels[z] == 0)
                    self.labels[z][body] = self._classes + 1

    def add_beads(self, beads_px: FloatArray, radius_px: float, brightness: float) -> None:
        """Add gold beads; places that are NaN are left out."""
        for place in beads_px[np.isfinite(beads_px[:, 0])]:
            reach = math.ceil(radius_px) + 2
            window = tuple(slice(max(0, int(c) - reach), int(c) + reach + 1) for c in place[::-1])
            grids = np.mgrid[
                tuple(slice(w.start, min(w.stop, n)) for w, n in zip(window, self.others.shape))
            ]
            distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grids, place[::-1])))
            bead = bead_profile(distance, radius_px)
            self.others[window] += (brightness * bead).astype(np.float32)
            self.labels[window][bead >= 0.5] = self._classes + 2


def _draw_walls(
    shape_zyx: tuple[int, int, int], settings: SceneSettings, rng: np.random.Generator
) -> list[_Wall]:
    size = np.array(shape_zyx[::-1], dtype=np.float64)
    walls = []
    for _ in range(settings.vesicles):
        mean = settings.vesicle_radius_px or 0.4 * float(size.min())
        radius = mean * rng.uniform(0.75, 1.15)
        margin = np.minimum(radius + settings.membrane_thickness_px, (size - 1) / 2)
        walls.append(_Wall(rng.uniform(margin, size - 1 - margin), radius, np.zeros(3)))
    for _ in range(settings.sheets):
        angle = rng.uniform(0, 2 * np.pi)
        lean = np.radians(rng.uniform(-20, 20))
        normal = np.array(
            [math.cos(angle) * math.cos(lean), math.sin(angle) * math.cos(lean), math.sin(lean)]
        )
        walls.append(_Wall(rng.uniform(0.2, 0.8, 3) * (size - 1), math.inf, normal))
    return walls


def _decoy(index: int, radius_px: float, rng: np.random.Generator) -> Structure:
    """Return a ball smaller than the particles, or a rod as long as they are, in turn."""
    if index % 2 == 0:
        return random_blob(rng.uniform(0.35, 0.6) * radius_px, 1.0, rng, "ball")
    return random_blob(rng.uniform(0.9, 1.3) * radius_px, rng.uniform(2.5, 4.0), rng, "rod")


def _check(
    settings: SceneSettings,
    shape_zyx: tuple[int, int, int],
    structures: Sequence[Sequence[Structure]],
) -> None:
    counts = ("number", "decoys", "vesicles", "sheets", "beads")
    for name in counts:
        if getattr(settings, name) < 0:
            raise ConfigError(f"{name}: found {getattr(settings, name)}, expected 0 or more")
    for states in structures:
        thickest = max(state.radius_px for state in states)
        if settings.border_px is None and 2 * thickest > min(shape_zyx):
            raise ConfigError(
                f"tomogram: found {min(shape_zyx)} px along one axis, but {states[0].name} is "
                f"{2 * thickest:.0f} px across; make it larger, or the pixels coarser"
            )
    if len(structures) + 3 > 255:
        raise ConfigError(f"structures: found {len(structures)}, expected 252 or fewer")
