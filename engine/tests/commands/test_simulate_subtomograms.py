"""``cryodl simulate subtomograms`` from the command line to the files."""

import json
import subprocess

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.mrc import read_volume
from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.star import read_star

SMALL = ["--box-size-px", "24", "--number", "6", "--tilt-increment", "10"]


def simulate(folder, *options):
    return main(["simulate", "subtomograms", "--output", str(folder), *SMALL, *options])


def files(folder):
    kinds = (".mrc", ".star")
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in kinds
    }


def test_writes_particles_and_truth(tmp_path):
    run = tmp_path / "run"
    options = ["--structure", "rubisco", "p97", "--poses", "none", "--motion", "20"]
    assert simulate(run, *options, "--motion-steps", "2", "--junk-fraction", "0.2") == 0
    result = json.loads((run / "result.json").read_text())
    assert result["data"] == result["star"] == "particles.star"
    assert result["truth"] == "truth/truth.json"
    known = read_star(run / "particles.star")
    truth = read_star(run / "truth/particles.star")
    assert known["optics"]["rlnImageDimensionality"][0] == 3
    table = known["particles"]
    assert len(table) == 6
    assert "rlnClassNumber" not in table
    assert (table["rlnAngleTilt"] == 0).all()
    assert truth["particles"]["rlnAngleTilt"].std() > 10
    assert set(truth["particles"]["rlnClassNumber"]) == {0, 1, 2}
    assert set(truth["particles"]["cdlStructure"]) == {"junk", "rubisco", "p97"}
    assert set(truth["particles"]["cdlState"]) <= {0, 1}
    for name in [
        *table["rlnImageName"],
        *table["rlnCtfImage"],
        "truth/reference_class2_state1.mrc",
    ]:
        assert read_volume(run / name, pixel_size_angstrom=10.0).data.shape == (24, 24, 24)
    for place, table in ((run, known), (run / "truth", truth)):  # from where each STAR file lies
        for label in ("rlnImageName", "rlnCtfImage"):
            assert all((place / name).is_file() for name in table["particles"][label])
    assert {f"subtomograms/{i:06d}.mrc" for i in range(1, 7)} < set(result["files"])
    facts = json.loads((run / "truth/truth.json").read_text())
    assert facts["snr_measured"] == pytest.approx(0.1, rel=0.15)
    assert facts["tilt_angles_degrees"][0] == -60
    assert "<img" in (run / "report.html").read_text()


def test_particles_and_truth_are_read_as_one_set(tmp_path):
    options = ["--structure", "rubisco", "p97", "--poses", "perturbed", "--pose-error", "5"]
    assert simulate(tmp_path / "run", *options, "--max-shift-px", "2") == 0
    (tmp_path / "run").rename(tmp_path / "moved")  # no name depends on where the run was
    known, truth = (
        read_particles(tmp_path / "moved" / name)
        for name in ("particles.star", "truth/particles.star")
    )
    assert known.names == truth.names == [f"subtomograms/{i + 1:06d}.mrc" for i in range(6)]
    assert known.image_kind == "volume" and known.box_size_px == 24
    for one, other in zip(known.image_paths, truth.image_paths):
        assert one.samefile(other)
    assert len(truth.ctf_paths) == 6 and truth.ctf_paths[5].samefile(known.ctf_paths[0])
    assert set(truth.classes) == {1, 2} and not known.classes.any()
    np.testing.assert_array_equal(known.half_sets, truth.half_sets)
    turned = np.einsum("nij,nij->n", known.rotations, truth.rotations)
    degrees = np.degrees(np.arccos((turned - 1) / 2))
    assert 1 < degrees.max() < 25
    assert 5 < np.abs(truth.shifts_angstrom).max() <= 20 * np.sqrt(3)
    file = tmp_path / "moved/subtomograms/000003.mrc"
    np.testing.assert_array_equal(read_subtomogram(truth, 2), read_volume(file).data)


def test_same_seed_same_files_and_a_shorter_run_leaves_none_behind(tmp_path):
    options = ["--structure", "haemoglobin", "--pixel-size", "5"]
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert simulate(tmp_path / name, *options, "--seed", seed) == 0
    first, again, other = (files(tmp_path / name) for name in "abc")
    assert first == again
    assert len(first) == 6 + 1 + 2 + 1
    assert first != other
    assert simulate(tmp_path / "a", *options, "--number", "2", "--overwrite") == 0
    assert len(list((tmp_path / "a/subtomograms").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--structure=nothing"], "--structure"),
        (["--tilt-min", "30", "--tilt-max", "-30"], "--tilt-min and --tilt-max"),
        (["--proportion", "1", "2"], "--proportion: found 1 2"),
        (["--motion-steps", "3"], "motion"),
        (["--snr", "0"], "--snr"),
        (["--box-size-px", "12"], "--structure"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(tmp_path, capsys, options, word):
    assert simulate(tmp_path / "run", "--structure", "p97", *options) == 2
    message = capsys.readouterr().err.strip()
    assert word in message
    assert len(message.splitlines()) == 1


@pytest.mark.relion
def test_relion_averages_the_particles_to_the_reference(tmp_path):
    run = tmp_path / "run"
    options = ["--structure", "rubisco", "--noise", "none", "--no-ctf", "--number", "24"]
    assert simulate(run, *options, "--tilt-increment", "6") == 0
    command = ["relion_reconstruct", "--i", "particles.star", "--o", "average.mrc", "--ctf"]
    subprocess.run(command, cwd=run, check=True, capture_output=True)
    average = read_volume(run / "average.mrc").data
    reference = read_volume(run / "truth/reference_class1.mrc").data
    assert np.corrcoef(average.ravel(), reference.ravel())[0, 1] > 0.9
    table = read_star(run / "particles.star")["particles"]
    assert np.linalg.det(euler_to_matrix(*(table[f"rlnAngle{a}"] for a in ("Rot", "Tilt", "Psi"))))[
        0
    ] == pytest.approx(1)
