"""Pickles of the published program: every protocol is read, nothing in them is run."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.legacy import read_legacy_subvolumes
from cryodl.methods.autoencoder3d.plain_pickle import read_plain_pickle

# Written by Python 2.7 with numpy 1.16, protocol 2: {'c': [1, 2L, 0.5], 'v': arange(3.) as float32}
PYTHON2 = (
    b"\x80\x02}q\x00(U\x01cq\x01]q\x02(K\x01\x8a\x01\x02G?\xe0\x00\x00\x00\x00\x00\x00eU\x01vq\x03"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06"
    b"(K\x01K\x03\x85cnumpy\ndtype\nq\x07U\x02f4K\x00K\x01\x87Rq\x08(K\x03U\x01<NNNJ\xff\xff\xff"
    b"\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@tbu."
)


def subvolumes(n=6, count=3):
    rng = np.random.default_rng(0)
    entries = {
        f"id{i}": {"center": [10 + i, 20, 30], "id": f"id{i}", "v": rng.normal(size=(n, n, n))}
        for i in range(count)
    }
    entries["outside"] = {"center": np.array([0, 1, 2]), "id": "outside", "v": None}
    return {"v_siz": np.array([n, n, n]), "vs": entries}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path, protocol):
    path, data = tmp_path / "data.pickle", subvolumes()
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    found = read_legacy_subvolumes(path)
    assert found.names == ["id0", "id1", "id2", "outside"] and found.box_size_px == 6
    assert found.volumes[3] is None
    assert np.array_equal(found.volumes[1], data["vs"]["id1"]["v"].transpose(2, 1, 0))
    assert found.centres_px[2].tolist() == [12, 20, 30]


def test_python_2_is_read(tmp_path):
    path = tmp_path / "two.pickle"
    path.write_bytes(PYTHON2)
    found = read_plain_pickle(path)
    assert found["c"] == [1, 2, 0.5]
    assert found["v"].tolist() == [0, 1, 2] and found["v"].dtype == np.float32


def test_other_layouts_and_scalars(tmp_path):
    path = tmp_path / "x.pickle"
    values = [
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.float64(2.5),
        (1, -5, 2**70, None, True, "é" * 2000),
        np.zeros((0, 3)),
    ]
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps(values, protocol=protocol))
        found = read_plain_pickle(path)
        assert np.array_equal(found[0], values[0]) and found[1] == 2.5
        assert found[3].shape == (0, 3)
        assert found[2][:5] == values[2][:5]


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "call",
    [(os.system, "touch owned"), (eval, "1"), (getattr, "a", "b"), (np.load, "x")],
    ids=["system", "eval", "getattr", "load"],
)
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, protocol, call):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pickle"
    path.write_bytes(pickle.dumps({"v_siz": [4], "vs": {"a": Attack(*call)}}, protocol=protocol))
    with pytest.raises(InputError, match="nothing of it was run"):
        read_legacy_subvolumes(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'touch owned'\ntR.",
        pickle.dumps(np.array([Attack(eval, "1")], dtype=object)),
        pickle.dumps(np.array([None], dtype=object)),
        b"(i__main__\nX\n.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.",
    ],
)
def test_tricks_are_refused(tmp_path, content):
    path = tmp_path / "bad.pickle"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_plain_pickle(path)


@pytest.mark.parametrize("cut", range(0, len(PYTHON2), 7))
def test_cut_files_are_one_line(tmp_path, cut):
    path = tmp_path / "cut.pickle"
    path.write_bytes(PYTHON2[:cut])
    with pytest.raises(InputError):
        read_plain_pickle(path)


def test_wrong_structures_are_explained(tmp_path):
    path = tmp_path / "data.pickle"
    for content, words in (
        ([1, 2], "no 'v_siz'"),
        ({"v_siz": [4, 4, 6], "vs": {"a": {}}}, "expected cubes"),
        ({"v_siz": [4, 4, 4], "vs": {"a": {"id": "a"}}}, "no 'v' and 'center'"),
        ({"v_siz": [4] * 3, "vs": {"a": {"center": [1, 2], "v": None}}}, "three coordinates"),
    ):
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(InputError, match=words):
            read_legacy_subvolumes(path)


def test_large_arrays_stay_in_the_file(tmp_path):
    path = tmp_path / "large.pickle"
    path.write_bytes(pickle.dumps(np.ones((256, 1024, 64), dtype=np.float32), protocol=4))
    program = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from cryodl.methods.autoencoder3d.plain_pickle import read_plain_pickle\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "v = read_plain_pickle(Path(sys.argv[1]))\n"
        "print(v.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.stdout.startswith("(256, 1024, 64)"), done.stderr
    # 64 MiB of voxels; nothing near that is taken from the memory.
    assert int(done.stdout.split()[-1]) < 16 * 1024
