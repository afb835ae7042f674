"""Whole calls on the files of RELION 3.1.3, 4.0.2 and 5.0.1, without RELION."""

import csv
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodl.core.fourier.grids import radius_grid_px
from cryodl.core.relion.call import read_arrays, read_call
from cryodl.core.relion.reconstruct import Prior, reconstruct_map, sharpen_tau2
from cryodl.errors import ConfigError, CryodlError, InputError
from cryodl.methods.spisonet.external_reconstruct import main, reconstruct
from cryodl.methods.spisonet.relion import correction
from cryodl.methods.spisonet.relion.result import check_map

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "relion_fixtures"
JOB = Path("Refine3D/job005")
ROOT = JOB / "run_it002_half1_class001"
STAR = f"{ROOT}_external_reconstruct.star"
RESULT = Path(f"{ROOT}_external_reconstruct.mrc")
OPEN = {"ISONET_START_HEALPIX": "1", "ISONET_START_RESOLUTION": "60", "ISONET_ON_ERROR": "fail"}
RAW = {
    "ISONET_WHITENING": "no",
    "ISONET_FSC_WEIGHTING": "no",
    "ISONET_LOWPASS": "no",
    "ISONET_BEYOND": "published",
}


def change(path, *pairs):
    text = Path(path).read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    Path(path).write_text(text)


@pytest.fixture
def enter(tmp_path, monkeypatch):
    """Make the working folder the project folder of a version, without --keep_lowres."""

    def go(version, keep_lowres=False):
        shutil.copytree(FIXTURES / version, tmp_path, dirs_exist_ok=True)
        shutil.copytree(FIXTURES / "toy_input", tmp_path, dirs_exist_ok=True)
        monkeypatch.chdir(tmp_path)
        if not keep_lowres:
            for path in JOB.glob("*_optimiser.star"):
                change(path, (" --keep_lowres", ""))
        return tmp_path

    return go


@pytest.fixture
def network(monkeypatch):
    """Replace the network by a function of the maps; what it was given is kept."""
    seen = {}

    def use(function=lambda maps: maps):
        def stand_in(task, maps, weight, mask, *, mean_cosine):
            seen.update(maps=maps, weight=weight, mask=mask, mean_cosine=mean_cosine)
            return function(maps)

        monkeypatch.setattr(correction, "run_network", stand_in)
        return seen

    return use


def rows(job=JOB):
    with (job / "spisonet_log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def own_map(call, minres=5):
    real, imaginary, weight = read_arrays(call)
    box = {"box_size_px": call.box_size_px, "current_size_px": call.current_size_px}
    tau2 = sharpen_tau2(call.tau2, call.fsc, weight, fudge=call.tau2_fudge, **box)
    prior = Prior(tau2, call.tau2_fudge, minres)
    return reconstruct_map(real, imaginary, weight, prior=prior, **box)


@pytest.mark.parametrize("version", ["4.0.2", "5.0.1"])
def test_before_the_start_relions_own_map_is_returned(enter, version, capsys):
    enter(version)
    RESULT.write_bytes(b"left over")
    before = {p: p.read_bytes() for p in JOB.iterdir() if p != RESULT}
    assert reconstruct(STAR, {}) == 0
    np.testing.assert_array_equal(mrcfile.read(RESULT), own_map(read_call(STAR)))
    assert mrcfile.open(RESULT, header_only=True).voxel_size.x == 10
    (row,) = rows()
    assert (row["action"], row["gate"], row["half"]) == ("relion", "closed", "1")
    assert row["relion_version"] == version and row["healpix_order"] == "1"
    assert row["reason"] == "waits for order 3" and row["sd_result"] == row["sd_relion"]
    assert "spIsoNet it002 half1: RELION's own map (FSC 0.143 at" in capsys.readouterr().out
    for path, content in before.items():
        assert path.read_bytes() == content  # RELION's own files are as they were


def test_gates_and_their_reasons(enter):
    enter("5.0.1")
    closed = {
        "waits for 15 A": {"ISONET_START_HEALPIX": "1"},
        "waits for order 2": {"ISONET_START_HEALPIX": "2", "ISONET_START_RESOLUTION": "60"},
        "order 1 reached, where the correction ends": {**OPEN, "ISONET_STOP_HEALPIX": "1"},
    }
    for reason, environment in closed.items():
        reconstruct(STAR, environment)
        assert rows()[-1]["reason"] == reason
    for path in JOB.glob("*_sampling.star"):
        path.unlink()
    reconstruct(STAR, OPEN)
    assert rows()[-1]["reason"].startswith("no sampling file found")


def test_unregularised_map_before_the_start_if_wanted(enter):
    enter("5.0.1")
    assert reconstruct(STAR, {"ISONET_PRESTART": "unfil"}) == 0
    np.testing.assert_array_equal(mrcfile.read(RESULT), mrcfile.read(f"{ROOT}_unfil.mrc"))
    assert rows()[0]["action"] == "unfil"


def test_names_with_blanks_come_in_several_arguments(enter, monkeypatch):
    folder = enter("5.0.1")
    (folder / "my job").symlink_to(JOB)
    monkeypatch.setattr("os.environ", {})
    assert main(["my", f"job/{Path(STAR).name}"]) == 0
    assert RESULT.exists()


@pytest.mark.parametrize("star", ["Refine3D/job009/run_it007", "Class3D/job007/run_it001"])
def test_maps_of_all_particles_are_passed_through(enter, star):
    enter("5.0.1")
    name = next(Path(star).parent.glob("*_external_reconstruct.star"))
    call = read_call(name)
    source = read_call(STAR)
    for kind in ("data_real", "data_imag", "weight"):
        shutil.copy(getattr(source, kind), getattr(call, kind))
    assert reconstruct(str(name), OPEN) == 0
    np.testing.assert_array_equal(mrcfile.read(call.result), own_map(call))
    (row,) = rows(name.parent)
    assert (row["action"], row["gate"], row["half"]) == ("relion", "none", "")


def run_both(environment):
    """Call both halves at once, as RELION does; returns the errors by half."""
    errors = {}

    def work(half):
        try:
            reconstruct(STAR.replace("half1", f"half{half}"), environment)
        except CryodlError as error:
            errors[half] = error

    threads = [threading.Thread(target=work, args=(half,)) for half in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return errors


@pytest.fixture
def both(enter):
    """The only version with both halves: 3.1.3, told not to grid as RELION is not needed then."""
    folder = enter("3.1.3")
    for path in JOB.glob("*_optimiser.star"):
        change(path, (" --external_reconstruct", " --external_reconstruct --skip_gridding"))
    return folder


def test_both_halves_at_once_get_their_maps(both, network):
    seen = network()
    assert run_both({**OPEN, **RAW}) == {}
    for half in (1, 2):
        root = str(ROOT).replace("half1", f"half{half}")
        found = mrcfile.read(f"{root}_external_reconstruct.mrc")
        np.testing.assert_array_equal(found, mrcfile.read(f"{root}_unfil.mrc"))
    assert sorted(row["role"] for row in rows()) == ["waiter", "worker for both halves"]
    assert {row["action"] for row in rows()} == {"network"}
    np.testing.assert_allclose(seen["mask"], mrcfile.read("mask.mrc"), atol=1e-6)
    kept = sorted(p.name for p in (JOB / "run_it002_spisonet").iterdir())
    assert kept == ["weight.mrc"]
    assert not list(JOB.glob("*_spisonet.*"))


def test_one_half_after_the_other(both, network):
    network()
    change(
        JOB / "run_it001_optimiser.star", ("--skip_grid", "--sequential_halves_recons --skip_grid")
    )
    for half in ("half1", "half2"):
        assert reconstruct(STAR.replace("half1", half), {**OPEN, **RAW}) == 0
    assert [row["role"] for row in rows()] == ["worker for both halves", "waiter"]


@pytest.mark.parametrize("source", ["fsc", "weight", "min"])
def test_sources_of_the_directional_weight(both, network, source):
    seen = network()
    assert run_both({**OPEN, **RAW, "ISONET_ANISO": source}) == {}
    weight = seen["weight"]
    assert seen["mean_cosine"] == (source == "fsc")
    assert weight.shape == (14, 14, 14) and 0 <= weight.min() < weight.max() <= 1
    assert weight[7, 7, 7] == 1
    np.testing.assert_allclose(weight[1:, 1:, 1:], weight[:0:-1, :0:-1, :0:-1], atol=1e-6)
    assert [row["weight"] for row in rows()] == [source, source]


BAD = {
    "not finite": lambda volume: np.full_like(volume, np.nan),
    "same value": np.ones_like,
    "standard deviation": lambda volume: 1000 * volume,
    "shape": lambda volume: volume[1:, 1:, 1:],
}


@pytest.mark.parametrize("what", BAD)
def test_maps_that_cannot_be_right_are_not_returned(both, network, what):
    network(lambda maps: {half: BAD[what](volume) for half, volume in maps.items()})
    errors = run_both({**OPEN, **RAW})
    assert set(errors) == {1, 2} and all(what in str(error) for error in errors.values())
    assert not list(JOB.glob("*_external_reconstruct.mrc"))
    assert [row["action"] for row in rows()] == ["failed", "failed"]


def test_fall_back_for_both_halves_with_a_warning(both, network, capsys):
    def fail(maps):
        raise ValueError("no gradient")

    network(fail)
    assert run_both({**OPEN, **RAW, "ISONET_ON_ERROR": "fallback"}) == {}
    for half in (1, 2):
        call = read_call(STAR.replace("half1", f"half{half}"))
        np.testing.assert_array_equal(mrcfile.read(call.result), own_map(call))
    assert [row["action"] for row in rows()] == ["fallback", "fallback"]
    assert all("ValueError: no gradient" in row["message"] for row in rows())
    said = capsys.readouterr()
    assert "the correction FAILED" in said.out and "WARNING: the correction failed" in said.err
    notes = list((JOB / "run_it002_spisonet").glob("failure_half*.txt"))
    assert len(notes) == 1 and "Traceback" in notes[0].read_text()


def test_settings_in_effect_are_noted(enter):
    enter("5.0.1")
    reconstruct(STAR, {"ISONET_EPOCHS": "7", "ISONET_EPOCH": "8"})
    assert '"ISONET_EPOCHS": 7' in (JOB / "spisonet_settings.json").read_text()
    assert "ISONET_EPOCH is not known, perhaps ISONET_EPOCHS" in rows()[0]["message"]


def test_low_resolution_needs_ini_high_and_a_reference(enter):
    enter("5.0.1", keep_lowres=True)
    with pytest.raises(InputError, match="set ISONET_REFERENCE to the reference"):
        reconstruct(STAR, {})
    for path in JOB.glob("run_it00*_optimiser.star"):
        change(path, (" --ini_high 45", ""))
    with pytest.raises(ConfigError, match="--ini_high: found none"):
        reconstruct(STAR, {})
    assert not RESULT.exists() and rows()[-1]["action"] == "failed"


@pytest.mark.parametrize("how", ["relion", "reference"])
def test_low_resolution_of_the_reference_is_kept(enter, how):
    enter("5.0.1", keep_lowres=how == "relion")
    plain = own_map(read_call(STAR))
    environment = {}
    if how == "relion":
        shutil.copy("ref.mrc", JOB / "run_it000_half1_class001.mrc")
    else:
        environment = {"ISONET_KEEP_LOWRES": "yes", "ISONET_REFERENCE": "ref.mrc"}
    assert reconstruct(STAR, environment) == 0
    found, reference = mrcfile.read(RESULT), mrcfile.read("ref.mrc")

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    assert correlation(found, reference) > correlation(plain, reference) + 0.05
    assert rows()[0]["keep_lowres"] == "1"


def test_averages_in_2d_are_left_to_relions_program(enter, monkeypatch):
    folder = enter("5.0.1")
    program = folder / "relion_external_reconstruct"
    program.write_text('#!/bin/sh\necho "$@" > called\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    change(
        STAR,
        ("_rlnReferenceDimensionality                       3", "_rlnReferenceDimensionality 2"),
    )
    assert reconstruct(STAR, OPEN) == 3
    assert Path("called").read_text().split() == [STAR, "--skip_gridding"]


def test_check_of_maps():
    own = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    check_map(9 * own, own)
    with pytest.raises(InputError, match="within a factor of 10 of RELION's own"):
        check_map(own / 11, own)


def test_command_answers_quickly_and_without_torch(enter):
    enter("5.0.1")
    code = (
        "import sys; from cryodl.methods.spisonet.external_reconstruct import main\n"
        f"status = main([{STAR!r}])\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(rows()[0]["seconds"]) < 2


def test_command_says_what_is_wrong(enter, capsys, monkeypatch):
    enter("5.0.1")
    monkeypatch.setattr("os.environ", {})
    assert main([]) == 2 and main(["--help"]) == 0
    assert main(["missing.star"]) == 2
    assert "spIsoNet: ERROR: missing.star: could not be read" in capsys.readouterr().err


def test_filters_before_and_after_the_network(both, network):
    seen = network()
    plain = {**OPEN, **RAW}
    assert run_both(plain) == {}
    raw, raw_result = seen["maps"][1], mrcfile.read(RESULT)
    np.testing.assert_array_equal(raw, raw_result)
    filters = {
        "WHITENING": {"ISONET_WHITENING": "yes", "ISONET_WHITENING_LOW": "65"},
        "FSC_WEIGHTING": {"ISONET_FSC_WEIGHTING": "yes", "ISONET_METHOD": "published"},
        "LOWPASS": {"ISONET_LOWPASS": "yes"},
        "ANGULAR": {"ISONET_ANGULAR_WHITEN": "yes", "ISONET_WHITENING_LOW": "65"},
    }
    for name, settings in filters.items():
        seen.clear()
        assert run_both({**plain, **settings}) == {}, rows()[-1]["message"]
        before = name in ("WHITENING", "FSC_WEIGHTING")
        assert np.array_equal(seen["maps"][1], raw) != before
        assert not np.array_equal(mrcfile.read(RESULT), raw_result)


def test_whitening_is_undone_for_relions_likelihood(both, network):
    seen = network()
    assert run_both({**OPEN, **RAW}) == {}
    raw = seen["maps"][1].copy()
    whitening = {**OPEN, **RAW, "ISONET_WHITENING": "yes", "ISONET_WHITENING_LOW": "65"}
    assert run_both(whitening) == {}
    # The stand-in changes nothing, so what was raised must come back.
    assert np.abs(seen["maps"][1] - raw).max() > 0.05 * raw.std()
    assert np.abs(mrcfile.read(RESULT) - raw).max() < 1e-5 * raw.std()
    assert run_both({**whitening, "ISONET_GREY_SCALE": "published"}) == {}
    np.testing.assert_array_equal(mrcfile.read(RESULT), seen["maps"][1])


def test_all_maps_on_the_way_are_kept_if_wanted(both, network):
    network()
    assert run_both({**OPEN, **RAW, "ISONET_KEEP_FILES": "1"}) == {}
    kept = {p.name for p in (JOB / "run_it002_spisonet").iterdir()}
    assert {f"{stage}_half{half}.mrc" for stage in ("input", "prepared") for half in (1, 2)} < kept


def test_beyond_the_limit_lies_relions_own_map(both, network):
    network()
    assert run_both({"ISONET_START_HEALPIX": "9"}) == {}
    own = mrcfile.read(RESULT)
    assert run_both({**OPEN, **RAW, "ISONET_BEYOND": "relion"}) == {}
    result, limit = mrcfile.read(RESULT), float(rows()[-1]["limit_resolution"])
    with mrcfile.open(RESULT, header_only=True) as stream:
        edge = len(own) * float(stream.voxel_size.x) / limit
    beyond = radius_grid_px(len(own)) > edge + 1
    found, expected = (np.fft.fftshift(np.fft.fftn(v))[beyond] for v in (result, own))
    assert beyond.any() and np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert not np.allclose(result, own, atol=1e-2 * own.std())


def test_relions_own_map_stays_where_it_is_well_measured(both, network):
    network(lambda maps: {half: 3 * volume for half, volume in maps.items()})
    assert run_both({"ISONET_START_HEALPIX": "9"}) == {}
    own = mrcfile.read(RESULT)
    # What is three times too large is brought back to what RELION gives.
    for measured, low, high in (("relion", 0.8, 1.2), ("corrected", 2.5, 9)):
        assert run_both({**OPEN, **RAW, "ISONET_MEASURED": measured}) == {}
        assert low * own.std() < mrcfile.read(RESULT).std() < high * own.std()


def test_wiener_weighs_directions_without_a_network(both, monkeypatch):
    monkeypatch.setattr(correction, "run_network", None)
    assert run_both({**OPEN, **RAW, "ISONET_METHOD": "wiener", "ISONET_ANISO": "weight"}) == {}
    result, raw = (np.abs(np.fft.fftn(mrcfile.read(p))) for p in (RESULT, f"{ROOT}_unfil.mrc"))
    share = (result / raw)[raw > 1e-3 * raw.max()]
    assert share.max() < 1.001 and share.std() > 0.1
