"""Pickles of plain values: every protocol is read, nothing in them is run."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from cryodl.core.io.plain_pickle import read_plain_pickle
from cryodl.errors import InputError

# Written by Python 2.7 with numpy 1.16, protocol 2: {'c': [1, 2L, 0.5], 'v': arange(3.) as float32}
PYTHON2 = (
    b"\x80\x02}q\x00(U\x01cq\x01]q\x02(K\x01\x8a\x01\x02G?\xe0\x00\x00\x00\x00\x00\x00eU\x01vq\x03"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06"
    b"(K\x01K\x03\x85cnumpy\ndtype\nq\x07U\x02f4K\x00K\x01\x87Rq\x08(K\x03U\x01<NNNJ\xff\xff\xff"
    b"\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@tbu."
)


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


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


def test_large_arrays_stay_in_the_file(tmp_path):
    path = tmp_path / "large.pickle"
    path.write_bytes(pickle.dumps(np.ones((256, 1024, 64), dtype=np.float32), protocol=4))
    program = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from cryodl.core.io.plain_pickle import read_plain_pickle\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "v = read_plain_pickle(Path(sys.argv[1]))\n"
        "print(v.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.stdout.startswith("(256, 1024, 64)"), done.stderr
    # 64 MiB of voxels; nothing near that is taken from the memory.
    assert int(done.stdout.split()[-1]) < 16 * 1024
