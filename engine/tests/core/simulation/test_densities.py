"""The shipped densities: complete, centred, symmetric, and resampled without surprise."""

import numpy as np
import pytest

from cryodl.core.simulation.densities import (
    density_facts,
    list_structures,
    load_density,
)
from cryodl.errors import ConfigError


def test_every_structure_is_there_and_facts_fit():
    names = list_structures()
    assert {"groel_groes", "proteasome_20s", "rubisco", "p97", "haemoglobin"} <= set(names)
    for name in names:
        density, pixel = load_density(name)
        facts = density_facts(name)
        assert density.shape == (64, 64, 64)
        assert density.dtype == np.float32
        assert pixel == facts.pixel_size_angstrom
        assert density.max() == pytest.approx(4095 * facts.scale, rel=1e-3)
        assert density.max() > 5 * -density.min()  # bright = matter


@pytest.mark.parametrize("name", ["groel_groes", "proteasome_20s", "p97", "haemoglobin"])
def test_mass_is_centred_on_voxel_half(name):
    density, _ = load_density(name)
    for axis, coordinate in enumerate(np.indices(density.shape)):
        assert np.sum(density * coordinate) / density.sum() == pytest.approx(32, abs=0.05), axis


@pytest.mark.parametrize("name", ["rubisco", "haemoglobin"])
def test_the_rotation_axis_is_z(name):
    density, _ = load_density(name)
    # half a turn about z through voxel 32: index i -> 64 - i, plane 0 left out
    inner = density[:, 1:, 1:]
    turned = inner[:, ::-1, ::-1]
    assert np.corrcoef(inner.ravel(), turned.ravel())[0, 1] > 0.99


def test_the_two_rings_are_conformations_of_equal_mass_in_one_frame():
    cis, _ = load_density("groel_ring_cis")
    trans, _ = load_density("groel_ring_trans")
    assert cis.sum() == pytest.approx(trans.sum(), rel=0.01)
    assert 0.6 < np.corrcoef(cis.ravel(), trans.ravel())[0, 1] < 0.8


def test_smaller_box_keeps_field_of_view_and_mean():
    full, pixel_full = load_density("groel_groes", 64)
    small, pixel_small = load_density("groel_groes", 24)
    assert pixel_small * 24 == pytest.approx(pixel_full * 64)
    assert small.mean() == pytest.approx(full.mean(), rel=1e-4)


def test_stored_grid_comes_back_unchanged():
    plain, pixel = load_density("p97")
    same, _ = load_density("p97", 64, pixel)
    np.testing.assert_array_equal(plain, same)


def test_larger_box_at_stored_pixel_pads_with_zeros():
    stored, pixel = load_density("p97")
    padded, _ = load_density("p97", 72, pixel)
    np.testing.assert_allclose(padded[4:68, 4:68, 4:68], stored, atol=1e-6)
    assert not padded[:4].any()
    assert not padded[68:].any()


def test_bad_input():
    with pytest.raises(ConfigError, match="groel_groes"):
        load_density("nothing")
    with pytest.raises(ConfigError, match="nothing"):
        density_facts("nothing")
    with pytest.raises(ConfigError, match="box size"):
        load_density("p97", 2)
    with pytest.raises(ConfigError, match="pixel size"):
        load_density("p97", 16, 0.0)
