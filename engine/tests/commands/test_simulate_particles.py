"""``cryodl simulate particles`` from the command line to the files."""

import json
import subprocess

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.core.io.mrc import read_stack, read_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.star import read_star

SMALL = ["--box-size-px", "32", "--pixel-size", "8", "--structure", "rubisco"]


def simulate(folder, *options):
    return main(["simulate", "particles", "--output", str(folder), *SMALL, *options])


def test_writes_stack_and_truth(tmp_path):
    run = tmp_path / "run"
    options = ["--structure", "haemoglobin", "--poses", "none", "--per-micrograph", "10"]
    assert simulate(run, "--number", "30", *options) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["data"] == "particles.star"
    assert result["snr"] == pytest.approx(0.05, rel=0.1)
    stack = read_stack(run / "particles.mrcs")
    assert stack.shape == (30, 32, 32)
    assert stack.std() == pytest.approx(1, rel=0.1)
    known, truth = (read_star(run / name) for name in ("particles.star", "truth/particles.star"))
    assert known["particles"]["rlnImageName"][29] == "000030@particles.mrcs"
    assert (known["particles"]["rlnAngleTilt"] == 0).all()
    assert set(truth["particles"]["rlnClassNumber"]) == {1, 2}
    assert truth["particles"]["rlnDefocusU"].nunique() == 3
    assert known["optics"]["rlnImageDimensionality"][0] == 2
    read = read_particles(run / "particles.star")
    assert len(read) == 30
    assert read.image_kind == "image"
    true = read_particles(run / "truth/particles.star")
    assert true.names == read.names and true.image_indices.tolist() == list(range(30))
    assert truth["particles"]["rlnImageName"][29] == "000030@../particles.mrcs"
    assert "rlnOriginZAngst" not in truth["particles"]
    assert "<img" in (run / "report.html").read_text()


def test_same_seed_same_files(tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert simulate(tmp_path / name, "--number", "5", "--seed", seed) == 0
    for kind in ("particles.mrcs", "particles.star", "truth/particles.star"):
        first, again, other = ((tmp_path / name / kind).read_bytes() for name in "abc")
        assert first == again
        assert first != other


def test_what_cannot_be_is_told_in_one_line(tmp_path, capsys):
    assert simulate(tmp_path / "run", "--axis", "up") == 2
    assert "--axis" in capsys.readouterr().err
    assert simulate(tmp_path / "run", "--noise", "smooth") == 2
    assert "--noise" in capsys.readouterr().err


@pytest.mark.relion
def test_relion_reconstructs_the_reference_with_our_contrast_transfer(tmp_path):
    run = tmp_path / "run"
    assert simulate(run, "--number", "300", "--snr", "10") == 0
    command = ["relion_reconstruct", "--i", "particles.star", "--o", "map.mrc", "--ctf"]
    subprocess.run(command, cwd=run, check=True, capture_output=True)
    found = read_volume(run / "map.mrc").data
    reference = read_volume(run / "truth/reference_class1.mrc").data
    assert np.corrcoef(found.ravel(), reference.ravel())[0, 1] > 0.9
    subprocess.run(command[:-1], cwd=run, check=True, capture_output=True)
    uncorrected = read_volume(run / "map.mrc").data
    corrected = np.corrcoef(found.ravel(), reference.ravel())[0, 1]
    assert np.corrcoef(uncorrected.ravel(), reference.ravel())[0, 1] < corrected - 0.1
