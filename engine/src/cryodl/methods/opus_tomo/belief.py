"""How much of fitted poses to believe.

What is fitted to noise is an error of its own. The errors of the given poses are therefore
expected to be normal with one of several widths, of which shares are learned from all particles:
many poses are nearly right, and some are far off. The mean over what is then likely is the best
guess for each. Noise in the density itself makes the fits look surer than they are; by how much is
decided by frequencies that were not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.methods.opus_tomo.poses import Fits, PosePrior

_WIDTHS = (0.05, 0.15, 0.3, 0.5, 0.75, 1.0)  # of the rotations, in units of the expected error
_ROUNDS = 30
_TRUST = (0.0, 0.1, 0.2, 0.35, 0.6, 1.0)
_MOST_SIGMAS = 4.0  # an error beyond this is not believed


@dataclass(frozen=True)
class Belief:
    """The likely errors of the given poses.

    Attributes
    ----------
    errors : (n, 6)
        Rotation vectors and shifts in working voxels.
    trust : float
        What the fits count for the rotations, from 0 to 1; 0 too where not even shifts that were
        fitted help on frequencies left out.
    gain, deviation : float
        By how much the misfit falls there from that of the given poses, a particle, in units of
        the noise; its standard error.
    """

    errors: NDArray[np.float64]
    trust: float
    gain: float
    deviation: float


def believe(fits: Fits, prior: PosePrior, earlier: NDArray[np.float64]) -> Belief:
    """Return what errors of poses to believe in.

    Parameters
    ----------
    fits : Fits
        Of all particles.
    prior : PosePrior
        The widest that is expected.
    earlier : (n, 6)
        What was believed before; kept for particles whose fits are not to be believed. Where no
        fits help on frequencies that were not fitted, the poses are as they were given.
    """
    (whole, fitted, judged), (every, slope, against) = (
        np.swapaxes(part, 0, 1) for part in (fits.curvature, fits.slope)
    )
    best, chosen = None, np.zeros(len(earlier))
    for trust in _TRUST:
        # Against what was given: what was believed before was fitted to these frequencies too.
        gains = -_misfit(_trusted(fitted, slope, prior, trust), judged, against)
        if gains.mean() > chosen.mean():
            best, chosen = trust, gains
    deviation = float(chosen.std() / np.sqrt(len(chosen)))
    if best is None:
        return Belief(np.zeros_like(earlier), 0.0, 0.0, deviation)
    errors = _trusted(whole, every, prior, best)
    far = (np.sqrt(prior.precision) * np.abs(fits.best) >= _MOST_SIGMAS).any(axis=1)
    errors[far] = earlier[far]
    # A turn that all share is none of the particles' errors.
    errors -= (errors - earlier).mean(axis=0)
    return Belief(errors, best, float(chosen.mean()), deviation)


def likely_errors(
    curvature: NDArray[np.float64],
    slope: NDArray[np.float64],
    prior: PosePrior,
    trust: float = 1.0,
) -> NDArray[np.float64]:
    """Return the mean of the likely errors of each pose, (n, 6).

    The widths of the errors have shares that make all fits likely (expectation and maximisation).

    Parameters
    ----------
    curvature, slope : (n, 6, 6) and (n, 6)
        Of the misfit, in units of the noise.
    prior : PosePrior
        The widest.
    trust : float
        What the fits count.
    """
    curvature, slope = trust * curvature, trust * slope
    means, chances = [], []
    for width in _WIDTHS:
        precision = prior.precision / np.repeat([width**2, 1.0], 3)
        whole = curvature + np.diag(precision)
        means.append(np.linalg.solve(whole, slope[..., None])[..., 0])
        volume = np.log(precision).sum() - np.linalg.slogdet(whole)[1]
        chances.append(0.5 * (volume + (slope * means[-1]).sum(axis=1)))
    found, chance = np.stack(means, axis=1), np.stack(chances, axis=1)
    shares = np.full(len(_WIDTHS), 1 / len(_WIDTHS))
    weights = np.zeros_like(chance)
    for _ in range(_ROUNDS):
        weights = chance + np.log(shares)
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        shares = (weights.sum(axis=0) + 1) / (len(weights) + len(_WIDTHS))
    errors: NDArray[np.float64] = np.einsum("nw,nwk->nk", weights, found)
    return errors


def _trusted(
    curvature: NDArray[np.float64], slope: NDArray[np.float64], prior: PosePrior, trust: float
) -> NDArray[np.float64]:
    """Return likely errors, with rotations for which the fits count less.

    Shifts are fitted with so much more certainty that they would decide for both.
    """
    errors = likely_errors(curvature, slope, prior)
    errors[:, :3] = likely_errors(curvature, slope, prior, trust)[:, :3] if trust else 0.0
    return errors


def _misfit(
    errors: NDArray[np.float64], curvature: NDArray[np.float64], slope: NDArray[np.float64]
) -> NDArray[np.float64]:
    quadratic = np.einsum("ni,nij,nj->n", errors, curvature, errors)
    found: NDArray[np.float64] = quadratic - 2 * (errors * slope).sum(axis=1)
    return found
