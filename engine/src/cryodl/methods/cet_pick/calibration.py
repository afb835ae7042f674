"""Threshold and probabilities from a few held-out labels, and from picks that must be wrong.

With sparse labels a pick without a label may be right, so that precision cannot be counted. It can
be estimated, as labels are a fair sample of the particles: the share of held-out labels found
above a threshold is its recall R, and n picks above it cannot hold more than all N particles that
R stands for. Hence N <= n / R at every threshold, the least of these estimates N, and
F1 = 2 R N / (N + n). (Elkan and Noto, KDD 2008, for the argument from a sample of positives.)

Labels alone cannot tell a picker that finds nothing: if it picks everywhere, labels are found as
well. Picks in the same tomogram with its grey values turned over, which holds the same noise and
no particle, are all wrong: as many of the n are wrong at least (the target-decoy argument of mass
spectrometry: Elias and Gygi, Nature Methods 2007).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_SCORE = 0.02  # lower picks are not looked at: background without doubt
_LEAST_RECALL = 0.5  # above it too few labels speak
_KNOTS = 24
_LEAST_SPREAD = 0.15  # of logits


@dataclass(frozen=True)
class Control:
    """Picks where no particle can be.

    Attributes
    ----------
    scores : numpy.ndarray
        Of all of them.
    weight : float
        Volume in which the calibrated picks are, over that in which these are.
    """

    scores: NDArray[np.float64]
    weight: float

    def above(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many wrong picks to expect from each threshold on."""
        counted: NDArray[np.float64] = (self.scores[None] >= thresholds[:, None]).sum(1)
        return self.weight * counted


@dataclass(frozen=True)
class Calibration:
    """What held-out labels say about scores.

    Attributes
    ----------
    threshold : float
        Score with the best expected F1.
    recall, precision, f1 : float
        Expected there.
    particles : float
        Estimated number of particles among the held-out picks' region.
    held_out : int
        Labels it rests on.
    scores, chances : list of float
        Knots of the rising curve from score to the chance that a pick is right.
    """

    threshold: float
    recall: float
    precision: float
    f1: float
    particles: float
    held_out: int
    scores: list[float]
    chances: list[float]

    def chance(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chance that picks of these scores are right."""
        return np.interp(scores, self.scores, self.chances)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)


def calibrate(
    pick_scores: NDArray[np.float64],
    label_scores: NDArray[np.float64],
    training_scores: NDArray[np.float64] | None = None,
    *,
    control: Control | None = None,
    fully_labelled: bool = False,
) -> Calibration:
    """Return the threshold of the best expected F1, and chances by score.

    A handful of held-out labels tells where scores of particles lie, but not how they spread. The
    spread is taken from the labels that were trained on, moved to where the held-out ones are.

    Parameters
    ----------
    pick_scores : numpy.ndarray
        Of all picks in the region of the held-out labels.
    label_scores : numpy.ndarray
        Of the pick at each held-out label, 0 where there is none.
    training_scores : numpy.ndarray, optional
        The same of the labels that were trained on.
    control : Control, optional
        Picks that are wrong for certain; without them nothing is said about noise.
    fully_labelled : bool
        Every particle of the region is labelled, so that their number is known.
    """
    sample = _sample(label_scores, training_scores)
    marks = [pick_scores, label_scores[label_scores > 0]]
    marks += [control.scores] if control else []
    order = np.unique(np.concatenate(marks))[::-1]
    if not len(order):
        return Calibration(0.5, 0.0, 0.0, 0.0, 0.0, len(label_scores), [0.0, 1.0], [0.0, 1.0])
    bandwidth = _bandwidth(sample)
    recall = _smooth_count(sample, order, bandwidth) / len(sample)
    count = (pick_scores[None] >= order[:, None]).sum(1).astype(float)
    wrong = control.above(order) if control else np.zeros(len(order))
    right = np.maximum.accumulate(np.maximum(count - wrong, 0.0))  # at most
    particles = float(len(label_scores))
    if not fully_labelled:
        # Smoothed alike, so that the ratio is that of like and like.
        smooth = _smooth_count(pick_scores, order, bandwidth)
        most = np.minimum(smooth, right) if control else smooth
        particles = max(particles, _most_particles(most, recall, len(sample)))
    # No more picks can be right than there are, whatever a few labels say.
    hits = np.minimum(recall * particles, right)
    f1 = 2 * hits / (particles + count)
    best, threshold = _best(f1, order, 0.5 / (len(sample) + 1))
    precision = min(1.0, hits[best] / max(count[best], 1.0))
    knots, chances = _chances(pick_scores, sample, particles, control)
    return Calibration(
        threshold,
        float(recall[best]),
        float(precision),
        float(min(1.0, f1[best])),
        particles,
        len(label_scores),
        knots,
        chances,
    )


def _best(f1: NDArray[np.float64], order: NDArray[np.float64], doubt: float) -> tuple[int, float]:
    """Return the chosen rank and the threshold below it.

    What differs by less than the doubt is equally good. Of that the cut is made where the next
    score is farthest, for few scores lie between particles and the rest.
    """
    below = np.append(order[1:], min(order[-1], LEAST_SCORE))
    gap = np.where(f1 >= f1.max() - doubt, _logit(order) - _logit(below), -1.0)
    best = int(gap.argmax())
    return best, float(_chance(0.5 * (_logit(order[best]) + _logit(below[best]))))


def _most_particles(right: NDArray[np.float64], recall: NDArray[np.float64], labels: int) -> float:
    """Return the number of particles that right picks and recall speak for, in doubt the larger.

    Recall is known from a few labels only; its lower bound is that of Wilson (1927) at one
    standard error, which leaves a doubt also when all labels are found.
    """
    enough = recall >= max(min(_LEAST_RECALL, recall.max()), 1e-6)
    if not enough.any():
        return 0.0
    share, number = recall[enough], float(labels)
    error = np.sqrt(share * (1 - share) / number + 0.25 / number**2)
    least = (share + 0.5 / number - error) / (1 + 1 / number)
    return float((right[enough] / np.maximum(least, 1e-6)).min())


def _sample(
    label_scores: NDArray[np.float64], training_scores: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return scores of unseen particles: those held out, and those trained on, moved to them."""
    if training_scores is None or not (training_scores > 0).any():
        return label_scores
    held = label_scores[label_scores > 0]
    if not len(held):
        return label_scores
    trained, apart = _logit(training_scores[training_scores > 0]), _logit(held)
    shift = float(np.median(trained) - np.median(apart))
    error = max(float(trained.std()), _LEAST_SPREAD) * np.sqrt(1 / len(apart) + 1 / len(trained))
    shift *= shift**2 / (shift**2 + error**2)  # as far as it is more than chance
    moved = _chance(trained - max(0.0, shift))
    # Those trained on are all found; as many are missed as of the held-out ones.
    missed = round(len(moved) * (1 - len(held) / len(label_scores)))
    return np.concatenate([label_scores, moved, np.zeros(missed)])


def _bandwidth(sample: NDArray[np.float64]) -> float:
    """Return the width of the kernel for scores of particles, in logits (Silverman's rule)."""
    found = _logit(sample[sample > 0])
    if len(found) < 2:
        return _LEAST_SPREAD
    low, high = np.quantile(found, (0.25, 0.75))
    # A handful may lie together by chance; many do so because they are alike.
    least = _LEAST_SPREAD / np.sqrt(len(found))
    spread = max(min(float(found.std()), float(high - low) / 1.34), least)
    return float(1.06 * spread * len(found) ** -0.2)


def _smooth_count(
    scores: NDArray[np.float64], thresholds: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """Return how many scores are above each threshold, from a kernel estimate in logits."""
    from scipy.special import ndtr

    found = _logit(scores[scores > 0])
    above: NDArray[np.float64] = ndtr((found[None] - _logit(thresholds)[:, None]) / bandwidth).sum(
        1
    )
    return above


def _logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(scores, 1e-4, 1 - 1e-4)
    values: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return values


def _chance(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return values


def _chances(
    pick_scores: NDArray[np.float64],
    label_scores: NDArray[np.float64],
    particles: float,
    control: Control | None,
) -> tuple[list[float], list[float]]:
    """Return a rising curve through the share of right picks in bins of equal numbers."""
    from scipy.ndimage import gaussian_filter1d

    found = label_scores[label_scores > 0]
    if len(pick_scores) < 2 or not len(found):
        return [0.0, 1.0], [0.0, 1.0]
    ranked = np.sort(pick_scores)
    knots = np.unique(np.quantile(ranked, np.linspace(0, 1, min(_KNOTS, len(ranked)))))
    width = max(float(np.subtract(*np.quantile(found, (0.75, 0.25)))) / 2, 0.02)
    positive, everything, wrong = (
        np.exp(-0.5 * ((knots[:, None] - scores) / width) ** 2).sum(1)
        for scores in (found, ranked, control.scores if control else np.zeros(0))
    )
    everything = np.maximum(everything, 1e-9)
    share = positive / len(label_scores) * particles / everything
    if control:
        share = np.minimum(share, 1 - control.weight * wrong / everything)
    rising = _isotonic(np.clip(share, 0, 1), everything)
    smooth = gaussian_filter1d(rising, 1.0, mode="nearest")
    return [float(k) for k in knots], [float(c) for c in np.clip(smooth, 0, 1)]


def _isotonic(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest values that never fall (pool adjacent violators)."""
    pools: list[list[float]] = []  # value, weight, length
    for value, weight in zip(values, weights, strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            value2, weight2, length2 = pools.pop()
            value1, weight1, length1 = pools.pop()
            total = weight1 + weight2
            pools.append([(value1 * weight1 + value2 * weight2) / total, total, length1 + length2])
    return np.concatenate([np.full(int(length), value) for value, _, length in pools])
