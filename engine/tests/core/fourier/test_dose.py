import numpy as np
import pytest

from cryodl.core.fourier.dose import dose_weight
from cryodl.errors import ConfigError


def test_the_critical_exposure_halves_the_power_twice_e():
    # At 1 / 10 A the critical exposure is 0.245 * 10^1.665 + 2.81 = 14.14 e/A^2.
    critical = 0.245 * 10**1.665 + 2.81
    assert critical == pytest.approx(14.14, abs=0.01)
    assert dose_weight(0.1, 2 * critical) == pytest.approx(np.exp(-1))
    assert dose_weight(0.1, 2 * 0.8 * critical, voltage_kv=200) == pytest.approx(np.exp(-1))


def test_the_bfactor_is_four_for_each_electron():
    assert dose_weight(0.05, 30, model="bfactor") == pytest.approx(np.exp(-120 * 0.05**2 / 4))
    np.testing.assert_array_equal(dose_weight([0.1, 0.2], 30, model="none"), [1, 1])


@pytest.mark.parametrize("model", ["grant", "bfactor"])
def test_weights_fall_with_dose_and_frequency(model):
    k, dose = np.linspace(0, 0.5, 20), np.linspace(0, 100, 11)[:, None]
    weight = dose_weight(k, dose, model=model)
    assert weight.shape == (11, 20)
    assert (weight[:, 0] == 1).all() and (weight[0] == 1).all()
    assert (np.diff(weight[1:], axis=1) < 0).all() and (np.diff(weight[:, 1:], axis=0) < 0).all()


def test_bad_numbers_are_refused():
    for k, dose in ((-0.1, 1), (0.1, -1), (np.nan, 1), (0.1, np.inf)):
        with pytest.raises(ConfigError, match="dose weight"):
            dose_weight(k, dose)
    with pytest.raises(ConfigError, match="unknown"):
        dose_weight(0.1, 1, model="other")
