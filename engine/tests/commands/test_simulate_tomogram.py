"""``cryodl simulate tomogram`` from the command line to the files."""

import json

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.core.io.mrc import open_tomogram, read_stack, read_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.star import read_star
from cryodl.errors import InputError

SMALL = ["--box-size-px", "48", "--thickness-px", "32", "--tilt-increment", "10"]
FULL = ["--structure", "rubisco", "haemoglobin", "--pixel-size", "12", "--number", "8"]
FULL += ["--beads", "1", "--decoys", "2", "--vesicles", "1", "--tilt-images"]


def simulate(folder, *options):
    return main(["simulate", "tomogram", "--output", str(folder), *SMALL, *options])


def test_writes_tomogram_and_truth(tmp_path):
    run = tmp_path / "run"
    assert simulate(run, *FULL) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["data"] == "tomogram.mrc"
    assert result["truth"] == "truth/truth.json"
    tomogram = read_volume(run / "tomogram.mrc")
    assert tomogram.data.shape == (32, 48, 48)
    assert tomogram.pixel_size_angstrom == pytest.approx(12)
    clean = read_volume(run / "truth/clean.mrc").data
    places = np.loadtxt(run / "truth/coordinates.txt")
    assert len(places) == result["number"] <= 8
    star = read_star(run / "truth/particles.star")["particles"]
    np.testing.assert_allclose(
        star[[f"rlnCoordinate{a}" for a in "XYZ"]].to_numpy(), places, atol=1e-3
    )
    x, y, z = np.round(places).astype(int).T
    labels = read_volume(run / "truth/labels.mrc").data
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4, 5}
    assert clean[labels == 1].mean() > 5 * abs(clean[labels == 0].mean())
    read = read_particles(run / "truth/particles.star", require_images=False)
    np.testing.assert_allclose(read.coordinates_px, places, atol=1e-3)
    np.testing.assert_array_equal(read.classes, star["rlnClassNumber"])
    assert read.pixel_size_angstrom[0] == pytest.approx(12)
    angles = np.loadtxt(run / "tilt_series.rawtlt")
    images = read_stack(run / "tilt_series.mrcs")
    assert len(images) == len(angles) == 13
    with pytest.raises(InputError, match="stack"):  # so nobody takes it for a tomogram
        open_tomogram(run / "tilt_series.mrcs")
    # matter is dark by default
    masked = tomogram.data[np.isin(labels, (1, 2))].mean()
    assert masked < tomogram.data[labels == 0].mean()
    facts = json.loads((run / "truth/truth.json").read_text())
    assert facts["snr_measured"] == pytest.approx(0.1, rel=0.1)
    assert facts["labels"]["1"] == "rubisco"
    assert "<img" in (run / "report.html").read_text()


def test_same_seed_same_files(tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert simulate(tmp_path / name, *FULL, "--seed", seed) == 0
    for kind in ("tomogram.mrc", "truth/particles.star", "truth/labels.mrc", "tilt_series.mrcs"):
        first, again, other = ((tmp_path / name / kind).read_bytes() for name in "abc")
        assert first == again
        assert first != other


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--proportion", "1", "2"], "--proportion: found 1 2"),
        (["--proportion", "0"], "--proportion: found 0"),
        (["--tilt-min", "40", "--tilt-max", "-40"], "--tilt-min and --tilt-max: found 40 and -40"),
    ],
)
def test_the_flag_at_fault_is_named_before_anything_starts(words, named, tmp_path, capsys):
    assert simulate(tmp_path / "run", *words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and named in said[0]


def test_a_particle_too_large_is_told(tmp_path, capsys):
    assert simulate(tmp_path / "run", "--thickness-px", "12") == 2
    assert "groel_groes" in capsys.readouterr().err
