"""Names of tomograms in files of points and of the files themselves."""

from pathlib import Path

import pytest

from cryodl.core.io.particles.tomogram_names import bare_name, tomogram_names, tomogram_of
from cryodl.errors import InputError


def test_names_of_tomograms(tmp_path):
    assert bare_name("a/b/TS_01.mrc.tomostar") == "TS_01" and bare_name("x.rec.gz") == "x"
    assert bare_name("ts_10.00Apx.mrc") == "ts_10.00Apx"
    paths = [tmp_path / "one" / "rec.mrc", tmp_path / "two" / "rec.mrc", tmp_path / "a b.mrc"]
    assert tomogram_names(paths) == ["one_rec", "two_rec", "a_b"]
    with pytest.raises(InputError, match="more than once"):
        tomogram_names([paths[0], paths[0]])
    assert tomogram_names([Path("/a.mrc"), Path("/a.rec")]) == ["a.mrc", "a.rec"]
    assert len(set(tomogram_names([Path("a b.mrc"), Path("a_b.mrc"), Path("a+b.mrc")]))) == 3


def test_a_tomogram_is_found_by_its_name_or_the_beginning_of_it():
    names = ["TS_01_10.00Apx", "TS_010", "TS_02"]
    assert tomogram_of("tomostar/TS_01.tomostar", names) == 0
    assert tomogram_of("TS_02.rec", names) == 2
    assert tomogram_of("TS", names) is None and tomogram_of("TS_3", names) is None
