"""Do labelled points lie on matter? Tells wrong axes, binning and contrast before training.

The mean density around the points is compared with that around random places. Points that were
read with the right axes at the right scale stand out; no other reading of them should.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cryodl.methods.cet_pick.tomogram import WorkingTomogram

_RANDOM_PLACES = 300
_SCALES = (0.125, 0.25, 0.5, 2.0, 4.0, 8.0)
_AXES = "xyz"
SURE_SIGMAS = 6.0
_WEAK_SIGMAS = 3.0
_CLEARLY_BETTER = 2.0
_MOST_DEVIATIONS = 4.0  # of a voxel: a gold bead is no more than that, or it would drown particles


class Evidence:
    """Standing of points in one tomogram, file voxels and file contrast.

    Parameters
    ----------
    tomogram : WorkingTomogram
        The tomogram; its contrast setting is not used.
    bbox_px : float
        Diameter of the particles.
    seed : int
        Of the random places.
    """

    def __init__(self, tomogram: WorkingTomogram, bbox_px: float, seed: int = 0) -> None:
        self._tomogram = tomogram
        self._edge = max(3, round(bbox_px / 2))
        generator = np.random.default_rng(seed)
        shape = np.array(tomogram.file_shape)[::-1]
        places = generator.uniform(0, 1, (_RANDOM_PLACES, 3)) * (shape - 1)
        values = self._means(places)
        self._mean, self._deviation = float(values.mean()), max(float(values.std()), 1e-12)

    def inside(self, points_xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points of the working array lie inside."""
        shape = np.array(self._tomogram.file_shape)[::-1]
        found: NDArray[np.bool_] = np.all((points_xyz > -0.5) & (points_xyz < shape - 0.5), axis=1)
        return found

    def sigmas(self, points_xyz: NDArray[np.float64]) -> float:
        """Return by how many standard errors matter at the points is brighter than elsewhere."""
        kept = points_xyz[self.inside(points_xyz)]
        if not len(kept):
            return 0.0
        error = self._deviation * np.sqrt(1 / len(kept) + 1 / _RANDOM_PLACES)
        return float((self._means(kept).mean() - self._mean) / error)

    def other_reading(self, points_xyz: NDArray[np.float64]) -> str:
        """Return how else the points would fit much better, or an empty text."""
        own = abs(self.sigmas(points_xyz)) if self.inside(points_xyz).all() else 0.0
        if own > _WEAK_SIGMAS:
            return ""
        best, words = max(_WEAK_SIGMAS + 1, _CLEARLY_BETTER * own), ""
        if not self.inside(points_xyz).all():
            best = -1.0  # any reading in which all points fit says something
        for axes in permutations(range(3)):
            for scale in (1.0, *_SCALES):
                if axes == (0, 1, 2) and scale == 1.0:
                    continue
                if axes != (0, 1, 2) and scale != 1.0:
                    continue
                read = points_xyz[:, axes] * scale
                if not self.inside(read).all():
                    continue
                strength = abs(self.sigmas(read))
                if strength > best:
                    best, words = strength, _describe(axes, scale)
        return words

    def _means(self, points_xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        tomogram, half = self._tomogram, self._edge // 2
        usual = tomogram.statistics
        reach = _MOST_DEVIATIONS * usual.deviation
        thin = max(1, half // tomogram.merged)
        means = []
        for x, y, z in points_xyz:
            k, j, i = round((z + 0.5) / tomogram.merged - 0.5), round(y), round(x)
            region = ((k - thin, k + thin + 1), (j - half, j + half + 1), (i - half, i + half + 1))
            values = tomogram.smoothed(region).clip(usual.mean - reach, usual.mean + reach)
            means.append(float(values.mean()))
        return np.array(means)


def _describe(axes: tuple[int, ...], scale: float) -> str:
    if scale != 1.0:
        return f"multiplied by {scale:g} (a tomogram of another binning)"
    return f"with columns read as {''.join(_AXES[axes.index(i)] for i in range(3))}"
