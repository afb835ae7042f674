"""docs/add_a_method.md is enough to add a sixth method: the one in toy_method/ does as it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cryodl import cli
from cryodl.core.config.schema import describe
from cryodl.core.io.mrc import read_volume, write_volume

HERE = Path(__file__).parent
PACKAGE = HERE / "toy_method" / "cryodl_toy"
ENTRY = {"toy": ("cryodl_toy.cli", "A filter learned from two half maps.")}
BOX = 32


@pytest.fixture
def toy(monkeypatch):
    """Register the method: the one line that the engine needs."""
    monkeypatch.syspath_prepend(str(PACKAGE.parent))
    monkeypatch.setattr(cli, "GROUPS", {**cli.GROUPS, **ENTRY})


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(3)
    z, y, x = np.indices((BOX,) * 3)
    truth = sum(
        np.exp(-((z - c) ** 2 + (y - b) ** 2 + (x - a) ** 2) / 18)
        for a, b, c in rng.uniform(8, 24, (6, 3))
    ).astype(np.float32)
    for number in (1, 2):
        noise = rng.normal(0, truth.std() * 2, truth.shape).astype(np.float32)
        write_volume(folder / f"half{number}.mrc", truth + noise, pixel_size_angstrom=4.0)
    return folder, truth


def train(folder, output, *more):
    command = ["toy", "train", str(folder / "half1.mrc"), str(folder / "half2.mrc")]
    return cli.main([*command, "--output", str(output), "--devices", "cpu", *more])


def test_it_has_the_rooms_that_the_page_asks_for():
    page = (HERE.parents[1] / "docs" / "add_a_method.md").read_text()
    assert "engine/tests/toy_method" in page
    siblings = HERE.parent / "src" / "cryodl" / "methods"
    for room in ("config", "cli", "inputs", "data", "model", "losses", "train"):
        assert (PACKAGE / f"{room}.py").exists() and f"{room}" in page
        for method in ("cet_pick", "opus_tomo", "autoencoder3d", "selfalign", "spisonet"):
            found = siblings / method / room
            assert found.is_dir() or found.with_suffix(".py").exists(), f"{method}/{room}"


def test_help_and_form_come_of_the_declarations(toy, capsys):
    assert cli.main(["toy", "train", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--crop-px" in said and "Half map 1." in said and "--resume" in said
    names = {one["name"]: one for one in describe(cli.commands_of("toy")[0])["parameters"]}
    assert names["crop_px"]["unit"] == "px" and names["crop_px"]["default"] == 16


def test_it_learns_and_reports(toy, maps, tmp_path):
    folder, truth = maps
    assert train(folder, tmp_path / "run", "--steps", "120") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (tmp_path / "run" / "report.html").exists() and result["loss"] > 0
    one = read_volume(folder / "half1.mrc").data
    two = read_volume(folder / "half2.mrc").data
    mean = (one + two) / 2
    found = read_volume(tmp_path / "run" / "filtered.mrc").data

    def likeness(data):
        return np.corrcoef(data.ravel(), truth.ravel())[0, 1]

    assert likeness(mean) < 0.65 < 0.85 < likeness(found)


def test_stopped_and_resumed_gives_the_same_weights(toy, maps, tmp_path):
    folder, _ = maps
    assert train(folder, tmp_path / "whole", "--steps", "40") == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    (tmp_path / "stopped" / "result.json").unlink()
    (tmp_path / "stopped" / "checkpoints" / "last.pt").unlink()
    assert (tmp_path / "stopped" / "checkpoints" / "previous.pt").exists()
    assert train(folder, tmp_path / "stopped", "--steps", "40", "--resume") == 0
    whole, again = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "stopped"))
    assert all(np.array_equal(whole[key], again[key]) for key in whole)


def test_wrong_input_is_one_line_and_leaves_nothing(toy, maps, tmp_path, capsys):
    folder, _ = maps
    assert train(folder, tmp_path / "run", "--crop-px", "64") == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and "found an edge of 32 px" in said
    assert not (tmp_path / "run").exists()


def test_help_does_not_load_torch():
    words = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import cryodl_toy.cli; "
    done = subprocess.run(
        [sys.executable, "-c", words + "print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False", done.stderr
