"""Pickles of the published program: every protocol is read, nothing in them is run."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest

from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.legacy import read_legacy_subvolumes


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


def test_arrays_stay_in_the_file(tmp_path):
    boxes = np.random.default_rng(1).normal(size=(12, 64, 64, 64)).astype(np.float32)
    entries = {f"id{i}": {"center": [1, 2, 3], "id": f"id{i}", "v": v} for i, v in enumerate(boxes)}
    path = tmp_path / "large.pickle"
    path.write_bytes(pickle.dumps({"v_siz": np.array([64] * 3), "vs": entries}, protocol=4))
    tracemalloc.start()
    try:
        found = read_legacy_subvolumes(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Not even one of the boxes was copied, whatever the size of the file.
    assert peak < boxes[0].nbytes < path.stat().st_size / 10
    assert np.array_equal(found.volumes[7], boxes[7].transpose(2, 1, 0))


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
