"""The correction from the command line, from files to files."""

import gzip
import json

import numpy as np
import pytest
from correction_cases import (
    NSTART,
    ORIGIN,
    PIXEL,
    correct,
    load,
    log_of,
    measured_region,
    simulate,
    slope,
    spectrum,
    weight_of,
    write,
    write_case,
)

from cryodl.cli import main
from cryodl.core.fourier.grids import shell_index
from cryodl.core.io.mrc import read_volume

BOX = 32
LIMIT = 14.0  # angstrom; shell 9 of 16


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("case"), simulate(BOX))


@pytest.fixture(scope="module")
def plain(case, tmp_path_factory):
    """One run as most people make it, but for its size."""
    output = tmp_path_factory.mktemp("plain") / "out"
    return correct(
        case, output, "--limit-res", LIMIT, "--truth", case / "truth.mrc", "--norm", "instance"
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("small"), simulate(24))


# --- what comes out ----------------------------------------------------------------------------


def test_result_names_what_was_made(plain):
    folder, result = plain
    named = {
        "corrected_half1": "corrected_half1.mrc",
        "corrected_half1_filtered": "corrected_half1_filtered.mrc",
        "corrected_half2": "corrected_half2.mrc",
        "corrected_half2_filtered": "corrected_half2_filtered.mrc",
        "model": "model.safetensors",
        "report": "report.html",
    }
    assert {key: result[key] for key in named} == named
    assert result["command"] == "spisonet correct" and result["limit_resolution"] == LIMIT
    assert result["loss"] > 0 and 0 <= result["expected_fsc_in_missing_directions"] <= 1
    assert set(result["files"]) == set(named.values())
    own = {"config.json", "log.txt", "metrics.jsonl", "progress.json", "result.json", "checkpoints"}
    assert {path.name for path in folder.iterdir()} == set(named.values()) | own
    assert json.loads((folder / "progress.json").read_text())["fraction"] == 1.0
    scores = result["truth_before"], result["truth_after"]
    assert all(-1 <= score["fsc_inside_low"] <= 1 for score in scores)


def test_headers_say_where_the_map_lies(plain):
    folder, result = plain
    for name in [f for f in result["files"] if f.endswith(".mrc")]:
        volume = read_volume(folder / name)
        assert volume.pixel_size_angstrom == pytest.approx(PIXEL)
        assert volume.origin_xyz_angstrom == pytest.approx(ORIGIN)
        assert volume.nstart_xyz == NSTART
        assert volume.data.shape == (BOX,) * 3 and volume.data.dtype == np.float32


def test_the_grey_scale_is_kept_in_measured_directions(plain, case):
    folder, _ = plain
    shells = shell_index(BOX)
    low = measured_region(BOX) & (shells > 0) & (shells < 6)
    for half in (1, 2):
        found, given = load(folder / f"corrected_half{half}.mrc"), load(case / f"half{half}.mrc")
        assert 0.8 < slope(found, given, low) < 1.2


def test_the_input_is_kept_beyond_the_limit(plain, case):
    folder, _ = plain
    beyond = shell_index(BOX) >= BOX * PIXEL / LIMIT
    for half in (1, 2):
        found, given = load(folder / f"corrected_half{half}.mrc"), load(case / f"half{half}.mrc")
        expected = spectrum(given)[beyond]
        scale = np.abs(spectrum(given)).max()
        np.testing.assert_allclose(spectrum(found)[beyond], expected, rtol=0, atol=1e-5 * scale)


def test_both_halves_are_corrected_and_differ(plain):
    folder, _ = plain
    first, second = (load(folder / f"corrected_half{half}.mrc") for half in (1, 2))
    assert 0.8 < np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.9999


def test_missing_directions_are_filled(plain, case):
    folder, _ = plain
    shells = shell_index(BOX)
    cone = ~measured_region(BOX, 25) & (shells > 1) & (shells < 6)
    before = (np.abs(spectrum(load(case / "half1.mrc")))[cone] ** 2).sum()
    after = (np.abs(spectrum(load(folder / "corrected_half1.mrc")))[cone] ** 2).sum()
    truth = (np.abs(spectrum(load(case / "truth.mrc")))[cone] ** 2).sum()
    assert before < 0.02 * truth and after > 0.1 * truth


def test_the_same_command_gives_the_same_files(small, tmp_path):
    maps = []
    for number in (1, 2):
        folder, _ = correct(small, tmp_path / str(number))
        maps.append((folder / "corrected_half1.mrc").read_bytes()[1024:])
    assert maps[0] == maps[1]
    other, _ = correct(small, tmp_path / "other", "--seed", "1")
    assert (other / "corrected_half1.mrc").read_bytes()[1024:] != maps[0]


# --- networks that are used again --------------------------------------------------------------


def test_predicting_alone_gives_the_maps_of_the_training(plain, case, tmp_path):
    trained, _ = plain
    model = ["--pretrained-model", trained / "model.safetensors", "--norm", "instance"]
    options = [*model, "--epochs", "0", "--limit-res", LIMIT]
    folder, result = correct(case, tmp_path / "out", *options)
    assert result["loss"] is None
    for half in (1, 2):
        found, expected = (load(f / f"corrected_half{half}.mrc") for f in (folder, trained))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.std())


def test_a_network_trained_further_is_another(plain, small, tmp_path):
    from safetensors.torch import load_file

    before = plain[0] / "model.safetensors"
    options = ["--pretrained-model", before, "--norm", "instance"]
    folder, result = correct(small, tmp_path / "out", *options)
    assert result["loss"] > 0
    first, second = load_file(before), load_file(folder / "model.safetensors")
    assert first.keys() == second.keys()
    assert any(not bool((first[name] == second[name]).all()) for name in first)
    # One step from where it was, not from the start: the exit would be zero then.
    exits = [name for name in first if "exit" in name]
    assert all(float((first[n] - second[n]).abs().max()) < 0.05 for n in exits) and exits


def test_a_network_of_another_width_is_refused(plain, small, tmp_path, capsys):
    arguments = ["spisonet", "correct", str(small / "half1.mrc"), str(small / "half2.mrc")]
    model = str(plain[0] / "model.safetensors")
    status = main(
        [*arguments, "--pretrained-model", model, "--width", "32", "--output", f"{tmp_path}/out"]
    )
    error = capsys.readouterr().err
    assert status != 0 and "--width 16" in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- inputs of all kinds -----------------------------------------------------------------------


def test_a_half_map_alone(small, tmp_path):
    folder, result = correct(small, tmp_path / "out", halves=("half1.mrc",))
    assert "corrected_half2" not in result
    assert np.isfinite(load(folder / "corrected_half1.mrc")).all()
    assert "One network has seen both" not in (folder / "report.html").read_text()


def test_a_half_map_alone_without_a_weight_counts_as_measured_everywhere(small, tmp_path):
    options = ["--mask", small / "mask.mrc", "--method", "classical"]
    folder, _ = correct(small, tmp_path / "out", *options, halves=("half1.mrc",), given=False)
    assert "all directions count as measured" in log_of(folder)


def test_a_weight_of_ones_fills_nothing(small, tmp_path):
    write(tmp_path / "ones.mrc", np.ones((24,) * 3))
    options = ["--mask", small / "mask.mrc", "--aniso-file", tmp_path / "ones.mrc"]
    folder, _ = correct(small, tmp_path / "out", *options, given=False)
    found, given = load(folder / "corrected_half1.mrc"), load(small / "half1.mrc")
    low = measured_region(24) & (shell_index(24) > 0) & (shell_index(24) < 6)
    assert 0.7 < slope(found, given, low) < 1.2


def test_nothing_given_but_half_maps_packed_as_dot_map_gz(small, tmp_path):
    for half in ("half1", "half2"):
        packed = gzip.compress((small / f"{half}.mrc").read_bytes())
        (tmp_path / f"{half}.map.gz").write_bytes(packed)
    folder, result = correct(
        tmp_path, tmp_path / "out", halves=("half1.map.gz", "half2.map.gz"), given=False
    )
    assert {"fsc3d.mrc", "mask.mrc"} <= set(result["files"])
    assert "no mask given" in log_of(folder) and "3DFSC computed" in log_of(folder)
    assert read_volume(folder / "corrected_half1.mrc").nstart_xyz == NSTART


@pytest.mark.parametrize("box", [25, 33])
def test_odd_boxes(box, tmp_path):
    write_case(tmp_path, simulate(box))
    folder, _ = correct(tmp_path, tmp_path / "out")
    found, given = load(folder / "corrected_half1.mrc"), load(tmp_path / "half1.mrc")
    assert found.shape == (box,) * 3
    low = measured_region(box) & (shell_index(box) > 0) & (shell_index(box) < 6)
    assert 0.8 < slope(found, given, low) < 1.2


@pytest.mark.parametrize("method", ["classical", "published"])
def test_other_methods(method, small, tmp_path):
    folder, result = correct(small, tmp_path / "out", "--method", method)
    assert ("model" in result) is (method == "published")
    found, given = load(folder / "corrected_half1.mrc"), load(small / "half1.mrc")
    low = measured_region(24) & (shell_index(24) > 0) & (shell_index(24) < 4)
    assert 0.5 < slope(found, given, low) < 1.5
    report = (folder / "report.html").read_text()
    assert "predicted, not measured" in report


def test_the_published_method_with_all_its_switches(small, tmp_path):
    options = ["--method", "published", "--rescale", "--match", "shell", "--beta", "0"]
    options += ["--limit-res", "12"]
    folder, _ = correct(small, tmp_path / "out", *options, halves=("half1.mrc",))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert {"Lc1", "Le1"} <= set(json.loads(lines[0])) and "Lc2" not in json.loads(lines[0])
    assert np.isfinite(load(folder / "corrected_half1.mrc")).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_averaging_over_rotations(small, tmp_path):
    maps = []
    for options in ([], ["--tta"]):
        output = tmp_path / f"out{len(options)}"
        folder, _ = correct(small, output, "--method", "published", *options, halves=("half1.mrc",))
        maps.append(load(folder / "corrected_half1.mrc"))
    assert 0.5 < np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] < 0.99999


@pytest.mark.parametrize(("box", "pixel"), [(24, PIXEL), (26, 4.8)])
def test_a_reference_of_any_box_and_pixel_size(box, pixel, small, tmp_path):
    """The reference is the truth; its low resolution must arrive in the cone."""
    from cryodl.core.volumes.boxes import resample_volume

    truth = load(small / "truth.mrc")
    write(tmp_path / "ref.mrc", 30 * resample_volume(truth, PIXEL, box, pixel), pixel)
    folder, _ = correct(
        *[small, tmp_path / "out", "--method", "classical"],
        *["--reference", tmp_path / "ref.mrc", "--ref-resolution", "16"],
    )
    found = load(folder / "corrected_half1.mrc")
    shells = shell_index(24)
    cone = ~measured_region(24, 25) & (shells > 0) & (shells < 4)
    a, b = spectrum(found)[cone], spectrum(truth)[cone]
    fsc = (a * b.conj()).real.sum() / np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())
    assert fsc > 0.9
    assert "hold the reference up to 16" in (folder / "report.html").read_text()


# --- grey values of all kinds ------------------------------------------------------------------


@pytest.fixture(scope="module")
def classical(small, tmp_path_factory):
    folder, _ = correct(
        small, tmp_path_factory.mktemp("classical") / "out", "--method", "classical"
    )
    return load(folder / "corrected_half1.mrc")


@pytest.mark.parametrize(("factor", "level"), [(1e6, 1e4), (1e-6, 0.0), (-1.0, 0.0), (-300.0, 5.0)])
def test_grey_values_come_back_as_they_were_dark_or_bright(
    factor, level, small, classical, tmp_path
):
    for half in ("half1", "half2"):
        write(tmp_path / f"{half}.mrc", load(small / f"{half}.mrc") * factor + level)
    for name in ("mask", "weight"):
        (tmp_path / f"{name}.mrc").write_bytes((small / f"{name}.mrc").read_bytes())
    folder, _ = correct(tmp_path, tmp_path / "out", "--method", "classical")
    found = (load(folder / "corrected_half1.mrc") - level) / factor
    np.testing.assert_allclose(found, classical, rtol=0, atol=2e-3 * classical.std())
    assert ("matter is dark" in log_of(folder)) is (factor < 0)


def test_dark_matter_without_a_mask_is_found_too(small, tmp_path):
    maps = []
    for sign in (1, -1):
        place = tmp_path / f"{sign}"
        place.mkdir()
        for half in ("half1", "half2"):
            write(place / f"{half}.mrc", sign * load(small / f"{half}.mrc"))
        folder, _ = correct(place, place / "out", "--method", "classical", given=False)
        maps.append(sign * load(folder / "corrected_half1.mrc"))
    np.testing.assert_allclose(maps[0], maps[1], rtol=0, atol=1e-3 * maps[0].std())


def test_a_low_resolution_reference_of_the_other_contrast_is_turned(small, tmp_path):
    maps = []
    for sign in (1, -1):
        write(tmp_path / f"ref{sign}.mrc", sign * load(small / "truth.mrc"))
        folder, _ = correct(
            *[small, tmp_path / f"out{sign}", "--method", "classical"],
            *["--reference", tmp_path / f"ref{sign}.mrc", "--ref-resolution", "16"],
        )
        maps.append(load(folder / "corrected_half1.mrc"))
    np.testing.assert_allclose(maps[0], maps[1], rtol=0, atol=1e-4 * maps[0].std())


# --- halves that must not meet -----------------------------------------------------------------


@pytest.mark.parametrize("given", [True, False], ids=["with mask", "without mask"])
def test_independent_halves_never_see_each_other(given, small, tmp_path):
    """Another half 2 leaves corrected half 1 as it was, to the last bit, and changes half 2."""
    bytes_of = []
    for number in (1, 2):
        place = tmp_path / str(number)
        place.mkdir()
        for name in ("half1", "mask", "weight"):
            (place / f"{name}.mrc").write_bytes((small / f"{name}.mrc").read_bytes())
        second = load(small / "half2.mrc")
        write(place / "half2.mrc", second if number == 1 else np.roll(second, 2, 1) * 3 + 1)
        options = ["--aniso-file", place / "weight.mrc"]
        options += ["--mask", place / "mask.mrc"] if given else []
        folder, result = correct(place, place / "out", "--independent", *options, given=False)
        assert result["model"] == result["model_half1"] == "model_half1.safetensors"
        names = ["corrected_half1", "corrected_half1_filtered", "corrected_half2"]
        bytes_of.append([(folder / f"{name}.mrc").read_bytes()[1024:] for name in names])
        bytes_of[-1].insert(2, (folder / "model_half1.safetensors").read_bytes())
        bytes_of[-1].append((folder / "model_half2.safetensors").read_bytes())
    first, second = bytes_of
    assert first[:3] == second[:3]
    assert first[3] != second[3] and first[4] != second[4]


# --- the report --------------------------------------------------------------------------------


def test_the_report_stands_alone_and_warns_of_correlated_halves(plain):
    report = (plain[0] / "report.html").read_text()
    assert "One network has seen both half maps" in report
    assert "predicted, not measured" in report
    for outside in ('src="http', "src='http", "<script src", '<link rel="stylesheet"', "url(http"):
        assert outside not in report
    assert report.count("data:image/png;base64,") + report.count("<svg") >= 5
    assert "Against the truth" in report and "What the filling is worth" in report


def test_the_report_of_independent_halves_warns_of_something_else(small, tmp_path):
    folder, _ = correct(small, tmp_path / "out", "--independent", "--method", "classical")
    report = (folder / "report.html").read_text()
    assert "One network has seen both half maps" not in report
    assert "Independent halves share nothing but the 3DFSC" in report
    assert "a fair estimate" in report


def test_a_weight_made_of_the_truth_is_on_the_grid_of_the_maps():
    simulated = simulate(24)
    weight = weight_of(simulated)
    assert weight[12, 12, 12] > 0.9 and weight[16, 12, 12] == 0 and weight[12, 12, 16] > 0.5
