"""The quick reader of RELION's small star files."""

import pytest

from cryodl.core.relion.blocks import read_blocks, read_comments
from cryodl.errors import InputError

TEXT = """
# version 50001
# --o a/run --ini_high 30

data_first

_rlnName   my folder/run one.mrc
_rlnEmpty  ""
_rlnNothing None
_rlnQuoted "two words"
_rlnNumber 3.5

# version 50001

data_table

loop_
_rlnA #1
_rlnB #2
1 'x y'
2.5   z

data_

_rlnC 4
"""


@pytest.fixture
def star(tmp_path):
    path = tmp_path / "a.star"
    path.write_text(TEXT)
    return path


def test_lists_tables_quotes_and_names_with_blanks(star):
    blocks = read_blocks(star)
    first = blocks["first"]
    assert first.required("rlnName") == "my folder/run one.mrc"
    assert first.text("rlnEmpty") is None and first.text("rlnNothing") is None
    assert first.text("rlnQuoted") == "two words"
    assert first.number("rlnNumber") == 3.5 and first.number("rlnAbsent", 7) == 7
    assert blocks["table"].columns == {"rlnA": ["1", "2.5"], "rlnB": ["x y", "z"]}
    assert blocks["table"].numbers("rlnA") == [1.0, 2.5]
    assert blocks[""].number("rlnC") == 4


def test_reading_stops_after_the_last_block_wanted(star):
    star.write_text(star.read_text().replace("2.5   z", "2.5"))  # damages a later block
    assert list(read_blocks(star, ("first",))) == ["first"]
    with pytest.raises(InputError, match="row of 1 values in block data_table, expected 2"):
        read_blocks(star)


def test_tokens_without_a_loop_and_missing_labels_are_refused(star, tmp_path):
    block = read_blocks(star)["first"]
    with pytest.raises(InputError, match="found no _rlnAbsent in block data_first"):
        block.required("rlnAbsent")
    with pytest.raises(InputError, match="'two words' for _rlnQuoted, expected a number"):
        block.number("rlnQuoted")
    with pytest.raises(InputError, match="could not be read"):
        read_blocks(tmp_path / "none.star")
    star.write_text("hello\n")
    with pytest.raises(InputError, match="before the first data_ line"):
        read_blocks(star)
    star.write_text("data_a\n1 2 3\n")
    with pytest.raises(InputError, match="expected a label"):
        read_blocks(star)


def test_comments_at_the_top(tmp_path):
    path = tmp_path / "a.star"
    path.write_text("# RELION optimiser; version 5.0.1\n# --o x \n\n# version 50001\n")
    assert read_comments(path) == ["RELION optimiser; version 5.0.1", "--o x"]
