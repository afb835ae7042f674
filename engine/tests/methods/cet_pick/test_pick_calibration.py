"""Threshold and chances from a few labels, on scores of known origin."""

from __future__ import annotations

import numpy as np
import pytest

from cryodl.methods.cet_pick.calibration import Calibration, Control, calibrate


def scores(generator, count, centre, spread):
    return 1 / (1 + np.exp(-(centre + spread * generator.standard_normal(count))))


def case(seed):
    """Sixty particles, two hundred maxima of noise; twelve labels held out, thirty trained on."""
    generator = np.random.default_rng(seed)
    right, wrong = scores(generator, 60, 1.5, 0.6), scores(generator, 200, -2.0, 0.8)
    found = calibrate(np.concatenate([right, wrong]), right[:12], scores(generator, 30, 1.5, 0.6))
    return right, wrong, found


def f1_at(threshold, right, wrong):
    found, extra = (right > threshold).sum(), (wrong > threshold).sum()
    return 2 * found / (found + extra + len(right))


def test_a_few_labels_find_number_and_threshold():
    lost, numbers = [], []
    for seed in range(12):
        right, wrong, found = case(seed)
        best = max(f1_at(t, right, wrong) for t in np.linspace(0.05, 0.95, 91))
        lost.append(best - f1_at(found.threshold, right, wrong))
        numbers.append(found.particles)
    assert np.mean(lost) < 0.05
    assert max(lost) < 0.3  # an unlucky dozen
    assert np.median(numbers) == pytest.approx(60, rel=0.2)


def test_labels_that_were_trained_on_lend_their_spread_but_not_their_place():
    generator = np.random.default_rng(0)
    right, wrong = scores(generator, 60, 1.0, 0.8), scores(generator, 150, -3.0, 0.8)
    trained = scores(generator, 30, 3.0, 0.8)  # memorised: higher than unseen ones
    picks = np.concatenate([right, wrong])
    few = calibrate(picks, right[:5], trained)
    assert (right > few.threshold).mean() > 0.85
    assert (wrong > few.threshold).mean() < 0.1


def test_chances_rise_with_the_score_and_are_about_right():
    generator = np.random.default_rng(1)
    right, wrong = scores(generator, 300, 1.0, 1.0), scores(generator, 600, -1.5, 1.0)
    picks = np.concatenate([right, wrong])
    found = calibrate(picks, right[:60])
    chance = found.chance(picks)
    assert (np.diff(found.chances) >= -1e-9).all()
    middle = (chance > 0.3) & (chance < 0.7)
    truth = np.arange(len(picks)) < 300
    assert abs(truth[middle].mean() - chance[middle].mean()) < 0.2
    assert truth[chance > 0.9].mean() > 0.85


def test_a_fully_labelled_region_counts_its_particles():
    generator = np.random.default_rng(2)
    right, wrong = scores(generator, 20, 2.0, 0.5), scores(generator, 50, -2.0, 0.5)
    found = calibrate(np.concatenate([right, wrong]), right, fully_labelled=True)
    assert found.particles == 20
    assert found.f1 > 0.9


@pytest.mark.parametrize(
    ("picks", "labels"),
    [([], [0.0, 0.0]), ([0.5, 0.4], [0.0, 0.0]), ([0.5], [0.5]), ([0.3, 0.3, 0.3], [0.3])],
)
def test_hardly_any_picks_still_give_a_threshold(picks, labels):
    found = calibrate(np.array(picks, float), np.array(labels, float))
    assert isinstance(found, Calibration)
    assert 0 < found.threshold < 1


def test_a_picker_that_finds_only_noise_is_found_out_by_its_control():
    rng = np.random.default_rng(5)
    noise, control = rng.beta(4, 8, 400), rng.beta(4, 8, 1200)
    labels = rng.beta(4, 8, 6)
    trusting = calibrate(noise, labels)
    honest = calibrate(noise, labels, control=Control(control, 1 / 3))
    assert trusting.f1 > 0.7
    assert honest.f1 < 0.3
    assert max(honest.chances) < 0.5


def test_without_wrong_picks_in_the_control_few_high_labels_do_not_cut_particles_away():
    picks = np.concatenate([np.linspace(0.75, 0.95, 40), [0.03, 0.05]])
    labels = np.array([0.84, 0.9, 0.94])
    found = calibrate(picks, labels, control=Control(np.full(12, 0.04), 0.25))
    assert 0.05 < found.threshold < 0.75


def test_scores_that_lie_close_together_are_not_blurred_into_one():
    generator = np.random.default_rng(6)
    right, wrong = scores(generator, 40, 0.0, 0.03), scores(generator, 40, -2.0, 0.2)
    found = calibrate(np.concatenate([right, wrong]), scores(generator, 20, 0.0, 0.03))
    assert f1_at(found.threshold, right, wrong) > 0.95
    assert found.recall > 0.95
