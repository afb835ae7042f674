"""Data files of the published programs become ours; networks are refused with a reason."""

import json
import pickle

import numpy as np
import pytest
import torch

from cryodl.cli import main
from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles

N, COUNT, PIXEL = 8, 3, 5.0
ANGLES = np.array([[10.0, 20, 30], [-40, 50, 60], [0, 90, 5]])
SHIFTS = np.array([[0.125, 0, 0], [0, -0.25, 0], [0, 0, 0.5]])


@pytest.fixture
def star(tmp_path):
    """Particles without poses."""
    paths = [tmp_path / f"p{i}.mrc" for i in range(COUNT)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).normal(size=(N, N, N)).astype(np.float32)
        write_volume(path, noise, pixel_size_angstrom=PIXEL)
    made = particles_from_subtomograms(paths, pixel_size_angstrom=PIXEL, box_size_px=N)
    write_particles(tmp_path / "data.star", made)
    return tmp_path / "data.star"


def convert(tmp_path, file, *more):
    out = tmp_path / "out"
    words = [str(word) for word in ("particles", "legacy", file, *more, "--output", out)]
    status = main(words)
    result = json.loads((out / "result.json").read_text()) if not status else {}
    return status, out, result


def test_subvolumes_become_files(tmp_path):
    rng = np.random.default_rng(0)
    boxes = {f"id/{i}": rng.normal(size=(N, N, N)) for i in range(2)}
    entries = {k: {"center": [10 + N, 20, 30], "id": k, "v": v} for k, v in boxes.items()}
    entries["outside"] = {"center": [0, 0, 0], "id": "outside", "v": None}
    file = tmp_path / "subvolumes.pickle"
    file.write_bytes(pickle.dumps({"v_siz": np.full(3, N), "vs": entries}, protocol=2))
    assert convert(tmp_path, file)[0] == 2  # no pixel size
    status, out, result = convert(tmp_path, file, "--pixel-size", 7.5)
    assert status == 0 and (result["particles"], result["left_out"]) == (2, 1)
    found = read_particles(out / result["star"])
    assert found.names == ["id/0", "id/1"] and found.tomograms == ["subvolumes"] * 2
    np.testing.assert_array_equal(found.coordinates_px, [[18, 20, 30]] * 2)
    volume = read_volume(found.image_paths[1])
    assert volume.pixel_size_angstrom == pytest.approx(7.5)
    # The published arrays are x, y, z.
    np.testing.assert_allclose(volume.data, boxes["id/1"].transpose(2, 1, 0), rtol=1e-6)


@pytest.mark.parametrize("protocol", [2, 4])
def test_poses_join_their_particles(tmp_path, star, protocol):
    file = tmp_path / "data_pose_euler.pkl"
    unused = np.zeros((COUNT, 3, 3))
    file.write_bytes(pickle.dumps((unused, SHIFTS, ANGLES), protocol=protocol))
    status, out, result = convert(tmp_path, file, "--star", star)
    assert status == 0 and result["particles"] == COUNT
    found = read_particles(out / result["star"])
    np.testing.assert_allclose(found.rotations, euler_to_matrix(*ANGLES.T), atol=1e-7)
    np.testing.assert_allclose(found.shifts_angstrom, SHIFTS * N * PIXEL, atol=1e-6)
    table = found.blocks["particles"]
    np.testing.assert_allclose(table["rlnAngleTilt"].astype(float), ANGLES[:, 1], atol=1e-4)
    assert [path.name for path in found.image_paths] == ["p0.mrc", "p1.mrc", "p2.mrc"]


def test_latents_join_their_particles(tmp_path, star):
    values = torch.arange(6.0).reshape(COUNT, 2)
    torch.save(
        {"mu": values, "nn": [1, 2], "multi_mu": torch.zeros(COUNT, 4)}, tmp_path / "z.4.pkl"
    )
    status, out, result = convert(tmp_path, tmp_path / "z.4.pkl", "--star", star)
    assert status == 0 and result["dimensions"] == 2
    table = read_particles(out / result["star"]).blocks["particles"]
    assert [float(v) for v in table["cdlLatent2"]] == [1, 3, 5]
    assert convert(tmp_path, tmp_path / "z.4.pkl", "--overwrite")[0] == 2  # no STAR file


def test_lists_of_the_published_picker_are_read(tmp_path):
    """Blank lines between the rows, blanks or tabs between the columns, as in its manual."""
    text = "image_name\tx_coord\ty_coord\tz_coord\n\ntomo1\t125\t38\t60\n\ntomo2 130 45 80\n"
    for suffix in ("txt", "coords", "tsv", "point"):
        file = tmp_path / f"train_coords.{suffix}"
        file.write_text(text)
        found = read_coordinates(file)
        assert found.tomograms == ["tomo1", "tomo2"]
        np.testing.assert_array_equal(found.xyz_px, [[125, 38, 60], [130, 45, 80]])
    out = tmp_path / "text"
    words = ["particles", "convert", str(file), "--to", "coordinates", "--output", str(out)]
    assert main(words) == 0
    assert (out / "tomo1.txt").read_text() == "125.000 38.000 60.000\n"


@pytest.mark.parametrize(
    "name", ["net.pt", "model_last_contrastive.pth", "model.h5", "weights.pkl"]
)
def test_networks_are_refused_with_a_reason(tmp_path, capsys, star, name):
    torch.save({"model_state_dict": {"w": torch.zeros(2)}, "epoch": 3}, tmp_path / name)
    assert convert(tmp_path, tmp_path / name, "--star", star)[0] == 2
    said = capsys.readouterr().err
    assert "found a network of another program" in said and "train anew with cryodl" in said


class Attack:
    def __reduce__(self):
        return eval, ("1",)


def test_what_does_not_fit_is_one_line(tmp_path, capsys, star):
    poses = (np.zeros((2, 3, 3)), SHIFTS[:2], ANGLES[:2])
    cases = {
        "two.pkl": (pickle.dumps(poses), "found poses of 2 particles, expected 3"),
        "one.pkl": (pickle.dumps((1, 2)), "found something else"),
        "code.pkl": (pickle.dumps({"vs": Attack()}), "nothing of it was run"),
        "text.pkl": (b"hello", "not a pickle"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert convert(tmp_path, tmp_path / name, "--star", star)[0] == 2, name
        assert words in capsys.readouterr().err, name
    for content, words in (
        ({"mu": torch.zeros(2, 2)}, "latents of 2 particles, expected 3"),
        ({"mu": torch.full((3, 2), torch.nan)}, "no table of finite latents"),
        ({"mu": Attack()}, "nothing of it was run"),
    ):
        torch.save(content, tmp_path / "z.pkl")
        assert convert(tmp_path, tmp_path / "z.pkl", "--star", star)[0] == 2
        assert words in capsys.readouterr().err
    assert convert(tmp_path, tmp_path / "absent.pkl")[0] == 2
