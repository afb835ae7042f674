"""What a linear method sees of the same particles, for the report of each command."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.run.folder import RunFolder
from cryodl.methods.opus_tomo.clusters import cluster, silhouette
from cryodl.methods.opus_tomo.figures import scatter


def compare_clusters(
    run: RunFolder,
    linear: NDArray[np.float32],
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    colours: Mapping[str, NDArray],
) -> None:
    """Show clusters of latents beside those of the principal components of the residuals.

    Parameters
    ----------
    linear, points : (n, k), (n, d)
        Principal components of the residuals, and latents.
    labels : (n,)
        Clusters of the latents, from 1.
    colours
        Name -> values of the particles, for the scatter.
    """
    _scatter(run, linear, colours, "clusters are")
    theirs, _ = cluster(linear, int(labels.max()))
    agreement = adjusted_rand_index(labels, theirs)
    run.report.table(
        ["", "network", "linear"],
        [
            ["silhouette", silhouette(points, labels), silhouette(linear, theirs)],
            ["same cluster (adjusted Rand index)", "", agreement],
        ],
    )
    run.add_value("agreement_with_linear", agreement)


def compare_component(
    run: RunFolder, linear: NDArray[np.float32], along: NDArray[np.float64], name: str
) -> None:
    """Show a component of the latents (n,) beside the principal components of the residuals."""
    _scatter(run, linear, {name: along}, "order is")
    found = np.array([_rank_correlation(along, column) for column in linear.T])
    best = int(found.argmax())
    run.report.table(
        ["", "most alike", "rank correlation"],
        [[name, f"linear component {best + 1}", float(found[best])]],
    )
    run.add_value("agreement_with_linear", float(found[best]))


def compare_selection(
    run: RunFolder, linear: NDArray[np.float32], chosen: NDArray[np.bool_], clusters: int
) -> None:
    """Show which particles were chosen, and how many of them one linear cluster would give."""
    _scatter(run, linear, {"selection": np.where(chosen, "taken", "left")}, "selection is")
    theirs, _ = cluster(linear, clusters)
    shared = [int((chosen & (theirs == k + 1)).sum()) for k in range(clusters)]
    best = int(np.argmax(shared))
    size = int((theirs == best + 1).sum())
    run.report.table(
        ["", "taken", "of them in the linear cluster", "size of that"],
        [["particles", int(chosen.sum()), shared[best], size]],
    )
    run.add_value("shared_with_linear", shared[best])


def _scatter(
    run: RunFolder, linear: NDArray[np.float32], colours: Mapping[str, NDArray], what: str
) -> None:
    places = linear[:, :2]
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places), np.float32)])
    run.report.figure(
        scatter(places, colours),
        "What a linear method sees: the first two principal components of the residuals. If the "
        f"{what} as clear here, the network adds little but the densities.",
    )


def _rank_correlation(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    first, second = (np.argsort(np.argsort(values)) for values in (one, two))
    return abs(float(np.corrcoef(first, second)[0, 1]))
