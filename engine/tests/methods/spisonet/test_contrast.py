"""Whether matter is bright or dark."""

import numpy as np
import pytest

from cryodl.core.simulation.densities import list_structures, load_density
from cryodl.core.simulation.half_maps import soft_mask
from cryodl.methods.spisonet.contrast import contrast_sign, contrast_signs


@pytest.mark.parametrize("name", list_structures())
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("scale", "level"), [(1.0, 0.0), (1e-4, 7.0), (500.0, -900.0)])
def test_shipped_structures_in_noise(name, masked, scale, level):
    truth, _ = load_density(name, 32)
    mask = soft_mask(truth) if masked else None
    noise = np.random.default_rng(0).normal(
        scale=truth[truth > 0.2 * truth.max()].std(), size=truth.shape
    )
    half = scale * (truth + noise) + level
    assert contrast_sign(half, mask) == 1
    assert contrast_sign(-half, mask) == -1


def test_in_doubt_matter_is_bright():
    rng = np.random.default_rng(1)
    ball = (np.indices((32,) * 3) - 16).astype(float)
    mask = (np.sqrt((ball**2).sum(0)) < 10).astype(np.float32)
    for _ in range(10):
        noise = rng.normal(size=(32,) * 3)
        assert contrast_sign(noise, mask) == contrast_sign(-noise, mask) == 1
    assert contrast_sign(np.ones((16,) * 3)) == 1


def test_a_dark_map_without_solvent_in_its_mask_is_found_by_its_values():
    truth, _ = load_density("p97", 32)
    assert contrast_sign(-truth, np.ones((32,) * 3)) == -1


def test_independent_halves_decide_alone():
    truth, _ = load_density("rubisco", 32)
    halves = [2 * truth, -truth]
    assert contrast_signs(halves, [None, None], independent=True) == [1, -1]
    assert contrast_signs(halves, [None, None], independent=False) == [1, 1]
