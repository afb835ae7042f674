"""What a person sees of the groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import central_slices, new_figure
from cryodl.core.run.folder import RunFolder
from cryodl.methods.autoencoder3d.features import Trial
from cryodl.methods.autoencoder3d.mixture_groups import SAME, Refined

_SHOWN = 12
_UNSTABLE = 0.6
_SMALL = 5


def report_clusters(
    run: RunFolder,
    trials: Sequence[Trial],
    chosen: Trial,
    averages: list[NDArray[np.float32]],
    centres: list[NDArray[np.float32]],
    sizes: list[int],
    refined: Refined | None,
) -> None:
    """Fill the report of a clustering."""
    report = run.report
    report.fact("groups", str(len(sizes)))
    report.fact("stability", f"{chosen.stability:.2f}")
    report.fact("told apart by", chosen.features)
    report.heading("Groups")
    report.table(
        ["group", "particles", "share"],
        [[str(k), size, f"{size / sum(sizes):.0%}"] for k, size in enumerate(sizes)],
    )
    shown = {f"average {k} ({sizes[k]})": averages[k] for k in range(min(len(sizes), _SHOWN))}
    report.figure(
        central_slices(shown),
        "Averages of the members, each frequency by how often it was measured"
        + (", turned to fit each other." if refined else ", in their normalised poses."),
    )
    decoded = {f"decoded centre {k}": centres[k] for k in range(min(len(sizes), _SHOWN))}
    report.figure(
        central_slices(decoded),
        "Decoded centres: what the network imagines in the middle of each group. What the missing "
        "wedge took away is a guess there.",
    )
    if refined is not None:
        report.fact("mean probability of the own group", f"{refined.chances.mean():.2f}")
        report.heading("Merging")
        report.table(
            ["groups", "most alike: particles", "what two explain better than one"],
            [
                [m.groups, f"{m.sizes[0]} and {m.sizes[1]}", f"{m.ratio:.2f}"]
                for m in refined.merges
            ],
        )
        report.text(
            "The last column is the gain of the logarithm of the likelihood for each number more: "
            f"chance gives about 0.5, and without a wanted number groups below {SAME:g} are merged."
        )
    if len(trials) > 1:
        _report_trials(run, trials)
    if chosen.stability < _UNSTABLE:
        report.distrust(
            f"The groups do not repeat well (stability {chosen.stability:.2f} of 1): groups "
            "learned from one half of the particles are not those of the other half. Ask for fewer."
        )
    small = [k for k, size in enumerate(sizes) if size < _SMALL]
    if small:
        report.distrust(f"Groups with fewer than {_SMALL} particles: {small}. They may be chance.")


def _report_trials(run: RunFolder, trials: Sequence[Trial]) -> None:
    run.report.heading("How many groups, and by what")
    rows = [[f"{t.features}, {t.clusters}", t.stability, t.silhouette, t.inertia] for t in trials]
    run.report.table(["features, groups", "stability", "silhouette", "inertia"], rows)
    names = list(dict.fromkeys(trial.features for trial in trials))
    if len({trial.clusters for trial in trials}) < 2:
        return
    figure = new_figure(1, 2, 8.0, 3.0)
    for axis, quantity in zip(figure.axes, ("stability", "silhouette")):
        for name in names:
            own = [trial for trial in trials if trial.features == name]
            axis.plot(
                [t.clusters for t in own],
                [getattr(t, quantity) for t in own],
                marker="o",
                markersize=3,
                label=name,
            )
        axis.set_xlabel("groups")
        axis.set_ylabel(quantity)
    figure.axes[0].legend(frameon=False, fontsize=8)
    run.report.figure(figure, "Stability and separation for different numbers of groups.")
