import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile

from cryodl.core.io.star import (
    StarBlocks,
    many_objects,
    read_star,
    require_columns,
    write_star,
)
from cryodl.errors import InputError

SHARED = Path(__file__).resolve().parents[4].parent / "shared" / "data"

RELION5 = """
# version 50001

data_general

_rlnTomoSubTomosAre2DStacks                       1


# version 50001

data_optimiser

_rlnSgdStepsizeScheme                            ""
_rlnOutputRootName                   Refine 3D/job005/run
_rlnModelStarFile                    'a file.star'
_rlnDoFlag
_rlnCurrentResolution               20.5
_rlnTomoName                         083
_rlnNote                             0_1

data_particles

loop_
_rlnTomoName #1
_rlnImageName #2
_rlnCoordinateX #3
_rlnClassNumber #4
_rlnRemark #5
083    data/a.mrcs   1.5      1   ""
0_1    "b c.mrcs"   -2e-3     2   x
7      'd e.mrcs'    nan      3   <NA>

"""


def write(tmp_path, text):
    path = tmp_path / "t.star"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_relion5_file(tmp_path):
    blocks = read_star(write(tmp_path, RELION5))
    assert list(blocks) == ["general", "optimiser", "particles"]
    assert blocks.version == 50001
    assert blocks["general"] == {"rlnTomoSubTomosAre2DStacks": 1}
    assert blocks["optimiser"] == {
        "rlnSgdStepsizeScheme": "",
        "rlnOutputRootName": "Refine 3D/job005/run",
        "rlnModelStarFile": "a file.star",
        "rlnDoFlag": "",
        "rlnCurrentResolution": 20.5,
        "rlnTomoName": "083",
        "rlnNote": "0_1",
    }
    table = blocks["particles"]
    assert list(table["rlnTomoName"]) == ["083", "0_1", "7"]
    assert list(table["rlnImageName"]) == ["data/a.mrcs", "b c.mrcs", "d e.mrcs"]
    np.testing.assert_array_equal(table["rlnCoordinateX"], [1.5, -2e-3, np.nan])
    assert table["rlnClassNumber"].dtype == np.int64
    assert list(table["rlnRemark"])[:2] == ["", "x"]


def test_rows_that_begin_like_a_block_are_rows(tmp_path):
    text = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnX #2\ndata_1/a.mrc 1\ndata_2/b.mrc 2\n"
    table = read_star(write(tmp_path, text))[""]
    assert list(table["rlnMicrographName"]) == ["data_1/a.mrc", "data_2/b.mrc"]
    text = "data_a\nloop_\n_rlnImageName\ndata_1/a.mrc\ndata_2/b.mrc\n\ndata_b\n_x 1\n"
    blocks = read_star(write(tmp_path, text))
    assert list(blocks["a"]["rlnImageName"]) == ["data_1/a.mrc", "data_2/b.mrc"]
    assert blocks["b"] == {"x": 1}


def test_odd_but_legal_layouts(tmp_path):
    text = (
        "data_a\r\n\r\nloop_ \r\n_x #1\r\n_y #2\r\n 1 2  \r\n# a comment\r\n3 4 # another\r\n\r\n"
        "data_empty\r\n\r\ndata_table\r\nloop_\r\n_z #1\r\n\r\n"
    )
    blocks = read_star(write(tmp_path, text))
    assert blocks["a"].to_numpy().tolist() == [[1, 2], [3, 4]]
    assert blocks["empty"] == {}
    assert list(blocks["table"]) == ["z"] and len(blocks["table"]) == 0


def test_tables_survive_a_round_trip(tmp_path):
    table = pd.DataFrame(
        {
            "rlnImageName": ["1@a b.mrcs", "", "it's"],
            "rlnSmall": [1.23456789e-9, -0.1, np.nan],
            "rlnInteger": [1, 2, 123456789],
            "rlnText": ["x", "y z", ""],
        }
    )
    values = {"rlnA": 1.5, "rlnB": "two words", "rlnC": "", "rlnD": 3, "rlnTomoName": "007"}
    write_star(tmp_path / "t.star", {"particles": table, "general": values}, version=30001)
    assert "\n# version 30001\n" in (tmp_path / "t.star").read_text()
    blocks = read_star(tmp_path / "t.star")
    assert blocks.version == 30001
    pd.testing.assert_frame_equal(blocks["particles"], table, check_dtype=False, rtol=1e-8)
    assert blocks["general"] == values
    write_star(tmp_path / "again.star", blocks)
    assert (tmp_path / "again.star").read_text() == (tmp_path / "t.star").read_text()
    assert starfile.read(tmp_path / "t.star")["general"]["rlnA"] == 1.5


def test_empty_tables_can_be_written(tmp_path):
    write_star(tmp_path / "t.star", {"particles": pd.DataFrame({"rlnX": [], "rlnY": []})})
    table = read_star(tmp_path / "t.star")["particles"]
    assert list(table) == ["rlnX", "rlnY"] and len(table) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("hello\nworld\n", "line 1 is 'hello'.*not a STAR file"),
        ("# only a comment\n", "no line that begins with data_"),
        ("data_a\nloop_\n_x\n_y\n1 2\n3\n", "line 6 has 1 values, expected 2"),
        ("data_a\nloop_\n_x\n_y\n1 2\n3 4 5\n", "do not match its 2 columns"),
        ("data_a\nloop_\n_x\n_y\n1 2 3\n", "line 5 has 3 values, expected 2"),
        ("data_a\nloop_\n_x\n_y\n1\n", "line 5 has 1 values, expected 2"),
        ('data_a\nloop_\n_x\n_y\n1 "2\n3 4\n', "data_a"),
        ("data_a\nloop_\n_x\n_x\n1 2\n", "two columns of one name"),
        ("data_a\nloop_\n1 2\n", "without columns"),
        ("data_a\n_x 1\ndata_a\n_x 2\n", "line 3 begins a second block data_a"),
        ("data_a\n_x 1\nstray\n", "line 3 is 'stray'"),
        ("data_a\n\0\0\n", "is not text"),
    ],
)
def test_damaged_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_star(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "t.star" in str(caught.value)
    assert caught.value.exit_status == 2


def test_files_that_are_no_text_or_not_there(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_star(tmp_path / "none.star")
    with pytest.raises(InputError, match="cannot be read"):
        read_star(tmp_path)
    (tmp_path / "b.star").write_bytes(b"data_a\n_x \xff\xfe\n")
    with pytest.raises(InputError, match="not text"):
        read_star(tmp_path / "b.star")


@pytest.mark.parametrize("text", ["two\nlines", 'a "quote', "a\ttab"])
def test_texts_that_star_cannot_hold(tmp_path, text):
    for block in ({"x": text}, pd.DataFrame({"x": ["a", text]})):
        with pytest.raises(InputError, match=r"t\.star: block data_a would hold"):
            write_star(tmp_path / "t.star", {"a": block})
    assert list(tmp_path.iterdir()) == []


def test_missing_columns_are_all_named(tmp_path):
    table = pd.DataFrame({"rlnX": [1], "rlnY": [2]})
    require_columns(table, ["rlnX", "rlnY"], "p.star")
    with pytest.raises(InputError, match=r"p\.star.*rlnA, rlnB \(there are: rlnX, rlnY\)"):
        require_columns(table, ["rlnX", "rlnA", "rlnB"], "p.star")
    with pytest.raises(InputError, match="there are: none"):
        require_columns({}, ["rlnX"], "p.star")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the developer data are not here")
def test_developer_files_agree_with_starfile(tmp_path):
    files = sorted(SHARED.rglob("*.star"))[::4]  # all 165 agree, which takes 8 s
    assert len(files) > 30
    for path in files:
        ours, theirs = read_star(path), starfile.read(path, always_dict=True)
        assert list(ours) == list(theirs), path
        write_star(tmp_path / "copy.star", ours)
        copy = read_star(tmp_path / "copy.star")
        assert copy.version == ours.version
        for name, block in ours.items():
            if isinstance(block, dict):
                assert block == theirs[name] == copy[name], path
                continue
            pd.testing.assert_frame_equal(block, theirs[name], check_dtype=False, obj=str(path))
            pd.testing.assert_frame_equal(block, copy[name], check_dtype=False, rtol=1e-8)


def test_blocks_are_a_plain_dict_to_others():
    blocks = StarBlocks({"a": {"x": 1}}, version=3)
    assert isinstance(blocks, dict) and dict(blocks) == {"a": {"x": 1}}


def test_texts_that_look_like_something_else_survive(tmp_path):
    texts = ["_rlnA", "#b", "'c d'", "", "data_x", "loop_", "1_0"]
    table = pd.DataFrame({"rlnName": texts, "rlnOther": texts[::-1]})
    write_star(tmp_path / "t.star", {"particles": table})
    pd.testing.assert_frame_equal(read_star(tmp_path / "t.star")["particles"], table)


def test_numbers_are_written_as_they_always_were(tmp_path):
    table = pd.DataFrame(
        {
            "rlnFloat": [1.0, np.nan, 1 / 3],
            "rlnSame": [2.5, 2.5, 2.5],
            "rlnWhole": [1, 20, -3],
            "rlnFlag": [True, False, True],
            "rlnMixed": pd.Series(["a b", 1.5, None], dtype=object),
            "rlnMaybe": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    write_star(tmp_path / "t.star", {"list": {"rlnA": 1.5, "rlnB": "x y"}, "t": table}, version=7)
    assert (tmp_path / "t.star").read_text() == (
        '\n# version 7\n\ndata_list\n\n_rlnA\t\t\t1.5\n_rlnB\t\t\t"x y"\n\n\n'
        "data_t\n\nloop_\n_rlnFloat #1\n_rlnSame #2\n_rlnWhole #3\n_rlnFlag #4\n_rlnMixed #5\n"
        '_rlnMaybe #6\n1\t2.5\t1\tTrue\t"a b"\t1\nnan\t2.5\t20\tFalse\t1.5\tnan\n'
        "0.333333333\t2.5\t-3\tTrue\tnan\t3\n\n\n"
    )


def test_a_label_without_a_name_is_refused(tmp_path):
    for text in ("data_a\n_ 1\n", "data_a\nloop_\n_ #1\n1\n"):
        with pytest.raises(InputError, match="expected a name after the _"):
            read_star(write(tmp_path, text))


def test_the_search_for_garbage_goes_on_after_a_failure():
    with pytest.raises(InputError), many_objects():
        assert not gc.isenabled()
        raise InputError("x")
    assert gc.isenabled()


def test_a_mark_of_the_byte_order_is_no_content(tmp_path):
    path = tmp_path / "t.star"
    path.write_text("# made elsewhere\ndata_a\n_x 1\n", encoding="utf-8-sig")
    assert read_star(path)["a"] == {"x": 1}


def test_comments_behind_values(tmp_path):
    text = "data_l\n_x 5 # five\n_yName 'a # b' # c\ndata_t\nloop_\n_xName\n_y\n"
    text += '\'a #1\' 2   # odd "one"\n"b c" 3\t# it\'s\nd#4 4\n'
    blocks = read_star(write(tmp_path, text))
    assert blocks["l"] == {"x": 5, "yName": "a # b"}
    assert blocks["t"]["xName"].tolist() == ["a #1", "b c", "d#4"]
    assert blocks["t"]["y"].tolist() == [2, 3, 4]
