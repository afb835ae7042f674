"""The commands from end to end, and everything that can be wrong with what they are given."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from subvolume_cases import particles, tomogram, write_set

from cryodl.cli import main, run_command
from cryodl.core.evaluation.partitions import adjusted_rand_index
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.coordinates import write_coordinates
from cryodl.core.io.particles.read import read_particles
from cryodl.errors import InputError

FEW = ["--align-rounds", "1", "--stability-seeds", "2", "--starts", "3"]
QUICK = ["--preset", "tiny", "--devices", "cpu", "--network-box-px", "16"]


def run(*words):
    run_command(["autoencoder3d", *[str(word) for word in words]])


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Particles of three shapes; trained, clustered and selected."""
    folder = tmp_path_factory.mktemp("autoencoder")
    boxes, truth = particles((16, 13, 10), noise=0.4)
    star = write_set(folder / "bright", boxes)
    np.savetxt(folder / "truth.txt", truth, fmt="%d")
    tilts = ["--tilt-min", "-60", "--tilt-max", "60"]
    run("train", star, *QUICK, *tilts, "--epochs", "3", "--output", folder / "train")
    more = ["--rotations", "300", "--sweep", "3:4", *FEW]
    run("cluster", folder / "train", *more, "--output", folder / "cluster")
    (folder / "classes.json").write_text('{"2": [0], "1": [2]}')
    classes = ["--classes", folder / "classes.json"]
    run("select", folder / "cluster", *classes, "--output", folder / "select")
    return folder


def labels_of(folder):
    with np.load(folder / "groups.npz") as stored:
        return stored["labels"]


def test_training_learns_and_keeps_codes_by_name(work):
    found = result(work / "train")
    losses = [json.loads(x) for x in (work / "train" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["validation"] < losses[0]["validation"]
    with np.load(work / "train" / found["codes"]) as stored:
        assert stored["codes"].shape == (39, 16)
        names = [str(name) for name in stored["names"]]
        assert np.allclose(np.linalg.det(stored["rotations"]), 1)
    assert names == read_particles(work / "train" / found["star"]).names
    assert found["active_units"] >= 8


def test_groups_are_found_without_being_told_how_many(work):
    truth, found = np.loadtxt(work / "truth.txt", dtype=int), result(work / "cluster")
    labels = labels_of(work / "cluster")
    assert found["clusters"] == 3 and adjusted_rand_index(truth, labels) > 0.9
    assert found["sizes"] == sorted(np.bincount(labels), reverse=True)
    star = read_particles(work / "cluster" / found["star"])
    assert np.array_equal(star.classes, labels + 1)
    assert "cdlDistToCentre" in star.blocks[star.particle_block]


def test_figures_have_the_names_of_the_original(work, tmp_path):
    found = result(work / "cluster")
    names = [f"clus-center/fig/{k:03d}--{size}.png" for k, size in enumerate(found["sizes"])]
    assert found["figures"] == names
    from matplotlib.image import imread

    assert imread(work / "cluster" / names[0]).shape[:2] == (4 * 17, 4 * 17)
    run("figures", work / "cluster", "--show", "centers", "--stretch", "each", "--output", tmp_path)
    assert result(tmp_path)["figures"] == names
    lists = json.loads((work / "cluster" / "clus-center" / "kmeans.json").read_text())
    assert [len(members) for members in lists.values()] == found["sizes"]


def test_averages_show_the_structure(work):
    from subvolume_cases import shape

    from cryodl.methods.autoencoder3d.invariants import invariant_features

    truth, labels = np.loadtxt(work / "truth.txt", dtype=int), labels_of(work / "cluster")
    wanted = invariant_features(np.stack([shape(kind) for kind in range(3)]))
    for label, name in enumerate(result(work / "cluster")["averages"]):
        average = read_volume(work / "cluster" / name).data
        own = invariant_features(((average - average.mean()) / average.std())[None])[0]
        nearest = np.linalg.norm(wanted - own, axis=1).argmin()
        assert nearest == np.bincount(truth[labels == label]).argmax()


def test_selection_keeps_classes_as_numbered(work):
    labels = labels_of(work / "cluster")
    kept = read_particles(work / "select" / "selected.star")
    assert result(work / "select")["counts"] == {
        "1": int((labels == 2).sum()),
        "2": int((labels == 0).sum()),
    }
    assert set(kept.classes) == {1, 2} and len(kept) == int((labels != 1).sum())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"0": [1]}', "class 0 is background"),
        ('{"1": [9]}', "found group 9"),
        ('{"1": [0], "2": [0]}', "found group 0 twice"),
        ('{"1": []}', "list of"),
        ('{"1": [true]}', "list of"),
        ("[1]", "JSON object"),
        ("{", "JSON"),
    ],
)
def test_wrong_selections_are_explained(work, tmp_path, content, words):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(InputError, match=words):
        run(
            *("select", work / "cluster", "--classes", tmp_path / "classes.json"),
            *("--output", tmp_path / "out"),
        )


def test_gain_offset_and_contrast_change_no_label(work, tmp_path):
    boxes, _ = particles((16, 13, 10), noise=0.4)
    star = write_set(tmp_path / "dark", -25 * boxes + 300)
    tilts = ["--tilt-min", "-60", "--tilt-max", "60", "--contrast", "dark"]
    run("train", star, *QUICK, *tilts, "--epochs", "3", "--output", tmp_path / "train")
    more = ["--rotations", "300", "--sweep", "3:4", *FEW]
    run("cluster", tmp_path / "train", *more, "--output", tmp_path / "cluster")
    assert np.array_equal(labels_of(tmp_path / "cluster"), labels_of(work / "cluster"))


def test_a_stopped_training_goes_on_to_the_same_weights(work, tmp_path):
    star = work / "bright" / "particles.star"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = ["--preset", "tiny", "--devices", "cpu", "--epochs", "2"]
    run("train", star, *flags, "--output", whole)
    from cryodl.core.training import trainer

    class StopError(Exception):
        pass

    original = trainer.Trainer._save

    def stopping(self):
        original(self)
        raise StopError

    trainer.Trainer._save = stopping
    try:
        with pytest.raises(StopError):
            run("train", star, *flags, "--output", parts)
    finally:
        trainer.Trainer._save = original
    run("train", star, *flags, "--output", parts, "--resume")
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_two_processes_train_one_network(work, tmp_path):
    star = work / "bright" / "particles.star"
    flags = ["--preset", "tiny", "--devices", "cpu:2", "--epochs", "2", "--batch-size", "8"]
    run("train", star, *flags, "--output", tmp_path)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[1]["validation"] < lines[0]["validation"]
    with np.load(tmp_path / "codes.npz") as stored:
        assert len(stored["codes"]) == 39 and np.isfinite(stored["codes"]).all()


def test_from_a_bare_tomogram_to_a_segmentation_of_another(tmp_path):
    for number in (0, 1):
        volume, places, _ = tomogram(number)
        write_volume(tmp_path / f"t{number}.mrc", -volume, pixel_size_angstrom=10.0)
    box = ["--box-size-px", "16", "--diameter", "8", "--epochs", "2"]
    run("train", tmp_path / "t0.mrc", *QUICK, *box, "--output", tmp_path / "train")
    found = result(tmp_path / "train")
    assert 10 <= found["particles"] <= 30
    run(
        "cluster",
        tmp_path / "train",
        "--clusters",
        "2",
        "--align-rounds",
        "0",
        "--output",
        tmp_path / "cluster",
    )
    (tmp_path / "classes.json").write_text('{"1": [0, 1]}')
    classes = ["--classes", tmp_path / "classes.json"]
    run("select", tmp_path / "cluster", *classes, "--output", tmp_path / "select")
    quick = ["--preset", "tiny", "--devices", "cpu", "--epochs", "8", "--batch-size", "4"]
    quick += ["--learning-rate", "0.005"]
    run("segment-train", tmp_path / "select", *quick, "--output", tmp_path / "network")
    assert result(tmp_path / "network")["iou"] > 0.3
    model = ["--model", tmp_path / "network", "--devices", "cpu"]
    run("segment", tmp_path / "t1.mrc", *model, "--output", tmp_path / "found")
    out = result(tmp_path / "found")
    labels = read_volume(tmp_path / "found" / out["labels"][0]).data
    assert labels.shape == volume.shape and set(np.unique(labels)) == {0, 1}
    picks = np.loadtxt(tmp_path / "found" / out["coordinates"][0], ndmin=2)
    from cryodl.core.evaluation.matching import score_points

    assert score_points(picks[:, :3], places, 4).f1 > 0.6
    assert len(out["probabilities"]) == 1


def test_coordinates_and_pickles_give_the_same_boxes(tmp_path):
    volume, places, _ = tomogram(3)
    write_volume(tmp_path / "t.mrc", -volume, pixel_size_angstrom=10.0)
    whole = np.round(places)
    write_coordinates(tmp_path / "points.txt", whole)
    boxes = {}
    for i, (x, y, z) in enumerate(whole.astype(int)):
        cut = -volume[z - 8 : z + 8, y - 8 : y + 8, x - 8 : x + 8]
        entry = cut.transpose(2, 1, 0) if cut.shape == (16, 16, 16) else None
        boxes[f"id{i}"] = {"center": [x, y, z], "id": f"id{i}", "v": entry}
    (tmp_path / "data.pickle").write_bytes(
        pickle.dumps({"v_siz": np.array([16] * 3), "vs": boxes}, protocol=2)
    )
    cut = [tmp_path / "t.mrc", "--coordinates", tmp_path / "points.txt", "--box-size-px", "16"]
    run("train", *cut, *QUICK, "--epochs", "1", "--output", tmp_path / "a")
    run("train", tmp_path / "data.pickle", *QUICK, "--epochs", "1", "--output", tmp_path / "b")
    first, second = (np.load(tmp_path / name / "boxes.npy") for name in "ab")
    assert first.shape == second.shape and np.allclose(first, second, atol=2e-3)


def test_wrong_inputs_are_one_line(work, tmp_path, capsys):
    star = work / "bright" / "particles.star"
    (tmp_path / "bad.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for words, said in (
        ([tmp_path / "none.star"], "no such file"),
        ([star, star], "expected one STAR file"),
        ([tmp_path / "bad.pickle"], "nothing of it was run"),
        ([star, "--tilt-min", "-60"], "expected both"),
        ([star, "--threshold", "much"], "otsu"),
        ([star, *QUICK, "--pose", "full", "--threshold", "50"], "no particle has a shape"),
    ):
        arguments = [str(w) for w in ("autoencoder3d", "train", *words)]
        assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    for words, said in (
        (["cluster", work / "select"], "expected one of autoencoder3d train"),
        (["cluster", work / "train", "--clusters", "99"], "found 99 for the 39"),
        (["cluster", work / "train", "--sweep", "1:4"], "FIRST:LAST"),
        (["segment-train", work / "cluster"], "expected one of autoencoder3d select"),
    ):
        arguments = [str(w) for w in ("autoencoder3d", *words)]
        assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err


def test_one_group_of_all(work, tmp_path):
    more = ["--clusters", 1, "--features", "code", "--align-rounds", "0"]
    run("cluster", work / "train", *more, "--output", tmp_path)
    assert result(tmp_path)["sizes"] == [39]
