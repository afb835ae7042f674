"""What a person sees after a training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryodl.core.run.figures import central_slices, loss_curves
from cryodl.core.run.folder import RunFolder
from cryodl.methods.opus_tomo.clusters import cluster, silhouette
from cryodl.methods.opus_tomo.figures import scatter
from cryodl.methods.opus_tomo.latents import Latents
from cryodl.methods.opus_tomo.leakage import direction_leakage
from cryodl.methods.opus_tomo.training import Training

_LEAKING = 0.05
_BY_HEART = 0.5


def report_training(
    training: Training, run: RunFolder, latents: Latents, linear: NDArray[np.float32]
) -> None:
    """Fill the report of a training and note what matters."""
    report = run.report
    report.fact("particles", str(len(training.store)))
    report.fact("spread of the densities", f"{latents.spread:.1%}")
    leak = direction_leakage(latents.scaled, training.store.particles.rotations)
    report.fact("viewing direction in the latents", f"{leak:+.2f} above chance")
    run.add_value("direction_leakage", leak)
    _poses(training, run)
    _curves(training, run)
    _latents(run, latents, linear, training)
    report.heading("What all particles share")
    shared = {
        "consensus": training.model.consensus.numpy(),
        "mask": training.model.mask.numpy(),
    }
    report.figure(central_slices(shared), "On the working grid, before anything was learned.")
    _cautions(training, run, latents, leak)


def _poses(training: Training, run: RunFolder) -> None:
    from cryodl.methods.opus_tomo.correcting import total_corrections

    if not training.config.estpose:
        return
    angles, shifts = total_corrections(training)
    run.report.fact("poses turned, median", f"{np.median(angles):.2f} degrees")
    run.report.fact("poses moved, median", f"{np.median(shifts):.2f} px")
    run.add_value("median_turn_degrees", float(np.median(angles)))
    run.add_value("median_move_px", float(np.median(shifts)))


def _curves(training: Training, run: RunFolder) -> None:
    history = training.history
    run.report.heading("Training")
    for names, caption in (
        (
            ("misfit", "held_out"),
            "Misfit a voxel of the mask, in units of the noise; below 0 the "
            "densities explain something. Held-out particles are encoded, not trained on.",
        ),
        (("divergence",), "How much the latents say, in nats a particle."),
        (("spread",), "Variation of the decoded densities relative to the consensus."),
    ):
        curves = {n: [e[n] for e in history] for n in names if n in history[0]}
        if curves:
            run.report.figure(loss_curves(curves), caption)


def _latents(
    run: RunFolder, latents: Latents, linear: NDArray[np.float32], training: Training
) -> None:
    run.report.heading("Latents, and what a linear method sees")
    labels, _ = cluster(latents.scaled, 2)
    tilt = np.degrees(np.arccos(np.clip(training.store.views[:, 2], -1, 1)))
    colours = {"two clusters": labels, "angle to the beam": tilt}
    if len(set(training.store.particles.tomograms)) > 1:
        colours["tomogram"] = np.array(training.store.particles.tomograms)
    run.report.figure(
        scatter(_two(latents.scaled), colours),
        "Latents, scaled by what the decoder makes of them. Colours of the direction and of the "
        "tomogram should be mixed.",
    )
    run.report.figure(
        scatter(_two(linear), {"two clusters of the network": labels, "angle to the beam": tilt}),
        "The two largest principal components of the residuals: what can be had without a "
        "network. If the clusters are as clear here, the network adds little.",
    )
    ours = silhouette(latents.scaled, labels)
    linear_labels, _ = cluster(linear, 2)
    theirs = silhouette(linear, linear_labels)
    same = max(float(np.mean(labels == linear_labels)), float(np.mean(labels != linear_labels)))
    run.report.table(
        ["", "network", "linear"],
        [["silhouette of two clusters", ours, theirs], ["same cluster", "", same]],
    )
    run.add_value("silhouette", ours)
    run.add_value("silhouette_linear", theirs)
    run.add_value("agreement_with_linear", same)


def _two(points: NDArray[np.float32]) -> NDArray[np.float32]:
    if points.shape[1] >= 2:
        return points[:, :2]
    return np.column_stack([points[:, 0], np.zeros(len(points), np.float32)])


def _cautions(training: Training, run: RunFolder, latents: Latents, leak: float) -> None:
    report = run.report
    if latents.collapsed:
        line = (
            f"The latents have collapsed: decoded densities vary by {latents.spread:.2%} of the "
            "consensus. Either the particles are alike, or --beta-control is too large, or the "
            "training too short; clusters mean nothing here."
        )
        report.distrust(line)
        run.log(f"warning: {line}")
    if leak > _LEAKING:
        report.distrust(
            "The latents tell something of the viewing direction. Check clusters for preferred "
            "directions, and try a larger --lamb."
        )
    last = training.history[-1]
    if "held_out" in last and 0 > _BY_HEART * last["misfit"] < last["held_out"]:
        report.distrust(
            "Held-out particles fit much worse than those that were trained on: noise was "
            "learned by heart. Use fewer dimensions, fewer epochs, or more particles."
        )
    if not training.checked.known_transfer:
        report.distrust("Neither CTF nor wedge were known; clusters may be clusters of wedges.")
    report.distrust(
        "A density decoded from a latent is a model, and smoother and often sharper than the "
        "data allow. Average the particles of a cluster before you believe a feature."
    )
