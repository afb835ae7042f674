"""Threshold and chances from a few labels, on scores of known origin."""

from __future__ import annotations

import numpy as np
import pytest

from cryodl.methods.cet_pick.calibration import Calibration, calibrate


def scores(generator, count, centre, spread):
    return 1 / (1 + np.exp(-(centre + spread * generator.standard_normal(count))))


@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_the_labels_finds_number_and_threshold(seed):
    generator = np.random.default_rng(seed)
    right, wrong = scores(generator, 60, 1.5, 0.6), scores(generator, 200, -2.0, 0.8)
    labels = right[:12]
    found = calibrate(np.concatenate([right, wrong]), labels)
    assert found.particles == pytest.approx(60, rel=0.5)  # from twelve labels
    picked = np.concatenate([right, wrong]) > found.threshold
    f1 = 2 * picked[:60].sum() / (picked.sum() + 60)
    best = max(
        2 * (right > t).sum() / ((right > t).sum() + (wrong > t).sum() + 60)
        for t in np.linspace(0.05, 0.95, 91)
    )
    assert f1 > best - 0.06
    assert found.f1 == pytest.approx(f1, abs=0.15)


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
