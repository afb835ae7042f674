"""Poses between the rounds of a training: fitted, judged, freed of what belongs to the states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.run.folder import RunFolder
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.gauge import foretold, latent_features
from cryodl.methods.opus_tomo.latents import Latents
from cryodl.methods.opus_tomo.motions import corrected_poses, undone
from cryodl.methods.opus_tomo.poses import Corrections, Goal, PosePrior, fit_poses, judge_fits

if TYPE_CHECKING:
    from cryodl.methods.opus_tomo.train import Training

_NEIGHBOURS = 8


def correct(training: Training, run: RunFolder, latents: Latents | None, words: str) -> None:
    """Fit each pose to the average of the others, or to the density of its neighbours' latents.

    As much of the corrections is made as helps on frequencies that were not fitted. What latents
    foretell of those that were made, now or before, is given back to the densities.
    """
    _fit(training, run, latents, words)
    if latents is not None:
        _give_back(training, run, latents)


def _fit(training: Training, run: RunFolder, latents: Latents | None, words: str) -> None:
    config, sampling = training.config, training.sampling
    working = sampling.render_px / sampling.box_px
    run.log(f"correcting each pose {words}")
    if training.sums is None:
        return
    goal: Goal = training.sums if latents is None else of_neighbours(latents)
    prior = PosePrior(config.sigma_rotation, config.sigma_shift * working)
    earlier = corrections_so_far(training)
    model, store, device = training.model, training.store, training.device
    worth = judge_fits(model, store, goal, prior, device, earlier=earlier)
    run.log(
        f"frequencies that are not fitted gain {worth.gain:.2f} +- {worth.error:.2f} a particle "
        f"by {worth.rotation:.0%} of the rotations and {worth.shift:.0%} of the shifts"
    )
    if worth.gain <= 0:
        return
    found = fit_poses(
        model,
        store,
        goal,
        prior,
        device,
        earlier=earlier,
        progress=lambda done: run.progress(0.8 + 0.1 * done, "correcting poses"),
    )
    vectors, shifts = worth.rotation * found.vectors, worth.shift * found.shifts_px
    _apply(training, run, Corrections(vectors, shifts, found.gained))


def of_neighbours(latents: Latents) -> NDArray[np.float32]:
    """Return the mean latents of each particle's nearest others, (n, zdim).

    Its own latent knows its noise, and the density of that draws it to the pose that it has.
    """
    count = min(_NEIGHBOURS, len(latents.mean) - 1)
    found = np.empty_like(latents.mean)
    for row, place in enumerate(latents.scaled):
        distance = ((latents.scaled - place) ** 2).sum(axis=1)
        distance[row] = np.inf
        found[row] = latents.mean[np.argpartition(distance, count - 1)[:count]].mean(axis=0)
    return found


def _give_back(training: Training, run: RunFolder, latents: Latents) -> None:
    """Take out of the poses what the latents foretell of them: it belongs to the densities."""
    so_far = corrections_so_far(training)
    extra = foretold(so_far, latent_features(latents.scaled), training.config.seed)
    if not extra.any():
        return
    vectors, shifts = undone(extra[:, :3], extra[:, 3:])
    run.log("what latents foretell of the corrections is left to the densities:")
    _apply(training, run, Corrections(vectors, shifts, np.ones(len(extra))))


def _apply(training: Training, run: RunFolder, found: Corrections) -> None:
    """Put the particles into corrected poses."""
    sampling = training.sampling
    particles, pixel = training.store.particles, sampling.pixel_size_angstrom
    moves_px = found.shifts_px * (sampling.box_px / sampling.render_px)
    rotations, shifts = corrected_poses(
        particles.rotations, particles.shifts_angstrom / pixel, found.vectors, moves_px
    )
    angles = np.degrees(np.linalg.norm(found.vectors, axis=1))
    lengths = np.linalg.norm(moves_px, axis=1)
    run.log(
        f"poses corrected by {np.median(angles):.2f} degrees and {np.median(lengths):.2f} px in "
        f"the median; {np.mean(found.gained > 0):.0%} of the particles fit better"
    )
    training.store = ParticleStore(
        particles.with_poses(rotations, shifts * pixel),
        training.checked.settings,
        sampling,
        training.checked.sign,
        training.config.cache_gb,
        training.device,
    )


def last_correction(training: Training, run: RunFolder, latents: Latents) -> None:
    """Correct the poses a last time, by the corrector or by fitting."""
    if training.config.pose_method == "local":
        correct(training, run, latents, "against its neighbours")
        return
    head = training.model.network.pose_head
    if head is not None:
        with torch.no_grad():
            found = head(torch.as_tensor(latents.pose_mean)).double().numpy()
        found -= found.mean(axis=0)
        scale = training.model.crop_px / training.model.network.size.template_px
        corrections = Corrections(found[:, :3], found[:, 3:] * scale, np.ones(len(found)))
        _apply(training, run, corrections)


def corrections_so_far(training: Training) -> NDArray[np.float64]:
    """Return rotation vectors and shifts in working voxels by which poses were corrected, (n, 6).

    In the frame of the reference, as `cryodl.methods.opus_tomo.motions` has them.
    """
    from scipy.spatial.transform import Rotation

    sampling = training.sampling
    before, after = training.checked.particles, training.store.particles
    inverse = np.swapaxes(before.rotations, 1, 2)
    turned = Rotation.from_matrix(inverse @ after.rotations).as_rotvec()
    moved = before.shifts_angstrom - after.shifts_angstrom
    shifts = np.einsum("nij,nj->ni", inverse, moved) / sampling.working_pixel_angstrom
    return np.concatenate([turned, shifts], axis=1)


def total_corrections(training: Training) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return by how many degrees and stored pixels each pose was changed in all, (n,) each."""
    found = corrections_so_far(training)
    pixels = training.sampling.box_px / training.sampling.render_px
    turned, moved = (np.linalg.norm(part, axis=1) for part in np.split(found, 2, axis=1))
    return np.degrees(turned), moved * pixels
