"""Commands of SelfAlign from files to files, and what they say of wrong input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from alignment_cases import BOX, PIXEL, phantom, write_set

from cryodl.cli import main
from cryodl.core.geometry.rotations import angular_distance_degrees, random_rotations
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.io.star import read_star, write_star
from cryodl.methods.selfalign.hand import mirrored

FAST = ["--rotations", "1152", "--coarse-shell", "6"]


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selfalign")
    rotations, shifts = write_set(folder, snr=1.0)
    status = main(
        ["selfalign", "prepare", str(folder / "subtomograms"), "--tilt-min", "-60",
         "--tilt-max", "60", "--output", str(folder / "prepared")]
    )  # fmt: skip
    assert status == 0
    return folder, rotations, shifts


def test_folder_becomes_a_particle_file(data, tmp_path):
    folder, rotations, _ = data
    table = read_star(folder / "prepared" / "subtomo.star")["particles"]
    assert list(table["rlnSubtomoIndex"]) == list(range(1, len(rotations) + 1))
    assert not str(table["rlnImageName"].iloc[0]).startswith("/")
    particles = read_particles(folder / "prepared" / "subtomo.star")
    assert particles.box_size_px == BOX and particles.pixel_size_angstrom[0] == PIXEL


def test_foreign_files_are_left_out_and_told(data, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    write_volume(mixed / "a.mrc", phantom(), pixel_size_angstrom=PIXEL)
    write_volume(mixed / "b.mrc", phantom(n=16), pixel_size_angstrom=PIXEL)
    write_volume(mixed / "c.mrc", phantom(4), pixel_size_angstrom=PIXEL)
    (mixed / "notes.txt").write_text("x")
    out = tmp_path / "out"
    assert main(["selfalign", "prepare", str(mixed), "--output", str(out)]) == 0
    assert result(out)["particles"] == 2 and result(out)["left_out"] == 2
    assert "b.mrc: box 16 px" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    arguments = ["selfalign", "prepare", str(tmp_path / "empty"), "--output", str(tmp_path / "o")]
    assert main(arguments) == 2
    assert "no readable subtomogram" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["exhaustive", "auto"])
def test_poses_are_found_and_evaluated(data, tmp_path, mode):
    folder, rotations, shifts = data
    out = tmp_path / "aligned"
    star = str(folder / "prepared" / "subtomo.star")
    arguments = ["selfalign", "align", star, "--reference", str(folder / "reference.mrc")]
    assert main([*arguments, "--mode", mode, *FAST, "--output", str(out)]) == 0
    found = read_particles(out / result(out)["star"])
    errors = angular_distance_degrees(found.rotations, rotations)
    assert np.median(errors) < 5 and (errors < 15).mean() > 0.8
    assert np.median(np.abs(found.shifts_angstrom / PIXEL - shifts)) < 0.5
    table = found.blocks["particles"]
    for name in ("cdlScore", "cdlScoreMargin", "cdlConfidence", "cdlPoseSpread"):
        assert np.isfinite(table[name].astype(float)).all()
    score = tmp_path / "score"
    truth = str(folder / "truth.star")
    arguments = ["selfalign", "evaluate", str(out / "aligned.star"), truth]
    assert main([*arguments, "--output", str(score)]) == 0
    assert result(score)["median_degrees"] == pytest.approx(np.median(errors), abs=0.01)
    low, high = result(score)["median_degrees_interval"]
    assert low <= result(score)["median_degrees"] <= high
    assert result(score)["constant_answer_median_degrees"] > 60


def test_particles_beyond_the_largest_shift_are_told_of(data, tmp_path, capsys):
    folder, _, _ = data
    star, reference = folder / "prepared" / "subtomo.star", folder / "reference.mrc"
    words = ["selfalign", "align", str(star), "--reference", str(reference), *FAST]
    for limit, is_told in (("0.5", True), ("3", False)):
        out = tmp_path / limit
        assert main([*words, "--max-shift-px", limit, "--output", str(out)]) == 0
        printed = capsys.readouterr().out
        assert ("Raise --max-shift-px" in printed) is is_told
        assert ("Raise --max-shift-px" in (out / "report.html").read_text()) is is_told


def test_gains_of_recordings_do_not_weigh_particles(data, tmp_path):
    folder, _, _ = data
    particles = read_particles(folder / "prepared" / "subtomo.star")
    gains = np.geomspace(0.02, 50, len(particles))
    paths = [tmp_path / f"{i}.mrc" for i in range(len(particles))]
    for path, source, gain in zip(paths, particles.image_paths, gains, strict=True):
        values = np.asarray(read_volume(source).data) * gain + 3 * gain
        write_volume(path, values.astype(np.float32), pixel_size_angstrom=PIXEL)
    write_particles(tmp_path / "gains.star", replace(particles, image_paths=paths))
    found = []
    for star in (folder / "prepared" / "subtomo.star", tmp_path / "gains.star"):
        words = ["selfalign", "align", str(star), "--tilt-min", "-60", "--tilt-max", "60", *FAST]
        out = tmp_path / f"aligned_{star.stem}"
        assert (
            main([*words, "--reference", str(folder / "reference.mrc"), "--output", str(out)]) == 0
        )
        found.append(read_particles(out / "aligned.star"))
    scores = [f.blocks["particles"]["cdlScore"].astype(float).to_numpy() for f in found]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-2)
    assert angular_distance_degrees(found[1].rotations, found[0].rotations).max() < 0.5


def test_a_reference_of_the_other_hand_is_told(data, tmp_path, capsys):
    folder, _, _ = data
    star = str(folder / "prepared" / "subtomo.star")
    for name, density in (("own", phantom()), ("mirror", mirrored(phantom()))):
        path = tmp_path / f"{name}.mrc"
        write_volume(path, density, pixel_size_angstrom=PIXEL)
        out = tmp_path / name
        words = ["selfalign", "align", star, "--reference", str(path), *FAST]
        assert main([*words, "--output", str(out)]) == 0
        assert result(out)["mirror_image_fits_better"] is (name == "mirror")
        assert ("mirror image" in capsys.readouterr().out) is (name == "mirror")
    odd = np.arange(27.0).reshape(3, 3, 3)
    np.testing.assert_array_equal(mirrored(odd), odd[::-1])


def test_pairs_are_aligned_with_both_wedges(tmp_path):
    rotations, shifts = write_set(tmp_path, count=8, snr=1.0, seed=4)
    star = tmp_path / "truth.star"
    blocks = read_star(star)
    names = list(blocks["particles"]["rlnImageName"])
    rows = blocks["particles"].iloc[:4].copy()
    rows["cdlTemplateName"] = names[4:]
    blocks["particles"] = rows
    write_star(tmp_path / "pairs.star", blocks)
    arguments = ["selfalign", "align", "--pairs", str(tmp_path / "pairs.star")]
    words = ["--mode", "exhaustive", "--tilt-min", "-60", "--tilt-max", "60", *FAST]
    assert main([*arguments, *words, "--output", str(tmp_path / "out")]) == 0
    found = read_particles(tmp_path / "out" / "aligned.star")
    true = rotations[:4] @ np.swapaxes(rotations[4:], 1, 2)
    errors = angular_distance_degrees(found.rotations, true)
    assert np.sort(errors)[:3].max() < 15


def test_average_of_halves_that_never_meet_and_goes_on_after_a_stop(data, tmp_path, capsys):
    folder, rotations, _ = data
    words = ["selfalign", "refine", str(folder / "prepared" / "subtomo.star"), "--reference",
             str(folder / "reference.mrc"), "--initial-lowpass", "60", "--global-iterations", "1",
             *FAST]  # fmt: skip
    whole = tmp_path / "whole"
    assert main([*words, "--iterations", "2", "--output", str(whole)]) == 0
    assert "round 2" in capsys.readouterr().out
    # As if it had been killed in the second round.
    for path in (whole / "rounds" / "round002").iterdir():
        path.unlink()
    before = (whole / "average.mrc").read_bytes()
    (whole / "result.json").unlink()
    assert main([*words, "--iterations", "2", "--output", str(whole), "--resume"]) == 0
    assert "resumed after round 1" in capsys.readouterr().out
    np.testing.assert_allclose(
        read_volume(whole / "average.mrc").data,
        np.frombuffer(before[-(BOX**3) * 4 :], dtype=np.float32).reshape((BOX,) * 3),
        atol=1e-5,
    )
    found = read_particles(whole / "particles.star")
    assert set(found.half_sets) == {1, 2} and abs((found.half_sets == 1).sum() - 6) <= 1
    errors = angular_distance_degrees(found.rotations, rotations)
    assert np.median(errors) < 12
    for key in ("half1", "half2", "average", "fsc", "star", "mask"):
        assert (whole / result(whole)[key]).is_file()
    assert result(whole)["resolution"] < 80
    assert (whole / "fsc.csv").read_text().startswith("shell,resolution_angstrom")


def test_network_is_trained_and_proposes(data, tmp_path, capsys):
    folder, _, _ = data
    words = ["selfalign", "train", "--reference", str(folder / "reference.mrc"), "--tilt-min",
             "-60", "--tilt-max", "60", "--steps", "4", "--batch-size", "8"]  # fmt: skip
    assert main([*words, "--output", str(tmp_path / "net")]) == 0
    assert result(tmp_path / "net")["model"] == "model.safetensors"
    star = str(folder / "prepared" / "subtomo.star")
    align = ["selfalign", "align", star, "--reference", str(folder / "reference.mrc")]
    model = ["--model", str(tmp_path / "net")]
    for mode in ("net", "auto"):
        out = tmp_path / f"by_{mode}"
        assert main([*align, *model, "--mode", mode, *FAST, "--output", str(out)]) == 0
    # Untrained as it is, its proposals do not spoil the result.
    found = read_particles(tmp_path / "by_auto" / "aligned.star")
    errors = angular_distance_degrees(found.rotations, data[1])
    assert np.median(errors) < 6
    capsys.readouterr()
    write_volume(tmp_path / "other.mrc", phantom(11), pixel_size_angstrom=PIXEL)
    align[-1] = str(tmp_path / "other.mrc")
    assert main([*align, *model, "--output", str(tmp_path / "x")]) == 2
    assert "trained for a reference" in capsys.readouterr().err.replace("was ", "")


def test_wrong_input_is_one_line(data, tmp_path, capsys):
    folder, _, _ = data
    star = str(folder / "prepared" / "subtomo.star")
    reference = str(folder / "reference.mrc")
    write_volume(tmp_path / "small.mrc", phantom(n=16), pixel_size_angstrom=PIXEL)
    write_volume(tmp_path / "pixel.mrc", phantom(), pixel_size_angstrom=5.0)
    align = ["selfalign", "align", star, "--output", str(tmp_path / "out")]
    for words, said in (
        ([], "--reference"),
        (["--reference", str(tmp_path / "small.mrc")], "box 16 px"),
        (["--reference", str(tmp_path / "pixel.mrc")], "pixel size 5 A"),
        (["--reference", reference, "--mode", "net"], "--model"),
        (["--reference", reference, "--tilt-min", "-60"], "--tilt-min and --tilt-max"),
        (["--reference", reference, "--symmetry", "X3"], "symmetry"),
        (["--reference", reference, "--mask", reference], "0 to 1"),
        (["--reference", reference, "--max-shift-px", "99"], "at most half the box"),
    ):
        assert main([*align, *words]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    refine = ["selfalign", "refine", star, "--symmetry", "C3", "--output", str(tmp_path / "o")]
    assert main(refine) == 2
    assert "without --reference" in capsys.readouterr().err


def test_published_lists_are_evaluated_as_published(tmp_path):
    true = tmp_path / "true.txt"
    found = tmp_path / "found.txt"
    true.write_text("a\tb\t0.1\t0.2\t0.3\t1.0\t0.0\t0.4\n" * 3)
    found.write_text("a\tb\t0.1\t0.2\t0.4\t1.4\t0.0\t0.4\n" * 3)
    out = tmp_path / "out"
    words = ["selfalign", "evaluate", str(found), str(true), "--legacy", "--output", str(out)]
    assert main(words) == 0
    # 0.1 rad more about the last axis.
    assert result(out)["median_degrees"] == pytest.approx(np.rad2deg(0.1), abs=1e-3)
    assert result(out)["frobenius_mean"] == pytest.approx(2 * np.sqrt(2) * np.sin(0.05), abs=1e-5)
    bad = tmp_path / "bad.txt"
    bad.write_text("a b 1 2\n")
    words[2] = str(bad)
    assert main([*words[:-1], str(tmp_path / "o2")]) == 2


def test_particles_of_several_tomograms_are_told_apart_by_their_folders(tmp_path, capsys):
    rotations = random_rotations(6, np.random.default_rng(0))
    names = [f"TS_{i // 3}/{i % 3}" for i in range(6)]
    for file, rows in (("found.star", [4, 0, 2, 5, 1]), ("true.star", range(6))):
        made = particles_from_coordinates(
            np.arange(18.0).reshape(6, 3)[list(rows)],
            pixel_size_angstrom=PIXEL,
            tomograms=[names[i].partition("/")[0] for i in rows],
            names=[names[i] for i in rows],
            rotations=rotations[list(rows)],
        )
        write_particles(tmp_path / file, made, dialect="relion5")
    files = [str(tmp_path / name) for name in ("found.star", "true.star")]
    assert main(["selfalign", "evaluate", *files, "--output", str(tmp_path / "e")]) == 0
    assert "5 particles are in both files, of 5 in" in capsys.readouterr().out
    found = result(tmp_path / "e")
    assert found["particles"] == 5 and found["median_degrees"] < 1e-3


def test_a_start_from_too_few_particles_is_one_line(data, tmp_path, capsys):
    few = read_particles(data[0] / "prepared" / "subtomo.star").subset(np.arange(6))
    write_particles(tmp_path / "few.star", few)
    words = ["selfalign", "refine", str(tmp_path / "few.star"), *FAST]
    assert main([*words, "--output", str(tmp_path / "o")]) == 2
    assert "expected more than 4 to start from" in capsys.readouterr().err
