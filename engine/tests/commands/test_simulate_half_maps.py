"""``cryodl simulate half-maps`` from the command line to the files."""

import json

import mrcfile
import numpy as np
import pytest

from cryodl.cli import main
from cryodl.commands.simulate import SimulateHalfMapsConfig, axis_xyz
from cryodl.commands.simulate_half_maps import load_structure
from cryodl.core.simulation.densities import list_structures, load_density

SMALL = ["--box-size-px", "16", "--structure", "p97"]


def simulate(folder, *options):
    return main(["simulate", "half-maps", "--output", str(folder), *SMALL, *options])


def read(path):
    with mrcfile.open(path) as mrc:
        return np.array(mrc.data), float(mrc.voxel_size.x)


@pytest.mark.parametrize("mode", ["cone", "preferred"])
def test_writes_halves_mask_and_truth(tmp_path, mode):
    assert simulate(tmp_path / "run", "--mode", mode, "--number", "40") == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    names = {
        "half1": "half1.mrc",
        "half2": "half2.mrc",
        "mask": "mask.mrc",
        "truth": "truth/truth.mrc",
        "sampling": "truth/sampling.mrc",
        "cone": "truth/cone.mrc",
        "truth_table": "truth/truth.json",
    }
    assert {key: result[key] for key in names} == names
    _, pixel = load_density("p97", 16)
    for key in ("half1", "half2", "mask", "truth", "sampling", "cone"):
        data, found_pixel = read(tmp_path / "run" / names[key])
        assert data.shape == (16, 16, 16)
        assert found_pixel == pytest.approx(pixel)
    truth = json.loads((tmp_path / "run/truth/truth.json").read_text())
    assert truth["parameters"]["mode"] == mode
    assert truth["axis_xyz"] == [0.0, 0.0, 1.0]
    assert truth["reconstruction"] == {"cone": "unweighted", "preferred": "weighted"}[mode]
    np.testing.assert_array_equal(
        read(tmp_path / "run/truth/truth.mrc")[0], load_density("p97", 16)[0]
    )
    assert "<img" in (tmp_path / "run/report.html").read_text()


def test_same_seed_same_maps_and_another_seed_others(tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert simulate(tmp_path / name, "--seed", seed) == 0
    first, again, other = (read(tmp_path / name / "half1.mrc")[0] for name in "abc")
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_axis_reaches_the_cone(tmp_path):
    assert simulate(tmp_path / "run", "--axis", "-1,0,0", "--cone-angle", "20") == 0
    cone, _ = read(tmp_path / "run/truth/cone.mrc")
    assert cone[8, 8, 12] == 1  # array [z, y, x]: along x
    assert cone[12, 8, 8] == 0


def test_structure_can_be_a_file(tmp_path):
    density, pixel = load_density("rubisco", 24)
    with mrcfile.new(tmp_path / "map.mrc") as mrc:
        mrc.set_data(density)
        mrc.voxel_size = pixel
    found, found_pixel = load_structure(str(tmp_path / "map.mrc"), 24, None)
    np.testing.assert_allclose(found, density, atol=1e-6)
    assert found_pixel == pytest.approx(pixel)
    assert load_structure(str(tmp_path / "map.mrc"), 16, 9.0)[1] == 9.0


def test_help_names_every_shipped_density():
    text = SimulateHalfMapsConfig.model_fields["structure"].description
    assert all(name in text for name in list_structures())


def test_axis_as_users_write_it():
    assert axis_xyz("Y") == (0, 1, 0)
    assert axis_xyz("1, -2 3") == (1, -2, 3)
    for text in ("", "w", "1,2", "0,0,0", "1,2,nan", "1,2,3,4"):
        with pytest.raises(ValueError, match="--axis"):
            axis_xyz(text)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--structure", "nothing"], "--structure"),
        (["--axis", "0,0,0"], "--axis"),
        (["--snr", "0"], "--snr"),
        (["--cone-angle", "100"], "--cone-angle"),
        (["--mode", "wedge"], "--mode"),
        (["--box-size-px", "8"], "--box-size-px"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(tmp_path, capsys, options, word):
    assert simulate(tmp_path / "run", *options) == 2
    message = capsys.readouterr().err.strip()
    assert word in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_cone_that_takes_all_leaves_figures_empty(tmp_path):
    assert simulate(tmp_path / "run", "--cone-angle", "90") == 0
    truth = json.loads((tmp_path / "run/truth/truth.json").read_text())
    assert truth["score_half1"]["fsc_outside_low"] is None
    assert truth["score_half1"]["fsc_inside_low"] > 0.3
