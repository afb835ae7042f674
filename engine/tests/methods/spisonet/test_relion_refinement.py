"""Refinements by the real RELION that call our external reconstruction."""

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from relion_toy import make_toy, make_volume_toy, read_map, refine

pytestmark = pytest.mark.relion

PROGRAM = f"{shlex.quote(sys.executable)} -m cryodl.relion_wrapper"
STAND_IN = Path(__file__).with_name("relion_stand_in.py")
WITH_STAND_IN = f"{shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))}"
OPEN = {"ISONET_START_HEALPIX": "1", "ISONET_START_RESOLUTION": "200", "ISONET_ON_ERROR": "fail"}
# Raw maps pass through unchanged, so that the way of the data can be followed.
RAW = {
    "ISONET_WHITENING": "no",
    "ISONET_FSC_WEIGHTING": "no",
    "ISONET_LOWPASS": "no",
    "ISONET_BEYOND": "published",
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture(scope="module")
def plain(toy):
    """Plain refinements by their options, each run once."""
    ran = {}

    def get(**options):
        key = repr(sorted(options.items()))
        if key not in ran:
            ran[key] = refine(toy, f"plain{len(ran)}", **options)
            assert ran[key].status == 0
        return ran[key]

    return get


def rows(run):
    with (run.folder / "spisonet_log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def actions(run):
    return [row["action"] for row in rows(run)]


def difference(a, b):
    return np.abs(a - b).max() / b.std()


def left_over(run, root="run"):
    kinds = ("lock", "done", "failed", "half1", "half2")
    return [
        p.name for p in run.folder.iterdir() if p.name.endswith(tuple(f"net.{k}" for k in kinds))
    ]


# Gridding spreads rounding errors where few views fill the grid; it is tested where they do.
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pad": 2, "extra": "--skip_gridding"},
        {"solvent_fsc": False, "extra": "--skip_gridding"},
        {"solvent_fsc": False, "extra": "--skip_gridding --sequential_halves_recons"},
        {"processes": 5},
    ],
    ids=["plain", "pad2", "no-solvent-fsc", "sequential", "five-processes"],
)
def test_before_the_start_the_maps_are_relions_own(toy, plain, options, request):
    name = request.node.callspec.id
    ours = refine(toy, f"closed_{name}", external=PROGRAM, **options)
    assert ours.status == 0, ours.said
    for half in (1, 2):
        expected = plain(**options).map(f"run_it001_half{half}_class001.mrc")
        found = ours.map(f"run_it001_half{half}_class001.mrc")
        assert difference(found, expected) < 1e-5
    assert actions(ours) == ["relion", "relion"]
    for row in rows(ours):
        assert row["gate"] == "closed" and row["reason"] == "waits for order 3"
        assert float(row["seconds"]) < 2
    assert ours.said.count("spIsoNet it001 half1: RELION's own map (FSC 0.143 at") == 1


@pytest.fixture(scope="module")
def subtomograms(tmp_path_factory):
    return make_volume_toy(tmp_path_factory.mktemp("subtomograms") / "project")


@pytest.mark.parametrize(
    "extra, largest", [("", 1e-3), ("--skip_gridding", 1e-5)], ids=["program", "formula"]
)
def test_maps_of_subtomograms_are_relions_own(subtomograms, extra, largest):
    options = {"solvent_fsc": False, "extra": f"--offset_range 1 --offset_step 1 {extra}"}
    plain = refine(subtomograms, f"plain{extra}", **options)
    ours = refine(subtomograms, f"ours{extra}", external=PROGRAM, **options)
    assert ours.status == 0, ours.said
    assert actions(ours) == ["relion", "relion"]
    for half in (1, 2):
        name = f"run_it001_half{half}_class001.mrc"
        # RELION's own program takes volumes for images: its map is 16 times too small, the box.
        assert difference(ours.map(name), plain.map(name)) < largest


@pytest.mark.parametrize(
    "options, roles",
    [
        ({}, {"worker for both halves", "waiter"}),
        ({"extra": "--sequential_halves_recons"}, {"worker for both halves", "waiter"}),
        ({"solvent_fsc": False}, {"worker for both halves", "waiter"}),
        ({"solvent_fsc": False, "extra": "--sequential_halves_recons"}, {"alone"}),
    ],
    ids=["plain", "sequential", "no-solvent-fsc", "sequential-no-solvent-fsc"],
)
def test_both_halves_get_their_own_corrected_map(toy, options, roles, request):
    name = request.node.callspec.id
    run = refine(
        toy, f"open_{name}", external=WITH_STAND_IN, environment={**OPEN, **RAW}, **options
    )
    assert run.status == 0, run.said
    assert actions(run) == ["network", "network"]
    assert {row["role"] for row in rows(run)} == roles
    for half in (1, 2):
        result = run.map(f"run_it001_half{half}_class001_external_reconstruct.mrc")
        unfiltered = run.folder / f"run_it001_half{half}_class001_unfil.mrc"
        assert unfiltered.exists() == options.get("solvent_fsc", True)
        if unfiltered.exists():
            np.testing.assert_array_equal(result, read_map(unfiltered))
        # RELION took it: what it saved is the result times the mask.
        saved = run.map(f"run_it001_half{half}_class001.mrc")
        inside = read_map(toy.folder / "mask.mrc") == 1
        if options.get("solvent_fsc", True):
            np.testing.assert_allclose(saved[inside], result[inside], rtol=1e-6)
    both = [run.map(f"run_it001_half{h}_class001_external_reconstruct.mrc") for h in (1, 2)]
    assert difference(*both) > 0.01
    # Nothing remains but a note for a half that works on its own.
    assert set(left_over(run)) <= {"run_it001_spisonet.done"}


def test_names_with_underscores_and_blanks(toy):
    run = refine(
        toy,
        "my job_it003 folder",
        root="my_own_run",
        external=WITH_STAND_IN,
        environment={**OPEN, **RAW},
    )
    assert run.status == 0, run.said
    assert actions(run) == ["network", "network"] and rows(run)[0]["run"] == "my_own_run"


def test_continuing_under_the_same_and_a_new_root(toy):
    first = refine(toy, "continued", external=WITH_STAND_IN, environment={**OPEN, **RAW})
    assert first.status == 0, first.said
    same = refine(
        toy,
        "continued",
        iterations=2,
        continued="run_it001_optimiser.star",
        external=WITH_STAND_IN,
        environment={**OPEN, **RAW, "ISONET_KEEP_LOWRES": "1"},
    )
    assert same.status == 0, same.said
    new = refine(
        toy,
        "continued",
        root="run_ct1",
        iterations=2,
        continued="run_it001_optimiser.star",
        external=WITH_STAND_IN,
        environment={**OPEN, **RAW, "ISONET_KEEP_LOWRES": "1"},
    )
    assert new.status == 0, new.said
    assert [(row["run"], row["iteration"], row["keep_lowres"]) for row in rows(new)] == (
        [("run", "1", "0")] * 2 + [("run", "2", "1")] * 2 + [("run_ct1", "2", "1")] * 2
    )
    assert set(actions(new)) == {"network"}


@pytest.mark.parametrize("kind", ["fail", "kill", "disk", "nan"])
def test_every_failure_ends_relion(toy, kind):
    environment = {**OPEN, **RAW, "TOY_NETWORK": kind}
    run = refine(toy, f"fails_{kind}", external=WITH_STAND_IN, environment=environment)
    assert run.status != 0 and run.seconds < 60
    results = list(run.folder.glob("run_it001_half?_class001_external_reconstruct.mrc"))
    assert results == []
    assert "there was something wrong with system call" in run.said
    if kind != "kill":
        assert "spIsoNet: ERROR:" in run.said


def test_killed_worker_leaves_nothing_that_stops_a_second_start(toy):
    killed = {**OPEN, **RAW, "TOY_NETWORK": "kill", "TOY_ITERATION": "2"}
    run = refine(toy, "killed", iterations=2, external=WITH_STAND_IN, environment=killed)
    assert run.status != 0
    again = refine(
        toy,
        "killed",
        iterations=2,
        continued="run_it001_optimiser.star",
        external=WITH_STAND_IN,
        environment={**OPEN, **RAW},
    )
    assert again.status == 0, again.said
    assert actions(again)[-2:] == ["network", "network"]
    assert left_over(again) == []


def test_fall_back_is_loud_and_is_relions_own_map(toy, plain):
    environment = {**OPEN, "ISONET_ON_ERROR": "fallback", "TOY_NETWORK": "fail"}
    run = refine(toy, "falls_back", external=WITH_STAND_IN, environment=environment)
    assert run.status == 0, run.said
    assert actions(run) == ["fallback", "fallback"]
    assert "the loss is not finite" in run.said and "FAILED" in run.said
    for half in (1, 2):
        expected = plain().map(f"run_it001_half{half}_class001.mrc")
        assert difference(run.map(f"run_it001_half{half}_class001.mrc"), expected) < 1e-5


def test_settings_that_cannot_be_read_end_relion_at_once(toy):
    run = refine(toy, "unreadable", external=PROGRAM, environment={"ISONET_EPOCHS": "many"})
    assert run.status != 0
    assert "spIsoNet: ERROR: ISONET_EPOCHS: found 'many', expected a valid integer" in run.said


def test_classification_gets_relions_own_maps(toy):
    options = (
        "relion_refine --i particles.star --ref ref.mrc --ini_high 30 --pad 1 --K 2 --iter 1 "
        "--particle_diameter 134 --flatten_solvent --zero_mask --oversampling 0 --healpix_order 1 "
        "--offset_range 2 --offset_step 2 --tau2_fudge 4 --random_seed 5 --pool 30 --j 1"
    )
    for job, external in (("class_plain", ""), ("class_ours", "--external_reconstruct")):
        (toy.folder / job).mkdir()
        command = [*options.split(), "--o", f"{job}/run", *external.split()]
        environment = {**os.environ, "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE": PROGRAM}
        subprocess.run(
            command, cwd=toy.folder, env=environment, check=True, capture_output=True, timeout=60
        )
    for number in (1, 2):
        ours, theirs = (
            read_map(toy.folder / job / f"run_it001_class00{number}.mrc")
            for job in ("class_ours", "class_plain")
        )
        assert difference(ours, theirs) < 1e-4


@pytest.mark.parametrize(
    "start",
    [1, pytest.param(0, marks=pytest.mark.slow)],
    ids=["converged-by-force", "whole-refinement"],
)
def test_last_map_of_all_particles_is_relions_own(toy, start):
    environment, job = {**OPEN, **RAW}, f"last_{start}"
    run = refine(toy, job, iterations=start, external=WITH_STAND_IN, environment=environment)
    if start:
        run = refine(
            toy,
            job,
            iterations=0,
            continued=f"run_it{start:03d}_optimiser.star",
            external=WITH_STAND_IN,
            environment=environment,
            extra="--force_converge",
        )
    assert run.status == 0, run.said
    last = rows(run)[-1]
    assert (last["half"], last["action"], last["reason"]) == ("", "relion", "all particles")
    assert float(last["seconds"]) < 2
    name = f"run_it{int(last['iteration']):03d}_class001_external_reconstruct.mrc"
    np.testing.assert_array_equal(run.map("run_class001.mrc"), run.map(name))
    assert actions(run)[:-1] == ["network"] * 2 * (int(last["iteration"]) - 1)
    assert left_over(run) == []


TINY = {
    **OPEN,
    "ISONET_WIDTH": "16",
    "ISONET_CUBE_SIZE": "16",
    "ISONET_N_SUBVOLUME": "8",
    "ISONET_EPOCHS": "1",
    "ISONET_DEVICES": "cpu",
    # As in a job of a cluster; training that believed it would wait for the other ranks.
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS_PER_NODE": "4",
    "WORLD_SIZE": "4",
    "RANK": "0",
}


def test_network_is_trained_within_a_refinement(toy, plain):
    run = refine(toy, "network", external=PROGRAM, environment=TINY)
    assert run.status == 0, run.said
    assert actions(run) == ["network", "network"]
    assert {row["weight"] for row in rows(run)} == {"weight"}
    for half in (1, 2):
        corrected = run.map(f"run_it001_half{half}_class001.mrc")
        own = plain().map(f"run_it001_half{half}_class001.mrc")
        assert 0.1 < np.corrcoef(corrected.ravel(), own.ravel())[0, 1] < 0.9999
    folder = run.folder / "run_it001_spisonet"
    assert {path.name for path in folder.iterdir()} == {"weight.mrc", "network"}
    # Halves that never meet: a network for each.
    assert len(list((folder / "network").glob("model*.safetensors"))) == 2


@pytest.mark.slow
def test_network_goes_on_from_the_last_iteration(toy):
    environment = {**TINY, "ISONET_RETRAIN_EACH_ITER": "no", "ISONET_KEEP_LOWRES": "yes"}
    run = refine(
        toy,
        "goes_on",
        iterations=2,
        external=PROGRAM,
        environment={**environment, "ISONET_KEEP_FILES": "yes"},
        timeout_seconds=240,
    )
    assert run.status == 0, run.said
    assert actions(run) == ["network"] * 4
    config = (run.folder / "run_it002_spisonet" / "network" / "config.json").read_text()
    assert "goes_on/run_it001_spisonet/network/model.safetensors" in config
    kept = {path.name for path in (run.folder / "run_it002_spisonet").iterdir()}
    assert {"input_half1.mrc", "prepared_half2.mrc"} <= kept


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"solvent_fsc": False, "extra": "--sequential_halves_recons"}],
    ids=["one", "two"],
)
def test_independent_networks(toy, options, request):
    run = refine(
        toy,
        f"independent_{request.node.callspec.id}",
        external=PROGRAM,
        environment={**TINY, "ISONET_INDEPENDENT": "yes"},
        timeout_seconds=240,
        **options,
    )
    assert run.status == 0, run.said
    assert actions(run) == ["network", "network"]
    assert len(list(run.folder.glob("run_it001_spisonet/network*/model*.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["constant", "scale", "box"])
def test_results_that_cannot_be_right_end_relion(toy, kind):
    environment = {**OPEN, **RAW, "TOY_NETWORK": kind}
    run = refine(toy, f"fails_{kind}", external=WITH_STAND_IN, environment=environment)
    assert run.status != 0 and run.seconds < 60
    assert "spIsoNet: ERROR: result: found" in run.said


@pytest.mark.slow
def test_gridding_with_twofold_padding(tmp_path):
    # Gridding spreads rounding errors where few views fill a padded grid, so there are many here.
    many = make_toy(tmp_path / "project", number=300, preferred=0.0)
    maps = []
    for job, external in (("plain", ""), ("ours", PROGRAM)):
        run = refine(many, job, pad=2, external=external, timeout_seconds=240)
        assert run.status == 0, run.said
        maps.append([run.map(f"run_it001_half{half}_class001.mrc") for half in (1, 2)])
    for theirs, ours in zip(*maps):
        assert difference(ours, theirs) < 1e-4
