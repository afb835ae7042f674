"""Poses before a training: fitted, judged, freed of what belongs to the states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.run.folder import RunFolder
from cryodl.methods.opus_tomo.baseline import linear_components
from cryodl.methods.opus_tomo.belief import believe
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.gauge import foretold, latent_features
from cryodl.methods.opus_tomo.latents import Latents
from cryodl.methods.opus_tomo.motions import corrected_poses
from cryodl.methods.opus_tomo.poses import PosePrior, fit_poses
from cryodl.methods.opus_tomo.regression import Regression, basis_of
from cryodl.methods.opus_tomo.training import Training

_LINEAR = 4  # components, at most, that are fitted along with the poses
_EACH = 25  # particles for each of them
_SPAN = 0.2  # of the progress


def correct(
    training: Training, run: RunFolder, average: Callable[[Training, RunFolder, float], None]
) -> None:
    """Correct poses before the training: by the average, then also by what varies linearly.

    Poses are fitted to an average once only: where parts move, they would follow the motion. What
    is fitted along foretells a part of the errors, which is left to the densities.

    Parameters
    ----------
    training, run
        Whose poses are corrected.
    average : callable
        Averages the particles again; told the progress.
    """
    if training.mask is None:
        return
    config, sampling = training.config, training.sampling
    working = sampling.render_px / sampling.box_px
    prior = PosePrior(config.sigma_rotation, config.sigma_shift * working)
    amounts = np.zeros((len(training.store), 0))
    components = min(_LINEAR, len(training.store) // _EACH)
    for number in range(config.pose_rounds):
        run.log(f"correcting each pose against the others, {number + 1}")
        if number and components and not amounts.shape[1]:
            amounts = linear_components(training.model, training.store, components).astype(float)
        earlier = corrections_so_far(training)
        fits = fit_poses(
            training.model,
            training.store,
            Regression(training.store, training.mask, basis_of(amounts)).without,
            prior,
            training.device,
            earlier=earlier,
        )
        amounts = fits.amounts
        found = believe(fits, prior, earlier)
        run.log(
            f"frequencies that are not fitted gain {found.gain:.2f} +- {found.deviation:.2f} a "
            f"particle, where the others count {found.trust:.0%}"
        )
        extra = foretold(found.errors, latent_features(amounts), config.seed)
        _apply(training, run, found.errors - extra)
        average(training, run, _SPAN * (number + 1) / config.pose_rounds)


def _apply(training: Training, run: RunFolder, errors: NDArray[np.float64]) -> None:
    """Put the particles into the poses that were given, less their errors (n, 6)."""
    sampling = training.sampling
    given, pixel = training.checked.particles, sampling.pixel_size_angstrom
    before = total_corrections(training)
    moves_px = errors[:, 3:] * (sampling.box_px / sampling.render_px)
    rotations, shifts = corrected_poses(
        given.rotations, given.shifts_angstrom / pixel, errors[:, :3], moves_px
    )
    training.store = ParticleStore(
        given.with_poses(rotations, shifts * pixel),
        training.checked.settings,
        sampling,
        training.checked.sign,
        training.config.cache_gb,
        training.device,
    )
    angles, lengths = total_corrections(training)
    run.log(
        f"poses corrected by {np.median(angles):.2f} degrees and {np.median(lengths):.2f} px in "
        f"the median, before by {np.median(before[0]):.2f} and {np.median(before[1]):.2f}"
    )


def correct_by_network(training: Training, run: RunFolder, latents: Latents) -> None:
    """Correct the poses by the published corrector."""
    head = training.model.network.pose_head
    if head is None:
        return
    with torch.no_grad():
        found = head(torch.as_tensor(latents.pose_mean)).double().numpy()
    found -= found.mean(axis=0)
    found[:, 3:] *= training.model.crop_px / training.model.network.size.template_px
    _apply(training, run, found)


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
