"""What ``cryodl particles extract`` says of boxes that look doubtful."""

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.commands.particles_extract_report import looks_inverted
from cryodl.core.io.mrc import write_volume


def shape(n, kind):
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    if kind == "solid":
        return np.exp(-(radius**2) / (2 * (n / 8) ** 2))
    # A wall about a hole that is as dark as the wall is bright.
    wall = np.exp(-((radius - n / 4) ** 2) / (2 * (n / 16) ** 2))
    return wall - np.exp(-(radius**2) / (2 * (n / 12) ** 2))


@pytest.mark.parametrize("n", [16, 25])
@pytest.mark.parametrize("kind", ["solid", "hollow"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_dark_particles_are_told_from_bright_ones(n, kind, noise):
    particle = shape(n, kind) + noise * np.random.default_rng(0).normal(size=(n, n, n)) + 7
    assert not looks_inverted(particle)
    assert looks_inverted(-particle)


def test_noise_is_neither():
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=(16, 16, 16))
        assert not looks_inverted(noise) and not looks_inverted(-noise)
    assert not looks_inverted(np.zeros((16, 16, 16)))


def extract(folder, *words):
    tomogram = np.random.default_rng(1).normal(size=(40, 60, 60)).astype(np.float32)
    for x, y, z in ((20, 20, 20), (40, 40, 20)):
        box = np.s_[z - 8 : z + 8, y - 8 : y + 8, x - 8 : x + 8]
        tomogram[box] += 5 * shape(16, "hollow").astype(np.float32)
    write_volume(folder / "TS_01.mrc", tomogram, pixel_size_angstrom=10)
    words = ["--tomograms", f"{folder}/TS_01.mrc", "--box-size-px", "16", "--ncpus", "1", *words]
    assert main(["particles", "extract", *words, "--output", f"{folder}/run"]) == 0
    return (folder / "run" / "log.txt").read_text()


def test_the_other_contrast_is_named(tmp_path):
    (tmp_path / "points.txt").write_text("20 20 20\n40 40 20\n")
    words = ["--coordinates", f"{tmp_path}/points.txt"]
    assert "--contrast" not in extract(tmp_path, *words)
    told = extract(tmp_path, *words, "--contrast", "dark", "--overwrite")
    assert "taken as dark" in told and "if it is bright" in told and "--contrast bright" in told


def test_reasons_are_told_where_many_points_are_lost(tmp_path):
    (tmp_path / "points.csv").write_text("x,y,z,tomogram\n20,20,20,TS_01\n40,40,20,TS_02\n")
    told = extract(tmp_path, "--coordinates", f"{tmp_path}/points.csv")
    assert "1 of 2 points gave no particle (1: its tomogram was not given)" in told
    assert "pixel size they" not in told
    (tmp_path / "border.csv").write_text("x,y,z\n20,20,20\n2,40,20\n")
    told = extract(tmp_path, "--coordinates", f"{tmp_path}/border.csv", "--overwrite")
    assert "(1: the box reaches beyond the tomogram). See whether" in told
