import json
from pathlib import Path

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.errors import EXIT_BAD_INPUT, EXIT_DONE

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
WARP = SHARED / "subtomo_70s_warp" / "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_info_says_what_can_be_used(tmp_path, capsys):
    star = tmp_path / "p.star"
    points = particles_from_coordinates(
        [[1, 2, 3], [4, 5, 6]], pixel_size_angstrom=4.0, tomograms=["083", "7"]
    )
    write_particles(star, points)
    star.write_text(star.read_text().replace("\t4\t5\t6", "\tnan\t5\t6"))
    assert main(["particles", "info", str(star)]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "2 particles read, 1 kept" in text
    assert "1 dropped: the coordinates are not finite numbers" in text
    assert main(["particles", "info", str(star), "--output-format", "json"]) == EXIT_DONE
    account = json.loads(capsys.readouterr().out)
    assert (account["read"], account["kept"]) == (2, 1)
    assert account["tomograms"] == ["083"]


def test_info_reads_points_in_text_and_says_how_far_they_reach(tmp_path, capsys):
    points = tmp_path / "083.txt"
    points.write_text("3 20 10\n6.5 5 40\n")
    assert main(["particles", "info", str(points)]) == EXIT_DONE
    text = capsys.readouterr().out
    assert "text, coordinates" in text and "2 particles read, 2 kept" in text
    assert "pixel size of the tomogram unknown" in text and "box" not in text
    assert "x 3 to 6.5, y 5 to 20, z 10 to 40 px" in text
    words = ["particles", "info", str(points), "--pixel-size", "8", "--output-format", "json"]
    assert main(words) == EXIT_DONE
    account = json.loads(capsys.readouterr().out)
    assert account["coordinate_range_xyz_px"] == [[3, 6.5], [5, 20], [10, 40]]
    assert account["coordinate_pixel_size_angstrom"] == [8] and account["tomograms"] == ["083"]
    renamed = tmp_path / "run_data"  # a STAR file is one whatever its name
    points = particles_from_coordinates([[1, 2, 3]], pixel_size_angstrom=4, tomograms=["7"])
    write_particles(tmp_path / "p.star", points)
    renamed.write_bytes((tmp_path / "p.star").read_bytes())
    assert main(["particles", "info", str(renamed)]) == EXIT_DONE
    assert "relion31, coordinates without images" in capsys.readouterr().out


def test_further_columns_of_a_table_of_points_are_kept(tmp_path):
    table = tmp_path / "picks.csv"
    table.write_text("x,y,z,score,tomogram,Mean density,cdlparticlename\n1,2,3,0.5,083,7.25,a\n")
    words = ["particles", "convert", str(table), "--pixel-size", "4", "--output"]
    assert main([*words, str(tmp_path / "out")]) == EXIT_DONE
    found = read_particles(tmp_path / "out" / "particles.star")
    row = found.blocks[found.particle_block].iloc[0]
    assert (row["cdlScore"], row["cdlMeanDensity"]) == (0.5, 7.25)
    assert found.names == ["083/1.000_2.000_3.000"]
    (tmp_path / "points.txt").write_text("1 2 10.0 20.0 30.0\n2 1 11.5 21.5 31.5\n")
    words = ["particles", "convert", str(tmp_path / "points.txt"), "--pixel-size", "4"]
    assert main([*words, "--output", str(tmp_path / "imod")]) == EXIT_DONE
    found = read_particles(tmp_path / "imod" / "particles.star")
    rows = found.blocks[found.particle_block]
    assert rows["cdlObject"].tolist() == [1, 2] and rows["cdlContour"].tolist() == [2, 1]


def test_coordinates_become_a_star_file_and_text_again(tmp_path):
    (tmp_path / "083.txt").write_text("3 2 1 0.5\n6 5 4 0.25\n")
    words = ["particles", "convert", str(tmp_path / "083.txt"), "--order", "zyx"]
    assert main([*words, "--output", str(tmp_path / "none")]) == EXIT_BAD_INPUT
    assert main([*words, "--pixel-size", "4", "--output", str(tmp_path / "star")]) == EXIT_DONE
    found = read_particles(tmp_path / "star" / result(tmp_path / "star")["star"])
    np.testing.assert_array_equal(found.coordinates_px, [[1, 2, 3], [4, 5, 6]])
    assert found.tomograms == ["083", "083"]
    words = ["particles", "convert", str(tmp_path / "star" / "particles.star")]
    out = tmp_path / "text"
    assert main([*words, "--to", "coordinates", "--output", str(out)]) == EXIT_DONE
    assert result(out)["coordinates"] == ["083.txt"]
    assert (out / "083.txt").read_text().split() == [
        *("1.000", "2.000", "3.000", "0.5"),
        *("4.000", "5.000", "6.000", "0.25"),
    ]


@pytest.mark.skipif(not SHARED.exists(), reason="needs the developer data")
@pytest.mark.parametrize("dialect", ["relion31", "relion5"])
def test_an_optimisation_set_stays_one(dialect, tmp_path):
    star = f"{WARP}_optimisation_set.star"
    out = tmp_path / "out"
    words = ["particles", "convert", star, "--to", dialect, "--output", str(out)]
    assert main(words) == EXIT_DONE
    found = result(out)
    assert (found["read"], found["kept"], found["dropped"]) == (40, 40, {})
    again, before = read_particles(out / found["optimisation_set"]), read_particles(star)
    assert again.names == before.names
    assert list(again.tilts) == list(before.tilts)
    np.testing.assert_allclose(again.rotations, before.rotations, atol=1e-8)


def test_a_file_that_holds_no_particles(tmp_path, capsys):
    (tmp_path / "a.star").write_text("data_\n_rlnVoltage 300\n")
    assert main(["particles", "info", str(tmp_path / "a.star")]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a.star" in error
