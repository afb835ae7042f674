import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_write import boxes

from cryodl.core.io.particles.coordinates import ORDERS, read_coordinates, write_coordinates
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.write import write_particles
from cryodl.errors import InputError


def read(tmp_path, text, name="points.txt", **options):
    (tmp_path / name).write_text(text)
    return read_coordinates(tmp_path / name, **options)


def test_plain_text_with_scores(tmp_path):
    found = read(tmp_path, "# picks\n1 2 3 0.5\n4.5\t5 6 0.25  # good\n\n")
    np.testing.assert_array_equal(found.xyz_px, [[1, 2, 3], [4.5, 5, 6]])
    np.testing.assert_array_equal(found.scores, [0.5, 0.25])
    assert found.tomograms == ["", ""]
    assert found.groups is None


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_the_axes_is_what_one_says(order, tmp_path):
    place = {"x": 1.0, "y": 2.0, "z": 3.0}
    found = read(tmp_path, " ".join(str(place[a]) for a in order) + "\n", order=order)
    np.testing.assert_array_equal(found.xyz_px, [[1, 2, 3]])
    write_coordinates(tmp_path / "again.txt", [[1, 2, 3]], order=order)
    again = read_coordinates(tmp_path / "again.txt", order=order)
    np.testing.assert_array_equal(again.xyz_px, [[1, 2, 3]])


def test_the_first_voxel_may_be_called_one(tmp_path):
    assert read(tmp_path, "1 2 3\n", first_voxel=1).xyz_px.tolist() == [[0, 1, 2]]
    write_coordinates(tmp_path / "a.txt", [[0, 1, 2]], first_voxel=1)
    assert (tmp_path / "a.txt").read_text() == "1.000 2.000 3.000\n"


def test_points_of_imod(tmp_path):
    five = read(tmp_path, "  1  2  10.50  20.00  30.00\n  2  1  11.50  21.00  31.00\n")
    assert five.groups.tolist() == [[1, 2], [2, 1]]
    four = read(tmp_path, "  1  10.50  20.00  30.00\n  3  11.50  21.00  31.00\n")
    assert four.groups.tolist() == [[1, 1], [1, 3]]
    np.testing.assert_array_equal(four.xyz_px, five.xyz_px)
    assert four.scores is None


def test_whole_numbers_with_a_score_are_no_contours(tmp_path):
    found = read(tmp_path, "10 20 30 0.9\n11 21 31 0.8\n")
    assert found.groups is None
    assert found.scores.tolist() == [0.9, 0.8]
    rounded = read(tmp_path, "10 20.5 30.5 0.9\n11 21.5 31.5 0.8\n")
    assert rounded.scores.tolist() == [0.9, 0.8]


def test_columns_with_names(tmp_path):
    text = "\ufeffscore,Z,tomo,x,y,class\n0.5,3,083,1,2,ribosome\n0.4,6,7,4,5,other\n"
    found = read(tmp_path, text, "points.csv", order="zyx")
    np.testing.assert_array_equal(found.xyz_px, [[1, 2, 3], [4, 5, 6]])
    assert found.tomograms == ["083", "7"]
    assert found.scores.tolist() == [0.5, 0.4]
    assert found.extra == {"class": ["ribosome", "other"]}
    semicolons = read(tmp_path, "x;y;z\n1;2;3\n", "b.csv")
    assert semicolons.xyz_px.tolist() == [[1, 2, 3]]


def test_a_star_file(tmp_path):
    particles = particles_from_coordinates(
        [[1.5, 2, 3], [4, 5, 6]], pixel_size_angstrom=4.0, tomograms=["083", "7"]
    ).with_column("cdlScore", [0.5, 0.25])
    write_particles(tmp_path / "p.star", particles)
    found = read_coordinates(tmp_path / "p.star")
    np.testing.assert_array_equal(found.xyz_px, [[1.5, 2, 3], [4, 5, 6]])
    assert found.tomograms == ["083", "7"]
    assert found.scores.tolist() == [0.5, 0.25]
    write_particles(tmp_path / "b.star", boxes(tmp_path, 1))
    with pytest.raises(InputError, match="without x, y and z"):
        read_coordinates(tmp_path / "b.star")


def test_what_is_written_is_read(tmp_path):
    points = np.random.default_rng(0).uniform(0, 999, (20, 3)).round(3)
    scores = np.random.default_rng(1).normal(size=20).round(4)
    for name in ("a.txt", "a.csv"):
        write_coordinates(tmp_path / name, points, scores=scores)
        found = read_coordinates(tmp_path / name)
        np.testing.assert_array_equal(found.xyz_px, points)
        np.testing.assert_array_equal(found.scores, scores)
    groups = np.stack([np.arange(20) // 10 + 1, np.arange(20) % 3 + 1], axis=1)
    write_coordinates(tmp_path / "imod.txt", points, groups=groups)
    assert read_coordinates(tmp_path / "imod.txt").groups.tolist() == groups.tolist()


@pytest.mark.parametrize(
    "options", [{"order": "xyy"}, {"order": "abc"}, {"first_voxel": 2}, {"first_voxel": -1}]
)
def test_options_that_make_no_sense(options, tmp_path):
    with pytest.raises(InputError, match="expected"):
        read(tmp_path, "1 2 3\n", **options)


def test_what_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(InputError, match="finite"):
        write_coordinates(tmp_path / "a.txt", [[1, 2, np.nan]])
    with pytest.raises(InputError, match="lengths"):
        write_coordinates(tmp_path / "a.txt", [[1, 2, 3]], scores=[1, 2])


CELLS = st.one_of(
    st.floats(allow_nan=True).map(repr),
    st.sampled_from(["x", "y", "z", "score", "", '"', "#", ",", ";", "1e400", "٣", "0x1"]),
    st.text(max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.lists(CELLS, max_size=7), max_size=5), mark=st.sampled_from(" \t,;"))
def test_any_text_is_read_or_refused(rows, mark, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text("\n".join(mark.join(row) for row in rows), encoding="utf-8", errors="ignore")
    try:
        found = read_coordinates(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(found.xyz_px).all()
        assert len(found.xyz_px) == len(found.tomograms) > 0


def test_points_of_a_star_file_lie_at_the_centres_of_references(tmp_path):
    particles = particles_from_coordinates(
        [[10.0, 20.0, 30.0]],
        pixel_size_angstrom=2.0,
        tomograms=["t"],
        shifts_angstrom=[[4.0, -2.0, 1.0]],
    )
    write_particles(tmp_path / "p.star", particles)
    found = read_coordinates(tmp_path / "p.star")
    np.testing.assert_allclose(found.xyz_px, [[8.0, 21.0, 29.5]])
    np.testing.assert_array_equal(found.pixel_size_angstrom, [2.0])
    assert read(tmp_path, "1 2 3\n").pixel_size_angstrom is None


def test_a_text_of_picks_may_hold_none(tmp_path):
    assert read(tmp_path, "# none\n", may_be_empty=True).xyz_px.shape == (0, 3)
    with pytest.raises(InputError, match="no points"):
        read(tmp_path, "# none\n")


def test_a_comment_may_name_the_columns(tmp_path):
    found = read(
        tmp_path, "# ours\n# x y z score class\n25.00 30.00 18.25 0.55 1\n26 31 19 0.5 2\n"
    )
    np.testing.assert_array_equal(found.xyz_px, [[25, 30, 18.25], [26, 31, 19]])
    np.testing.assert_array_equal(found.scores, [0.55, 0.5])
    assert found.extra == {"class": ["1", "2"]} and found.groups is None
    assert read(tmp_path, "# z, y, x\n1 2 3\n").xyz_px.tolist() == [[3, 2, 1]]
    assert read(tmp_path, "# x y and z of picks\n1 2 3 0.5\n").scores.tolist() == [0.5]
