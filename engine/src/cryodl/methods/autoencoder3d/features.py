"""What particles are told apart by, how stable the groups are, and how many there may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.clustering.kmeans import KMeans, kmeans
from cryodl.core.evaluation.partitions import adjusted_rand_index, silhouette
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.invariants import invariant_features
from cryodl.methods.autoencoder3d.pose_normalization import Pose, apply_pose
from cryodl.methods.autoencoder3d.trained import Trained

COMPONENTS = 32
_NEARLY_AS_STABLE = 0.02
_FEW_STARTS = 5
Points = NDArray[np.float64]


def principal_components(values: NDArray, most: int = COMPONENTS) -> Points:
    """Return the coordinates of rows along their principal components, (N, d)."""
    data = np.asarray(values, dtype=np.float64)
    data = data - data.mean(axis=0)
    count = min(most, *data.shape)
    # Of the smaller of the two products: a few hundred rows of thousands of voxels.
    if data.shape[0] <= data.shape[1]:
        powers, vectors = np.linalg.eigh(data @ data.T)
        order = np.argsort(-powers)[:count]
        return vectors[:, order] * np.sqrt(np.maximum(powers[order], 0))
    _, vectors = np.linalg.eigh(data.T @ data)
    return np.asarray(data @ vectors[:, ::-1][:, :count])


def feature_sets(trained: Trained, wanted: str) -> dict[str, Points]:
    """Return the candidates that a choice of ``--features`` stands for, by name."""
    makers: dict[str, Callable[[], Points]] = {
        "code": lambda: trained.codes.astype(np.float64),
        "invariant": lambda: _invariants(trained),
        "voxels": lambda: principal_components(trained.posed.reshape(len(trained.posed), -1)),
    }
    if wanted == "auto":
        return {name: make() for name, make in makers.items()}
    if wanted == "joint":
        return {"joint": joined([make() for make in makers.values()])}
    return {wanted: makers[wanted]()}


def joined(parts: list[Points]) -> Points:
    """Put features side by side, each kind with the same total variance."""
    scaled = []
    for part in parts:
        total = float(np.sqrt(part.var(axis=0).sum()))
        scaled.append(part / total if total > 0 else part)
    return np.concatenate(scaled, axis=1)


def _invariants(trained: Trained) -> Points:
    """Return invariants about the centres of mass; volumes are never turned for them."""
    centred = np.empty(trained.boxes.shape, dtype=np.float32)
    for index, centre in enumerate(trained.centres_px):
        box = trained.boxes[index].astype(np.float32)
        centred[index] = apply_pose(box, Pose(np.eye(3), centre), order=1) if centre.any() else box
    return principal_components(invariant_features(centred))


@dataclass(frozen=True)
class Trial:
    """One number of groups with one kind of features.

    Attributes
    ----------
    features : str
        Which.
    clusters : int
        How many.
    stability : float
        Mean adjusted Rand index of groups learned from two halves of the particles.
    silhouette : float
        Of the groups of all.
    inertia : float
        Of k-means.
    """

    features: str
    clusters: int
    stability: float
    silhouette: float
    inertia: float


def stability(points: Points, clusters: int, *, seed: int, seeds: int) -> float:
    """Return how far groups learned from one half of the particles are those of the other.

    Both sort all particles; the measure is the adjusted Rand index, the mean of several splits.
    """
    if len(points) < 4 * clusters:
        return 0.0
    found = []
    for number in range(seeds):
        order = np.random.default_rng((seed, number)).permutation(len(points))
        halves = order[::2], order[1::2]
        labels = [
            assign(points, kmeans(points[half], clusters, seed=number, starts=_FEW_STARTS).centres)
            for half in halves
        ]
        found.append(adjusted_rand_index(*labels))
    return float(np.mean(found))


def assign(points: Points, centres: Points) -> NDArray[np.int64]:
    """Return the nearest centre of each point."""
    squared = np.square(centres).sum(axis=1) - 2 * points @ centres.T
    return squared.argmin(axis=1).astype(np.int64)


def try_out(
    name: str, points: Points, clusters: int, *, seed: int, seeds: int, starts: int
) -> tuple[Trial, KMeans]:
    """Group points and measure how good the groups are."""
    found = kmeans(points, clusters, seed=seed, starts=starts)
    steady = stability(points, clusters, seed=seed, seeds=seeds) if clusters > 1 else 1.0
    trial = Trial(name, clusters, steady, silhouette(points, found.labels), found.inertia)
    return trial, found


def best_features(trials: list[Trial]) -> Trial:
    """Return the most stable trial of one number of groups; of equals the best separated."""
    top = max(trial.stability for trial in trials)
    near = [trial for trial in trials if trial.stability >= top - _NEARLY_AS_STABLE]
    return max(near, key=lambda trial: trial.silhouette)


def best_number(trials: list[Trial]) -> int:
    """Return the number of groups that repeats well and separates well."""
    return max(trials, key=lambda trial: trial.stability + trial.silhouette).clusters


def check_count(clusters: int, particles: int, source: object) -> None:
    """Refuse more groups than particles."""
    if clusters > particles:
        raise InputError(
            f"--clusters: found {clusters} for the {particles} particles of {source}, expected at "
            "most as many; ask for fewer"
        )
