"""``cryodl particles extract`` from tomograms and points to boxes and a STAR file."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.commands.particles_extract_job import (
    BoxSettings,
    TomogramJob,
    earlier_account,
    extract_tomogram,
)
from cryodl.core.fourier.wedge import missing_wedge, tilt_sampling
from cryodl.core.geometry.rotations import euler_to_matrix
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.images import read_subtomogram
from cryodl.core.io.particles.read import read_particles

SHAPE = (40, 50, 60)
PIXEL = 5.0
# x, y, z; the third is too near the border for a box of 12, the fourth outside.
POINTS = np.array([[20.25, 22.5, 18.0], [40.0, 30.0, 20.0], [55.5, 30.0, 20.0], [20.0, 60.0, 20.0]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two tomograms of ice, with points, in the current folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, offset in (("TS_1", 100), ("TS_2", -7)):
        ice = random.normal(loc=offset, scale=3, size=SHAPE).astype(np.float32)
        write_volume(f"{name}.mrc", ice, pixel_size_angstrom=PIXEL)
        np.savetxt(f"{name}.txt", POINTS, fmt="%.3f")
    return tmp_path


def extract(*options, output="run", tomograms=("TS_1.mrc",), coordinates=("TS_1.txt",)):
    words = ["particles", "extract", "--output", output, "--ncpus", "1"]
    if "--box-size-px" not in options:
        words += ["--box-size-px", "12"]
    return main([*words, "--tomograms", *tomograms, "--coordinates", *coordinates, *options])


def result(output="run"):
    content = json.loads(Path(f"{output}/result.json").read_text())
    return content, read_particles(f"{output}/{content['star']}")


STAR_HEAD = (
    "\ndata_optics\n\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnImagePixelSize\n"
    "1 one {pixel}\n\n\ndata_particles\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n"
    "_rlnCoordinateY\n_rlnCoordinateZ\n_rlnOpticsGroup\n{labels}{rows}\n"
)


def write_points(path, names, points, labels=(), values=(), pixel=PIXEL):
    rows = "\n".join(
        f"{name} {x} {y} {z} 1 " + " ".join(map(str, values[i] if values else ()))
        for i, (name, (x, y, z)) in enumerate(zip(names, points))
    )
    text = STAR_HEAD.format(pixel=pixel, labels="".join(f"_{a}\n" for a in labels), rows=rows)
    Path(path).write_text("\n# version 30001\n" + text)


def test_boxes_and_account(folder):
    assert extract("--normalise", "none") == 0
    found, particles = result()
    assert (found["read"], found["kept"], found["filled"]) == (4, 2, 0)
    assert sum(found["dropped"].values()) == 2 and len(found["dropped"]) == 2
    assert found["pixel_size_angstrom"] == PIXEL and found["box_size_px"] == 12
    assert particles.box_size_px == 12 and particles.image_kind == "volume"
    assert particles.tomograms == ["TS_1", "TS_1"]
    assert [path.name for path in particles.image_paths] == ["TS_1_000001.mrc", "TS_1_000002.mrc"]
    np.testing.assert_allclose(particles.coordinates_px, POINTS[:2])
    tomogram = read_volume("TS_1.mrc").data
    np.testing.assert_array_equal(read_subtomogram(particles, 1), tomogram[14:26, 24:36, 34:46])
    assert "<img" in Path("run/report.html").read_text()


def test_names_in_the_star_file_are_relative(folder):
    """The folder can be moved, and RELION can be run in it."""
    assert extract() == 0
    table = result()[1].blocks["particles"]
    assert table["rlnImageName"][0] == "subtomograms/TS_1/TS_1_000001.mrc"
    shutil.move("run", "elsewhere")
    assert len(result("elsewhere")[1]) == 2


@pytest.mark.parametrize("border", ["fill", "noise"])
def test_boxes_at_the_border_are_filled(folder, border):
    assert extract("--border", border) == 0
    found, particles = result()
    assert (found["read"], found["kept"], found["filled"]) == (4, 3, 1)
    box = read_subtomogram(particles, 2)
    assert (np.ptp(box[:, :, -1]) == 0) == (border == "fill")
    assert abs(box[:, :, -1].mean()) < 0.5


def test_tomogram_scale_is_one_for_all_boxes_and_dark_is_turned(folder):
    assert extract() == 0 and extract("--contrast", "dark", output="dark") == 0
    bright, dark = result()[1], result("dark")[1]
    box = read_subtomogram(bright, 1)
    assert abs(box.mean()) < 0.15 and box.std() == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(box, -read_subtomogram(dark, 1))


def test_any_binning_and_odd_boxes(folder):
    z, y, x = np.indices(SHAPE) - np.array([20.4, 24.7, 29.2])[:, None, None, None]
    write_volume(
        "blob.mrc", np.exp(-(x**2 + y**2 + z**2) / (2 * 5.0**2)), pixel_size_angstrom=PIXEL
    )
    np.savetxt("blob.txt", [[29.2, 24.7, 20.4]])
    for binning, n in (("2", "11"), ("2.5", "8"), ("1.37", "13")):
        done = extract(
            *("--box-size-px", n, "--binning", binning, "--normalise", "none"),
            output=f"bin{binning}",
            tomograms=("blob.mrc",),
            coordinates=("blob.txt",),
        )
        assert done == 0
        found, particles = result(f"bin{binning}")
        assert found["pixel_size_angstrom"] == pytest.approx(PIXEL * float(binning))
        assert particles.pixel_size_angstrom[0] == pytest.approx(PIXEL * float(binning))
        assert particles.coordinate_pixel_size_angstrom[0] == pytest.approx(PIXEL)
        np.testing.assert_allclose(particles.coordinates_px, [[29.2, 24.7, 20.4]], atol=1e-4)
        grid = (np.indices((int(n),) * 3) - int(n) // 2) * float(binning)
        expected = np.exp(-(grid**2).sum(axis=0) / (2 * 5.0**2))
        assert abs(read_subtomogram(particles, 0) - expected).max() < 1e-3


def test_points_of_another_sampling(folder):
    np.savetxt("fine.txt", POINTS[:2] * 2)
    options = ("--coordinate-pixel-size", "2.5")
    assert extract(*options, coordinates=("fine.txt",)) == 0
    assert extract(output="own") == 0
    np.testing.assert_allclose(result()[1].coordinates_px, POINTS[:2])
    np.testing.assert_allclose(
        read_subtomogram(result()[1], 0), read_subtomogram(result("own")[1], 0), atol=1e-5
    )


def test_other_orders_scores_contours_and_the_same_point_twice(folder):
    zyx = POINTS[[0, 0, 1], ::-1] + 1
    np.savetxt("zyx.txt", np.column_stack([zyx, [0.5, 0.25, 2]]), fmt="%.4f")
    assert extract("--order", "zyx", "--first-voxel", "1", coordinates=("zyx.txt",)) == 0
    found, particles = result()
    np.testing.assert_allclose(particles.coordinates_px, POINTS[[0, 0, 1]], atol=1e-4)
    assert particles.blocks["particles"]["cdlScore"].tolist() == [0.5, 0.25, 2]
    Path("imod.txt").write_text("1 3 20.0 22.0 18.0\n1 4 40.0 30.0 20.0\n")
    assert extract(output="imod", coordinates=("imod.txt",)) == 0
    assert result("imod")[1].blocks["particles"]["cdlContour"].tolist() == [3, 4]


def test_table_that_names_tomograms(folder):
    Path("all.csv").write_text("z,y,x,tomo\n20,30,40,TS_2\n21,31,41,TS_1.mrc\n")
    both = ("TS_1.mrc", "TS_2.mrc")
    assert extract(tomograms=both, coordinates=("all.csv",)) == 0
    particles = result()[1]
    assert particles.tomograms == ["TS_1", "TS_2"]
    assert particles.coordinates_px.tolist() == [[41, 31, 21], [40, 30, 20]]


def test_several_tomograms_by_order_and_in_processes(folder):
    both = {"tomograms": ("TS_1.mrc", "TS_2.mrc"), "coordinates": ("TS_1.txt", "TS_2.txt")}
    assert extract(**both) == 0
    assert extract("--ncpus", "2", output="two", **both) == 0
    one, two = result(), result("two")
    assert one[0]["kept"] == two[0]["kept"] == 4
    for i in range(4):
        np.testing.assert_array_equal(read_subtomogram(one[1], i), read_subtomogram(two[1], i))
    assert one[1].tomograms == ["TS_1", "TS_1", "TS_2", "TS_2"]


def test_star_file_is_matched_by_name_and_keeps_what_it_knows(folder):
    names = ["folder/TS_2.mrc", "TS_1.tomostar", "TS_2.mrc", "TS_9"]
    points = [[30, 30, 20], [31, 30, 20], [32, 30, 20], [33, 30, 20]]
    labels = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst"]
    labels += ["rlnOriginYAngst", "rlnOriginZAngst", "rlnClassNumber", "cdlScore"]
    values = [(10 + i, 20, 30, 5.0, -2.5, 0.0, i + 1, i / 4) for i in range(4)]
    write_points("all.star", names, points, labels, values)
    inputs = {"tomograms": ("TS_1.mrc", "TS_2.mrc"), "coordinates": ("all.star",)}
    assert extract(**inputs) == 0
    found, particles = result()
    assert (found["read"], found["kept"]) == (4, 3)
    assert particles.tomograms == ["TS_1", "TS_2", "TS_2"]
    assert particles.coordinates_px[:, 0].tolist() == [31, 30, 32]
    np.testing.assert_allclose(particles.rotations[0], euler_to_matrix(11, 20, 30), atol=1e-6)
    np.testing.assert_allclose(particles.shifts_angstrom, [[5, -2.5, 0]] * 3)
    assert particles.classes.tolist() == [2, 1, 3]
    assert particles.blocks["particles"]["cdlScore"].tolist() == [0.25, 0, 0.5]
    assert extract("--recentre", output="centred", **inputs) == 0
    centred = result("centred")[1]
    assert (centred.shifts_angstrom == 0).all()
    np.testing.assert_allclose(centred.coordinates_px[0], [31 - 1, 30 + 0.5, 20])


def test_tilts_become_a_wedge_volume(folder):
    assert extract("--tilt-min", "-50", "--tilt-max", "60") == 0
    found, particles = result()
    assert found["tilt_range_degrees"] == [-50, 60]
    assert {path.name for path in particles.ctf_paths} == {"TS_1_wedge.mrc"}
    wedge = read_volume(particles.ctf_paths[0])
    np.testing.assert_allclose(wedge.data, missing_wedge(12, -50, 60), atol=1e-6)
    table = particles.blocks["particles"]
    assert set(table["cdlTiltMin"]) == {-50} and set(table["cdlTiltMax"]) == {60}
    assert extract("--tilt-min", "-50", "--tilt-max", "60", "--no-wedge-volumes", output="b") == 0
    assert result("b")[1].ctf_paths == []


def test_list_of_tilts_becomes_their_sampling(folder):
    settings = BoxSettings(12, 1.0, "drop", "box", "bright", 0)
    angles = (-40.0, 0.0, 35.0)
    job = TomogramJob(
        *("TS_1", Path("TS_1.mrc"), POINTS, Path("boxes"), settings),
        tilts_degrees=angles,
        is_range=False,
        tilt_axis_degrees=85.0,
    )
    dealt_with = []
    account = extract_tomogram(job, dealt_with.append)
    assert sum(dealt_with) == 4 and account.kept == [0, 1]
    assert sum(account.dropped.values()) == 2 and account.mean is None
    expected = tilt_sampling(12, angles, tilt_axis_degrees=85, nyquist_limit=False)
    np.testing.assert_allclose(read_volume(job.wedge_path).data, expected, atol=1e-6)
    mean = (read_volume(job.box_path(0)).data + read_volume(job.box_path(1)).data) / 2
    np.testing.assert_allclose(read_volume(job.mean_path).data, mean, atol=1e-6)
    assert earlier_account(job) == account
    assert earlier_account(replace(job, tilts_degrees=(-40.0, 35.0))) is None


def test_resumed_run_keeps_finished_tomograms(folder):
    both = {"tomograms": ("TS_1.mrc", "TS_2.mrc"), "coordinates": ("TS_1.txt", "TS_2.txt")}
    assert extract(**both) == 0
    first = "run/subtomograms/TS_1/TS_1_000001.mrc"
    second = "run/subtomograms/TS_2/TS_2_000001.mrc"
    times = [Path(path).stat().st_mtime_ns for path in (first, second)]
    Path("run/result.json").unlink()
    os.truncate(second, 2000)
    assert extract("--resume", **both) == 0
    assert Path(first).stat().st_mtime_ns == times[0]
    assert Path(second).stat().st_mtime_ns != times[1]
    assert result()[0]["kept"] == 4
    # Other points under the same name: the tomogram is done again.
    files = json.loads(Path("run/result.json").read_text())["files"]
    assert {"subtomograms/TS_1/extracted.json", "subtomograms/TS_2/TS_2_mean.mrc"} < set(files)
    Path("run/result.json").unlink()
    np.savetxt("TS_1.txt", POINTS + 1, fmt="%.3f")
    assert extract("--resume", **both) == 0
    assert Path(first).stat().st_mtime_ns != times[0]


def test_resumed_run_leaves_no_box_of_points_that_are_gone(folder, monkeypatch):
    def crash(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("cryodl.commands.particles_extract.make_set", crash)
        assert extract() == 1
    assert Path("run/subtomograms/TS_1/TS_1_000002.mrc").exists()
    np.savetxt("TS_1.txt", POINTS[:1], fmt="%.3f")
    assert extract("--resume") == 0
    boxes = sorted(p.name for p in Path("run/subtomograms/TS_1").iterdir())
    assert boxes == ["TS_1_000001.mrc", "TS_1_mean.mrc", "extracted.json"]


def test_overwriting_leaves_no_box_of_the_earlier_run(folder):
    assert extract("--border", "fill") == 0
    assert extract("--overwrite") == 0
    boxes = sorted(p.name for p in Path("run/subtomograms/TS_1").iterdir())
    assert boxes == ["TS_1_000001.mrc", "TS_1_000002.mrc", "TS_1_mean.mrc", "extracted.json"]


def test_useless_boxes_are_dropped_and_counted(folder):
    data = read_volume("TS_1.mrc").data.copy()
    data[20, 30, 40] = np.nan
    data[:, :30, :30] = 5
    Path("TS_1.mrc").unlink()
    header = Path("TS_2.mrc").read_bytes()[:1024]
    Path("TS_1.mrc").write_bytes(header + data.astype("<f4").tobytes())  # our writer refuses NaN
    np.savetxt("TS_1.txt", [[40, 30, 20], [10, 10, 20], [50, 40, 20]])
    assert extract() == 0
    found, particles = result()
    assert found["dropped"] == {
        "the box holds values that are not finite": 1,
        "the box is blank": 1,
    }
    assert [path.name for path in particles.image_paths] == ["TS_1_000003.mrc"]


def test_points_of_another_tomogram_are_told_of(folder, capsys):
    write_points("other.star", ["TS_99"] * 2, POINTS[:2])
    assert extract(coordinates=["other.star"]) == 0
    assert "TS_99 were taken for tomogram TS_1, by the order" in capsys.readouterr().out
    write_points("own.star", ["TS_1.mrc"] * 2, POINTS[:2])
    assert extract(coordinates=["own.star"], output="own") == 0
    assert "by the order" not in capsys.readouterr().out


def bad_number_of_files(folder):
    return {"tomograms": ("TS_1.mrc", "TS_2.mrc")}, (), "1 files for 2 tomograms"


def bad_outside(folder):
    return {}, ("--coordinate-pixel-size", "50"), "lie outside"


def bad_nan(folder):
    Path("TS_1.txt").write_text("10 10 10\nnan 10 10\n")
    return {}, (), "TS_1.txt"


def bad_words(folder):
    Path("TS_1.txt").write_text("10 10 10\nten 10 10\n")
    return {}, (), "TS_1.txt"


def bad_image(folder):
    write_volume("flat.mrc", np.ones((1, 50, 60)), pixel_size_angstrom=PIXEL)
    return {"tomograms": ("flat.mrc",)}, (), "one 2D image"


def bad_zero_box(folder):
    return {}, ("--box-size-px", "0"), "--box-size-px"


def bad_binning(folder):
    return {}, ("--binning", "0.5"), "--binning"


def bad_large_box(folder):
    return {}, ("--box-size-px", "64"), "--border fill"


def bad_missing(folder):
    return {"tomograms": ("none.mrc",)}, (), "none.mrc"


def bad_truncated(folder):
    os.truncate("TS_1.mrc", 5000)
    return {}, (), "truncated"


def bad_twice(folder):
    return {"tomograms": ("TS_1.mrc", "./TS_1.mrc")}, (), "more than once"


def bad_tilts(folder):
    return {}, ("--tilt-min", "60", "--tilt-max", "-60"), "--tilt-min"


def bad_half_tilts(folder):
    return {}, ("--tilt-min", "-60"), "--tilt-min"


def bad_blank(folder):
    write_volume("TS_1.mrc", np.ones(SHAPE), pixel_size_angstrom=PIXEL)
    return {}, (), "blank"


def bad_pixel_sizes(folder):
    write_volume("TS_2.mrc", read_volume("TS_2.mrc").data, pixel_size_angstrom=7)
    both = {"tomograms": ("TS_1.mrc", "TS_2.mrc"), "coordinates": ("TS_1.txt", "TS_2.txt")}
    return both, (), "extract them apart"


def bad_names(folder):
    write_points("p.star", ["X", "Y"], POINTS[:2])
    return {"coordinates": ("p.star",)}, (), "names of the tomograms"


@pytest.mark.parametrize(
    "case", [value for name, value in sorted(globals().items()) if name.startswith("bad_")]
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, case):
    inputs, options, said = case(folder)
    assert extract(*options, **inputs) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not Path("run").exists()
