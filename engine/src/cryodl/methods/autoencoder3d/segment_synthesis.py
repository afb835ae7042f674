"""Boxes for training put together from what was measured: averages in empty places of tomograms.

The particles of one tomogram are few, and each lies in one direction only. An average turned to
any direction, seen through the wedge and laid over real background, is a particle whose mask is
known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations
from cryodl.methods.autoencoder3d.pose_normalization import Pose, undo_pose

_STRENGTHS = (0.6, 1.5)  # of the measured contrast
_TILTS_DEGREES = (40.0, 70.0)
_MOST_PARTICLES = 3  # in a box
_CLOSEST = 0.7  # of two particles, in their diameters
_MATCHED = 0.3  # correlation below which a particle says nothing about the contrast
_FEWEST = 3
_SOFT_PX = 1.0


@dataclass(frozen=True)
class Model:
    """A group as it is laid into boxes: map and mask upright, in units of the tomogram.

    Attributes
    ----------
    volume : (n, n, n) float32
        0 far from the particle.
    mask : (n, n, n) float32
        0 to 1.
    kind : int
        Class.
    strength : float
        Contrast in the working tomogram.
    share : float
        How frequent.
    """

    volume: NDArray[np.float32]
    mask: NDArray[np.float32]
    kind: int
    strength: float
    share: float

    @property
    def diameter_px(self) -> float:
        """Of a ball of the volume of the mask."""
        return float(2 * (3 * self.mask.sum() / (4 * np.pi)) ** (1 / 3))


def cleaned(average: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an average over its surroundings, 0 away from its mask."""
    near = ndimage.distance_transform_edt(mask < 0.5)
    soft = np.clip(1 - (near - _SOFT_PX) / (2 * _SOFT_PX), 0, 1).astype(np.float32)
    ring = (near > _SOFT_PX) & (near < 4 * _SOFT_PX)
    floor = float(average[ring].mean()) if ring.any() else 0.0
    return ((average - floor) * soft).astype(np.float32)


def strength_of(
    volume: NDArray[np.float32],
    poses: Sequence[Pose],
    boxes: Sequence[NDArray[np.float32]],
    wedges: Sequence[NDArray[np.float32]],
) -> float | None:
    """Return the contrast of particles in their tomogram, as a factor of their map; the median.

    None where too few of them look like the map.
    """
    found = []
    for pose, box, wedge in zip(poses, boxes, wedges, strict=True):
        expected = apply_transfer(undo_pose(volume, pose, order=1), wedge)
        expected, data = expected - expected.mean(), box - box.mean()
        power = float((expected**2).sum())
        both = float((expected * data).sum())
        if power > 0 and both > _MATCHED * np.sqrt(power * float((data**2).sum())):
            found.append(both / power)
    return float(np.median(found)) if len(found) >= _FEWEST else None


@dataclass(frozen=True)
class Synthesis:
    """Draws boxes.

    Attributes
    ----------
    models : list of Model
        What is laid in.
    background : (M, n, n, n) float16
        Boxes without particles.
    """

    models: list[Model]
    background: NDArray[np.float16]

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Return a box and its labels."""
        ground = self.background[rng.integers(len(self.background))].astype(np.float32)
        n = ground.shape[0]
        clean = np.zeros_like(ground)
        labels = np.zeros(ground.shape, dtype=np.int8)
        shares = np.array([model.share for model in self.models])
        places: list[tuple[NDArray[np.float64], float]] = []
        for _ in range(int(rng.integers(1, _MOST_PARTICLES + 1))):
            model = self.models[rng.choice(len(self.models), p=shares / shares.sum())]
            place = rng.uniform(-n / 2, n / 2, 3)
            reach = model.diameter_px
            if any(np.linalg.norm(place - p) < _CLOSEST * (reach + r) / 2 for p, r in places):
                continue
            places.append((place, reach))
            pose = Pose(random_rotations(1, rng)[0], place)
            gain = model.strength * rng.uniform(*_STRENGTHS)
            clean += np.float32(gain) * undo_pose(model.volume, pose, order=1)
            labels[undo_pose(model.mask, pose, order=1) > 0.5] = model.kind
        wedge = missing_wedge(n, -rng.uniform(*_TILTS_DEGREES), rng.uniform(*_TILTS_DEGREES))
        return ground + apply_transfer(clean, wedge), labels
