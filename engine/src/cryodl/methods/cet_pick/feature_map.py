"""From codes to a map on which alike lies beside alike, and to clusters."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

_COMPONENTS = 12
_MOST_LANDMARKS = 1500  # distances of all pairs are held in memory
_NEIGHBOURS = 5
_ITERATIONS = 400
_EARLY = 100
_EXAGGERATION = 6.0
_TRIES = 8


def principal_components(codes: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return (n, up to `count`) coordinates along the directions of the largest variance."""
    centred = codes.astype(np.float64) - codes.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(count, len(s))
    found: NDArray[np.float64] = u[:, :kept] * s[:kept]
    # The sign of a component is free: the largest entry is made positive, for reproducibility.
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(kept)])
    return found * np.where(signs == 0, 1, signs)


def clusters_of(codes: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Return cluster numbers from 1, the largest first, by k-means on the main components."""
    from scipy.cluster.vq import kmeans2

    points = principal_components(codes, _COMPONENTS)
    count = min(count, len(points))
    best, least = np.zeros(len(points), np.int64), np.inf
    for attempt in range(_TRIES):
        centres, labels = kmeans2(points, count, minit="++", seed=seed + attempt, missing="warn")
        spread = float(((points - centres[labels]) ** 2).sum())
        if spread < least:
            best, least = labels.astype(np.int64), spread
    sizes = np.bincount(best, minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return rank[best]


def plane_map(codes: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float64], str]:
    """Return places (n, 2) on the map within [-1, 1], and the name of the method.

    UMAP where it is installed, else t-SNE of at most some thousand, the others put among their
    nearest; principal components where there are only a few.
    """
    points = principal_components(codes, _COMPONENTS)
    if len(points) < 3 * _NEIGHBOURS:
        return _scaled(points[:, :2]), "principal components"
    if find_spec("umap") is not None:
        return _scaled(_umap(points, seed)), "UMAP"
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(points))[:_MOST_LANDMARKS])
    placed = tsne(points[chosen], generator=generator)
    if len(chosen) == len(points):
        return _scaled(placed), "t-SNE"
    return _scaled(_among_neighbours(points, points[chosen], placed)), "t-SNE"


def _umap(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    import umap

    found: NDArray[np.float64] = umap.UMAP(random_state=seed).fit_transform(points)
    return found


def _among_neighbours(
    points: NDArray[np.float64], landmarks: NDArray[np.float64], placed: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    distance, near = cKDTree(landmarks).query(points, _NEIGHBOURS)
    weight = 1 / (distance + 1e-9)
    weight /= weight.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = (placed[near] * weight[:, :, None]).sum(axis=1)
    return found


def _scaled(places: NDArray[np.float64]) -> NDArray[np.float64]:
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros((len(places), 2 - places.shape[1]))])
    centred = places - (places.max(axis=0) + places.min(axis=0)) / 2
    # Distances on such maps mean nothing but near and far: both axes are filled.
    found: NDArray[np.float64] = centred / np.maximum(np.abs(centred).max(axis=0), 1e-12)
    return found


def tsne(
    points: NDArray[np.float64],
    *,
    perplexity: float = 30.0,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Return places (n, 2) in which neighbours of `points` stay neighbours.

    van der Maaten and Hinton, JMLR 2008, all pairs exactly; begun at the main components.

    Parameters
    ----------
    points : numpy.ndarray
        (n, c).
    perplexity : float
        About how many neighbours count; lowered for few points.
    generator : numpy.random.Generator
        Parts points that coincide.
    """
    wanted = _joint_chances(points, min(perplexity, (len(points) - 1) / 3))
    start = principal_components(points.astype(np.float32), 2)
    places = 1e-2 * start / max(float(start.std()), 1e-12)
    places += 1e-4 * generator.standard_normal(places.shape)
    speed, gains = np.zeros_like(places), np.ones_like(places)
    rate = max(len(points) / 12, 50.0)
    for iteration in range(_ITERATIONS):
        early = iteration < _EARLY
        squared = _squared_distances(places)
        kernel = 1 / (1 + squared)
        np.fill_diagonal(kernel, 0)
        force = (wanted * (_EXAGGERATION if early else 1.0) - kernel / kernel.sum()) * kernel
        slope = 4 * (force.sum(axis=1)[:, None] * places - force @ places)
        gains = np.where(slope * speed > 0, np.maximum(0.8 * gains, 0.01), gains + 0.2)
        speed = (0.5 if early else 0.8) * speed - rate * gains * slope
        places = places + speed
        places -= places.mean(axis=0)
    return places


def _squared_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = (points**2).sum(axis=1)
    found: NDArray[np.float64] = norms[:, None] + norms - 2 * points @ points.T
    return np.maximum(found, 0)


def _joint_chances(points: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Return symmetric chances of being neighbours, of the same entropy for every point."""
    squared = _squared_distances(points)
    np.fill_diagonal(squared, np.inf)
    squared -= squared.min(axis=1, keepdims=True)  # the same chances, and no underflow
    low, high = np.full(len(points), -30.0), np.full(len(points), 30.0)  # log of the precision
    for _ in range(40):
        middle = (low + high) / 2
        weight = np.exp(-squared * np.exp(middle)[:, None])
        total = weight.sum(axis=1)
        chance = weight / total[:, None]
        entropy = -(chance * np.log(np.maximum(chance, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    found: NDArray[np.float64] = (chance + chance.T) / (2 * len(points))
    return np.maximum(found, 1e-12)
