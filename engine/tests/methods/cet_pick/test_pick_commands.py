"""The commands from end to end, and everything that can be wrong with what they are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cryodl.cli import main, run_command
from cryodl.core.evaluation.matching import score_points
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.write import write_particles
from cryodl.errors import InputError
from cryodl.methods.cet_pick.inputs import named_points

BBOX = 12
SHAPE = (40, 96, 112)
TRAIN = ["--bbox", str(BBOX), "--devices", "cpu", "--cr-weight", "0", "--consistency", "0"]


def scene(seed: int, count: int = 45):
    """Dark lop-sided particles, small decoys and smooth noise without a wedge; points x, y, z."""
    generator = np.random.default_rng(seed)
    points: list[np.ndarray] = []
    while len(points) < count:
        point = generator.uniform(7, np.array(SHAPE[::-1]) - 7)
        if all(np.linalg.norm(point - other) > BBOX for other in points):
            points.append(point)
    density = np.zeros(SHAPE, np.float32)
    for point in points:
        lean = generator.standard_normal(3)
        lean *= 2.5 / np.linalg.norm(lean)
        for offset, weight in ((lean, 1.0), (-lean, 0.6)):
            z, y, x = np.round(point + offset).astype(int)[::-1]
            density[z, y, x] += weight
    density = ndimage.gaussian_filter(density, 2.0)
    decoys = np.zeros(SHAPE, np.float32)
    decoys[tuple(generator.integers(0, SHAPE, (40, 3)).T)] = 1
    density += 0.12 * ndimage.gaussian_filter(decoys, 1.0)
    noise = ndimage.gaussian_filter(generator.standard_normal(SHAPE), 0.7)
    return -(density / density.max() + 0.25 * noise / noise.std()).astype(np.float32), np.array(
        points
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picking")
    for seed in (0, 1):
        values, points = scene(seed)
        write_volume(path / f"tomo{seed}.mrc", values, pixel_size_angstrom=10.0)
        np.savetxt(path / f"all{seed}.txt", points, fmt="%.2f")
        np.savetxt(path / f"labels{seed}.txt", points[:20], fmt="%.2f")
    return path


def train_arguments(folder: Path, output: Path, *more: str) -> list[str]:
    given = ["--tomograms", str(folder / "tomo0.mrc")]
    if "--coordinates" not in more:
        given += ["--coordinates", str(folder / "labels0.txt")]
    return ["cet-pick", "train", *given, *TRAIN, *more, "--output", str(output)]


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    run_command(train_arguments(folder, folder / "train", "--steps", "90"))
    return folder / "train"


def test_a_few_labels_find_most_particles_of_an_unseen_tomogram(folder: Path, trained: Path):
    tomogram, model = str(folder / "tomo1.mrc"), str(trained / "model.safetensors")
    run_command(
        ["cet-pick", "predict", "--tomograms", tomogram, "--model", model, "--devices", "cpu"]
        + ["--output", str(folder / "picks")]
    )
    result = json.loads((folder / "picks/result.json").read_text())
    picks = read_coordinates(folder / "picks" / result["coordinates"][0])
    truth = read_coordinates(folder / "all1.txt")
    score = score_points(picks.xyz_px, truth.xyz_px, BBOX / 2)
    assert score.f1 > 0.75  # random picks of the same number: below 0.2
    assert score.mean_error_px < 2.0
    assert picks.scores is not None and (np.diff(picks.scores) <= 0).all()
    heat = read_volume(folder / "picks" / result["heatmaps"][0])
    assert heat.data.shape == (20, 48, 56) and heat.pixel_size_angstrom == pytest.approx(20.0)
    best = np.round((picks.xyz_px[0] + 0.5) / 2 - 0.5).astype(int)
    assert heat.data[tuple(best[::-1])] == pytest.approx(picks.scores[0], abs=0.1)
    star = read_coordinates(folder / "picks" / result["star"])
    assert np.allclose(star.xyz_px, picks.xyz_px, atol=0.01)
    run_command(
        ["cet-pick", "evaluate", "--predicted", str(folder / "picks" / result["coordinates"][0])]
        + ["--truth", str(folder / "all1.txt"), "--radius", "6"]
        + ["--output", str(folder / "score")]
    )
    assert json.loads((folder / "score/result.json").read_text())["f1"] == pytest.approx(score.f1)


def test_training_says_what_held_out_labels_say(trained: Path):
    result = json.loads((trained / "result.json").read_text())
    found = result["validation"]["particle"]
    assert found["held_out"] == 4
    assert 0 < result["threshold"] < 1
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["loss"] < 0.5 * metrics[0]["loss"]


def test_the_same_seed_gives_the_same_model(folder: Path, tmp_path: Path):
    for name in ("a", "b"):
        more = ("--steps", "4", "--crop-px", "32", "--seed", "5")
        run_command(train_arguments(folder, tmp_path / name, *more))
    first, second = ((tmp_path / n / "model.safetensors").read_bytes() for n in "ab")
    assert first == second


def test_the_contrastive_loss_trains_and_is_reported(folder: Path, tmp_path: Path):
    more = ("--steps", "3", "--crop-px", "32", "--anchors", "64", "--cr-weight", "0.1")
    run_command(train_arguments(folder, tmp_path / "t", *more))
    first = json.loads((tmp_path / "t/metrics.jsonl").read_text().splitlines()[0])
    assert first["contrast"] > 0


def test_imod_order_picks_the_same_places(folder: Path, trained: Path, tmp_path: Path):
    volume = read_volume(folder / "tomo1.mrc")
    write_volume(tmp_path / "turned.mrc", volume.data.transpose(1, 0, 2), pixel_size_angstrom=10.0)
    points = {}
    for path, order in ((folder / "tomo1.mrc", "zyx"), (tmp_path / "turned.mrc", "imod")):
        run_command(
            ["cet-pick", "predict", "--tomograms", str(path), "--model", str(trained)]
            + ["--order", order, "--devices", "cpu", "--output", str(tmp_path / order)]
        )
        points[order] = read_coordinates(tmp_path / order / f"{path.stem}_coords.txt").xyz_px
    assert np.allclose(points["imod"], points["zyx"][:, [0, 2, 1]], atol=0.02)


def test_prepare_writes_lists_that_train_reads(folder: Path, tmp_path: Path):
    run_command(
        ["cet-pick", "prepare", "--tomograms", str(folder / "tomo0.mrc"), "--points"]
        + [str(folder / "labels0.txt"), "--binning", "2", "--output", str(tmp_path / "p")]
    )
    result = json.loads((tmp_path / "p/result.json").read_text())
    binned = read_volume(tmp_path / "p/tomo0_bin2.mrc")
    assert binned.data.shape == (20, 48, 56) and binned.pixel_size_angstrom == pytest.approx(20)
    lines = (tmp_path / "p" / result["coordinates"]).read_text().splitlines()
    first = np.array(lines[1].split()[1:4], dtype=float)
    original = np.loadtxt(folder / "labels0.txt")[0]
    assert np.allclose(first, (original + 0.5) / 2 - 0.5, atol=1e-2)
    lists = ["--tomograms", str(tmp_path / "p" / result["images"])]
    lists += ["--coordinates", str(tmp_path / "p" / result["coordinates"])]
    run_command(
        ["cet-pick", "train", *lists, "--bbox", "6", "--steps", "1", "--crop-px", "32"]
        + ["--cr-weight", "0", "--devices", "cpu", "--output", str(tmp_path / "t")]
    )


def write_points(path: Path, points: np.ndarray) -> Path:
    np.savetxt(path, points, fmt="%.2f")
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:, [1, 0, 2]], "outside"),
        (lambda p: p * 2, "multiplied by 0.5"),
        (lambda p: p[:, [2, 1, 0]], "columns read as zyx"),
        (lambda p: p / 2, "multiplied by 2"),
        (lambda p: p + 500, "outside"),
        (lambda p: p[:1], "at least 2"),
        (lambda p: np.vstack([p, [[np.nan, 1, 1]]]), "number"),
    ],
)
def test_wrong_coordinates_are_named_before_training(folder, tmp_path, change, words):
    points = write_points(tmp_path / "p.txt", change(np.loadtxt(folder / "all0.txt")))
    arguments = train_arguments(folder, tmp_path / "t", "--coordinates", str(points))
    with pytest.raises(InputError, match=words):
        run_command(arguments)
    assert not (tmp_path / "t").exists()


def test_inverted_contrast_is_named_before_training(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="--contrast dark or auto"):
        run_command(train_arguments(folder, tmp_path / "t", "--contrast", "bright"))


def test_another_sampling_of_the_coordinates_is_followed(folder: Path, tmp_path: Path):
    scaled = (np.loadtxt(folder / "labels0.txt") + 0.5) / 4 - 0.5
    points = write_points(tmp_path / "p.txt", scaled)
    more = ("--coordinates", str(points), "--coordinate-pixel-size", "40", "--steps", "1")
    run_command(train_arguments(folder, tmp_path / "t", *more, "--crop-px", "32"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-epochs", "2", "--steps", "3"], "found both"),
        (["--crop-px", "128"], "smaller --crop-px"),
        (["--bbox", "4"], "--bbox"),
        (["--bbox", "60"], "expected a particle that fits"),
        (["--tau", "1.5"], "--tau"),
        (["--tomograms", "absent.mrc"], "no such file"),
    ],
)
def test_wrong_parameters_end_in_one_line(folder, tmp_path, capsys, arguments, words):
    assert main(train_arguments(folder, tmp_path / "t", *arguments)) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_model_of_another_pixel_size_is_said(folder: Path, trained: Path, tmp_path: Path, capsys):
    run_command(
        ["cet-pick", "predict", "--tomograms", str(folder / "tomo1.mrc"), "--model", str(trained)]
        + ["--pixel-size", "20", "--devices", "cpu", "--output", str(tmp_path / "p")]
    )
    assert "bin the tomogram alike" in capsys.readouterr().out


def test_points_of_one_tomogram_are_taken_out_of_a_file_of_several(tmp_path: Path):
    points = np.arange(12.0).reshape(4, 3)
    particles = particles_from_coordinates(
        points,
        pixel_size_angstrom=10.0,
        tomograms=["TS_01.rec", "TS_02.rec", "TS_01.rec", "TS_02.rec"],
        shifts_angstrom=np.full((4, 3), 5.0),
    )
    write_particles(tmp_path / "all.star", particles)
    for name, rows in (("TS_01", [0, 2]), ("TS_02_10.00Apx", [1, 3])):
        (found,) = named_points([tmp_path / "all.star"], [(name, tmp_path / f"{name}.mrc")])
        assert found is not None
        np.testing.assert_allclose(found.points_px, points[rows] - 0.5)
    both = [("TS_02", Path("b.mrc")), ("TS_01", Path("a.mrc"))]
    second, first = named_points([tmp_path / "all.star"], both)
    np.testing.assert_allclose(first.points_px, points[[0, 2]] - 0.5)
    np.testing.assert_allclose(second.points_px, points[[1, 3]] - 0.5)
    with pytest.raises(InputError, match="of 2 tomograms .*expected other among them"):
        named_points([tmp_path / "all.star"], [("other", Path("c.mrc"))])


def test_picks_that_found_nothing_are_counted(tmp_path: Path):
    (tmp_path / "none.txt").write_text("")
    (tmp_path / "true.txt").write_text("1 2 3\n4 5 6\n")
    files = ["--predicted", str(tmp_path / "none.txt"), "--truth", str(tmp_path / "true.txt")]
    folder = tmp_path / "e"
    assert main(["cet-pick", "evaluate", *files, "--radius", "3", "--output", str(folder)]) == 0
    found = json.loads((folder / "result.json").read_text())
    assert (found["recall"], found["f1"]) == (0.0, 0.0)
