from pathlib import Path

import pytest
from particle_readers import prepare, run_one

CORPUS = sorted((Path(__file__).resolve().parent / "corpus").iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(folder)
    return folder


def test_there_are_inputs():
    assert len(CORPUS) > 10


@pytest.mark.parametrize("part", range(4))
def test_inputs_that_were_kept(part, folder):
    for path in CORPUS[part::4]:
        run_one(path.read_bytes(), folder)


def test_what_breaks_a_reader_is_noticed(folder, monkeypatch):
    monkeypatch.setattr("particle_readers.read_particles", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_one(b"\x00data_\n", folder)
