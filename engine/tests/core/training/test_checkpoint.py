"""Checkpoints: whole or refused, and always one before."""

import pytest
import torch

from cryodl.core.training.checkpoint import (
    check_settings,
    read_checkpoint,
    read_newest,
    remove_checkpoints,
    write_checkpoint,
)
from cryodl.errors import CheckpointError


def state(step):
    return {
        "fixed": {"seed": 1},
        "weights": {"w": torch.full((50,), float(step))},
        "optimizer": {},
        "step": step,
        "epoch": 0,
        "history": [{"loss": 0.5}],
    }


def test_round_trip_and_the_one_before(tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, state(step))
    found, path = read_newest(tmp_path)
    assert path.name == "last.pt" and found["step"] == 3
    assert torch.equal(found["weights"]["w"], torch.full((50,), 3.0))
    assert read_checkpoint(tmp_path / "previous.pt")["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_no_folder_means_no_checkpoint(tmp_path):
    assert read_newest(tmp_path / "absent") is None


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "flipped", "other"])
def test_a_damaged_file_is_refused_and_the_one_before_is_used(tmp_path, damage):
    for step in (1, 2):
        write_checkpoint(tmp_path, state(step))
    last = tmp_path / "last.pt"
    content = bytearray(last.read_bytes())
    if damage == "cut":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        last.write_bytes(b"\x80\x02}q\x00garbage" * 40)
    elif damage == "empty":
        last.write_bytes(b"")
    elif damage == "flipped":
        # One bit of the weights, 2.0 as float32: the checksum of the archive has to notice.
        place = content.find(b"\x00\x00\x00\x40" * 10)
        assert place > 0
        content[place + 9] ^= 1
        last.write_bytes(content)
    else:
        torch.save({"weights": {}}, last)
    with pytest.raises(CheckpointError, match=r"last.pt: (cannot be read|found format None)") as e:
        read_checkpoint(last)
    assert "\n" not in str(e.value)
    found, path = read_newest(tmp_path)
    assert found["step"] == 1 and path.name == "previous.pt"
    # The damaged one must not take the place of the good one when the next is written.
    write_checkpoint(tmp_path, state(9))
    assert read_checkpoint(tmp_path / "previous.pt")["step"] == 1


def test_nothing_but_damaged_files_is_an_error(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="expected a checkpoint of cryodl"):
        read_newest(tmp_path)


class Malicious:
    def __reduce__(self):
        return (eval, ("1/0",))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({**state(1), "format": 1, "history": Malicious()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "last.pt")


def test_the_setting_that_differs_is_named(tmp_path):
    saved = {"fixed": {"seed": 1, "width": 16}}
    check_settings(saved, {"seed": 1, "width": 16}, tmp_path)
    with pytest.raises(CheckpointError, match="found width 16, expected 32 as asked"):
        check_settings(saved, {"seed": 1, "width": 32}, tmp_path)


def test_removal_takes_half_written_files_along_and_nothing_else(tmp_path):
    write_checkpoint(tmp_path, state(1))
    (tmp_path / ".cryodl-1-abc.pt").touch()
    (tmp_path / "notes.txt").touch()
    remove_checkpoints(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
