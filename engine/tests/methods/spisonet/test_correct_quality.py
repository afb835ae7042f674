"""What the correction must reach on data whose truth is known: the floor under the defaults."""

import pytest
from correction_cases import correct, simulate, write, write_case

from cryodl.core.simulation.densities import load_density
from cryodl.core.simulation.half_maps import simulate_missing_cone

STEPS = 30
BATCH = 4
TRAINING = [
    *["--width", "16", "--epochs", "1", "--n-subvolume", str(STEPS * BATCH)],
    *["--batch-size", str(BATCH), "--cube-size", "24", "--predict-crop-size", "48"],
    *["--devices", "cpu", "--ncpus", "1"],
]


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Score both methods on 40 voxels with a cone of 30 degrees missing, the 3DFSC computed."""
    return scored(tmp_path_factory.mktemp("floor"), simulate(40), TRAINING)


def scored(folder, simulated, training):
    write_case(folder, simulated)
    write(folder / "cone.mrc", simulated.cone)
    truth = ["--truth", folder / "truth.mrc", "--truth-region", folder / "cone.mrc"]
    found = {}
    for method in ("cross-direction", "classical"):
        options = ["--mask", folder / "mask.mrc", *training, *truth, "--method", method]
        _, found[method] = correct(folder, folder / method, *options, given=False, quick=False)
    return found


@pytest.mark.timeout(900)
def test_missing_directions_come_nearer_to_the_truth(scores):
    before, after = (scores["cross-direction"][f"truth_{when}"] for when in ("before", "after"))
    assert after["fsc_inside_low"] - before["fsc_inside_low"] >= 0.12
    assert after["fsc_inside_high"] - before["fsc_inside_high"] >= 0.06


def test_measured_directions_stay_as_near(scores):
    before, after = (scores["cross-direction"][f"truth_{when}"] for when in ("before", "after"))
    assert after["fsc_outside_low"] >= before["fsc_outside_low"] - 0.01
    assert after["fsc_outside_high"] >= before["fsc_outside_high"] - 0.01


def test_power_comes_back(scores):
    after = scores["cross-direction"]["truth_after"]
    assert after["power_inside_low"] > 0.3
    assert 0.5 < after["power_outside_low"] < 1.2


def test_the_network_does_not_harm_the_classical_filling(scores):
    """In so few steps it hardly learns; what it learned must not be trusted beyond its worth."""
    network, classical = (scores[m]["truth_after"] for m in ("cross-direction", "classical"))
    for name in ("fsc_inside_low", "fsc_inside_high", "fsc_outside_low", "fsc_outside_high"):
        assert network[name] >= classical[name] - 0.02, name


def test_what_is_expected_is_about_what_is_found(scores):
    """The report's expectation, made without the truth, is neither boast nor modesty."""
    result = scores["cross-direction"]
    after = result["truth_after"]
    found = (after["fsc_inside_low"] + after["fsc_inside_high"]) / 2
    assert abs(result["expected_fsc_in_missing_directions"] - found) < 0.35


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["groel_groes", "rubisco", "p97"])
def test_the_floor_on_64_voxels(name, tmp_path):
    """As the defaults were set: 60 steps of cubes of 32, a cone at a tenth of its amplitude."""
    truth, pixel = load_density(name, 64)
    simulated = simulate_missing_cone(truth, pixel, half_angle_degrees=30)
    training = [*TRAINING, "--n-subvolume", str(60 * BATCH), "--cube-size", "32"]
    found = scored(tmp_path, simulated, training)
    before, after = (found["cross-direction"][f"truth_{when}"] for when in ("before", "after"))
    classical = found["classical"]["truth_after"]
    for region, band, least in (
        *[("inside", "low", 0.12), ("inside", "high", 0.06)],
        *[("outside", "low", -0.01), ("outside", "high", -0.01)],
    ):
        figure = f"fsc_{region}_{band}"
        assert after[figure] - before[figure] >= least, figure
        assert after[figure] >= classical[figure] - 0.01, figure
