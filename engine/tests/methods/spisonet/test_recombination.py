"""Maps joined in Fourier space."""

import numpy as np
import pytest

from cryodl.core.evaluation.regions import double_cone_region
from cryodl.core.fourier.grids import shell_index
from cryodl.core.fourier.shells import amplitude_spectrum
from cryodl.core.fourier.transform import forward_centred, inverse_centred
from cryodl.errors import ConfigError
from cryodl.methods.spisonet.recombination import (
    combine,
    join_beyond,
    match_amplitudes,
    with_reference,
)

PIXEL = 2.0
BOXES = [32, 33]


def smooth_map(seed, box=32):
    rng = np.random.default_rng(seed)
    shells = shell_index(box)
    spectrum = forward_centred(rng.normal(size=(box,) * 3).astype(np.float32))
    return inverse_centred(spectrum / (1 + (shells / 5.0) ** 2)) * 3 + 1


def resolution(shell, box=32):
    return box * PIXEL / shell


def band_power(volume, chosen):
    return float((np.abs(forward_centred(volume))[chosen] ** 2).sum())


@pytest.mark.parametrize("match", ["sampled", "shell"])
def test_a_map_joined_with_itself_is_itself(match):
    box = 32
    volume = smooth_map(0, box)
    if match == "shell":  # the published rule empties the corners of Fourier space
        inner = shell_index(box) < box // 2 - 1
        volume = inverse_centred(forward_centred(volume) * inner)
    mask = (shell_index(box) < 12).astype(np.float32)
    joined = combine(volume, volume, resolution(8), PIXEL, mask=mask, match=match)
    assert np.abs(joined - volume).max() < 1e-4 * volume.std()


def test_an_odd_box_joined_with_itself_is_itself():
    volume = smooth_map(0, 33)
    joined = combine(volume, volume, resolution(8, 33), PIXEL)
    assert np.abs(joined - volume).max() < 1e-4 * volume.std()


def test_beyond_nyquist_all_amplitudes_are_those_of_high():
    low, high = smooth_map(1), smooth_map(2)
    joined = combine(low, high, 0.3, PIXEL)
    found, expected = (amplitude_spectrum(v) for v in (joined, high))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_beyond_nyquist_the_published_rule_gives_the_spectrum_of_high_up_to_a_factor():
    low, high = smooth_map(1), smooth_map(2)
    joined = combine(low, high, 0.3, PIXEL, match="shell")
    found, expected = (amplitude_spectrum(v, truncate=True)[1:15] for v in (joined, high))
    ratio = found / expected
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
    assert joined.mean() == pytest.approx(high.mean(), rel=1e-3)
    assert joined.std() == pytest.approx(high.std(), rel=1e-3)


@pytest.mark.parametrize("box", BOXES)
def test_low_shells_are_of_low_and_high_shells_of_high(box):
    low, high = smooth_map(3, box), smooth_map(4, box)
    joined = forward_centred(combine(low, high, resolution(10, box), PIXEL))
    shells = shell_index(box)
    outer = shells >= 10
    np.testing.assert_allclose(joined[outer], forward_centred(high)[outer], rtol=0, atol=1e-2)
    inner = (shells > 0) & (shells < 5)
    phases = np.angle(joined[inner] * forward_centred(low)[inner].conj())
    assert np.abs(phases).max() < 1e-3


def test_empty_directions_do_not_lower_a_map_unless_by_the_published_rule():
    """A filled map joined to data with an empty cone: its amplitudes must stay those of the data.

    The published rule compares whole shells, empty directions included.
    """
    box = 32
    full = smooth_map(5)
    empty = double_cone_region(box, (0, 0, 1), 45)
    data = inverse_centred(forward_centred(full) * ~empty)
    weight = (~empty).astype(np.float32)
    sampled = combine(full, data, resolution(12), PIXEL, weight=weight, match="sampled")
    shell = combine(full, data, resolution(12), PIXEL, weight=weight, match="shell")
    shells = shell_index(box)
    measured = (shells > 1) & (shells < 7) & ~empty
    ratio = {
        name: (band_power(found, measured) / band_power(full, measured)) ** 0.5
        for name, found in (("sampled", sampled), ("shell", shell))
    }
    assert ratio["sampled"] == pytest.approx(1.0, abs=0.01)
    assert ratio["shell"] < 0.9


def test_amplitudes_are_matched_whatever_the_scale():
    high = smooth_map(6)
    for factor in (1e-6, 37.0, 1e6):
        matched = match_amplitudes(high * factor, high)
        np.testing.assert_allclose(matched, high, atol=1e-4 * high.std(), rtol=1e-4)


def test_a_shell_without_weight_is_left_alone():
    low, high = smooth_map(7), smooth_map(8)
    weight = (shell_index(32) < 8).astype(np.float32)
    matched = forward_centred(match_amplitudes(low, 5 * high, weight=weight))
    outer = shell_index(32) >= 8
    np.testing.assert_allclose(matched[outer], forward_centred(low)[outer], rtol=0, atol=0.05)
    assert np.isfinite(matched).all()


@pytest.mark.parametrize("box", BOXES)
def test_the_original_is_kept_beyond_the_limit(box):
    corrected, original = smooth_map(9, box), smooth_map(10, box)
    joined = forward_centred(join_beyond(corrected, original, resolution(9, box), PIXEL))
    shells = shell_index(box)
    beyond, below = shells >= 9, shells < 6
    np.testing.assert_allclose(joined[beyond], forward_centred(original)[beyond], atol=1e-2)
    np.testing.assert_allclose(joined[below], forward_centred(corrected)[below], atol=1e-2)
    ramp = (joined - forward_centred(original)) / (
        forward_centred(corrected) - forward_centred(original)
    )
    assert np.median(ramp[shells == 7].real) == pytest.approx(0.5, abs=0.01)


def test_a_reference_replaces_low_shells_and_marks_them():
    half, reference = smooth_map(11), 100 * smooth_map(12)
    weight = np.full((32,) * 3, 0.25, np.float32)
    joined, marked = with_reference(half, reference, weight, resolution(12), PIXEL)
    shells = shell_index(32)
    assert (marked[shells < 7] == 1).all() and (marked[shells >= 12] == 0.25).all()
    assert (marked >= weight).all()
    low = (shells > 0) & (shells < 7)
    cross = (forward_centred(joined) * forward_centred(reference).conj())[low].real.sum()
    powers = band_power(joined, low) * band_power(reference, low)
    assert cross / powers**0.5 > 0.99
    assert band_power(joined, low) == pytest.approx(band_power(half, low), rel=0.2)
    outer = shells >= 12
    np.testing.assert_allclose(
        forward_centred(joined)[outer], forward_centred(half)[outer], rtol=0, atol=1e-2
    )


@pytest.mark.parametrize("wrong", [0.0, -3.0, float("nan")])
def test_a_resolution_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="resolution"):
        combine(smooth_map(13), smooth_map(14), wrong, PIXEL)
    with pytest.raises(ConfigError, match="resolution"):
        join_beyond(smooth_map(13), smooth_map(14), wrong, PIXEL)
