import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodl.core.io.atomic import (
    atomic_path,
    mapped_array,
    write_bytes,
    write_json,
    write_text,
)
from cryodl.errors import InputError, ResourceError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "a.mrc.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".mrc.gz")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.mrc.gz"]


def test_a_failure_keeps_the_earlier_file_and_its_own_type(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "before")
    with pytest.raises(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half of it")
        raise KeyError("bug")
    assert target.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_text_json_and_bytes_round_trip(tmp_path):
    write_text(tmp_path / "t", "µ Å\n")
    assert (tmp_path / "t").read_bytes() == "µ Å\n".encode()
    write_json(tmp_path / "j", {"size": [1, 2.5], "name": "Å"})
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8")) == {
        "size": [1, 2.5],
        "name": "Å",
    }
    write_bytes(tmp_path / "b", b"\0\1")
    assert (tmp_path / "b").read_bytes() == b"\0\1"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "j", {"loss": float("nan")})
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8"))["size"] == [1, 2.5]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_replaced_and_its_target_untouched(tmp_path):
    (tmp_path / "import.mrc").write_text("original")
    (tmp_path / "link.mrc").symlink_to(tmp_path / "import.mrc")
    write_text(tmp_path / "link.mrc", "result")
    assert (tmp_path / "import.mrc").read_text() == "original"
    assert not (tmp_path / "link.mrc").is_symlink()


def test_bad_places_are_refused_with_their_name(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/a\.txt.*does not exist.*create it"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")
    with pytest.raises(InputError, match="is a folder"):
        write_text(tmp_path, "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="does not exist"):
        write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(ResourceError, match="name too long"):
        write_text(tmp_path / ("n" * 300), "x")


@pytest.fixture
def tiny_disk(tmp_path):
    """Give a file system of 64 kB, which needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount program")
    if done.returncode != 0:
        pytest.skip("no right to mount a file system here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def test_a_really_full_disk_leaves_the_earlier_file(tiny_disk):
    target = tiny_disk / "a.bin"
    write_bytes(target, b"before")
    with pytest.raises(ResourceError, match=r"a\.bin.*disk is full"):
        write_bytes(target, bytes(1 << 20))
    assert target.read_bytes() == b"before"
    assert names(tiny_disk) == ["a.bin"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_disk_errors_in_the_block_become_one_line(tmp_path, number):
    with pytest.raises(ResourceError) as caught, atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("part")
        raise OSError(number, os.strerror(number))
    assert str(tmp_path / "a") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 3
    assert names(tmp_path) == []


def test_disk_full_while_flushing_leaves_nothing(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        write_text(tmp_path / "a", "x")
    assert names(tmp_path) == []


def test_no_permission_for_our_file_is_ours_and_for_another_is_not(tmp_path):
    denied = pytest.raises(ResourceError, match="permission denied")
    with denied, atomic_path(tmp_path / "a") as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    with pytest.raises(PermissionError, match="input"), atomic_path(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "input.mrc")
    with pytest.raises(FileNotFoundError, match="input"), atomic_path(tmp_path / "a"):
        Path(tmp_path / "input").read_text()
    assert names(tmp_path) == []


def test_a_kill_in_between_keeps_the_earlier_file(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "before")
    program = (
        "import os, sys\n"
        "from cryodl.core.io.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert done.returncode == -9
    assert target.read_text() == "before"


def test_an_array_takes_its_room_before_it_is_filled(tmp_path):
    path = tmp_path / "a.npy"
    with atomic_path(path) as temporary:
        stored = mapped_array(temporary, np.float16, (64, 64, 64))
        assert temporary.stat().st_blocks * 512 >= 64**3 * 2
        stored[:] = 1
        stored.flush()
    assert np.load(path).sum(dtype=np.float64) == 64**3


def test_an_array_that_finds_no_room_is_told(tmp_path, monkeypatch):
    def full(descriptor, start, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(ResourceError, match=r"a\.npy: could not be written, the disk is full"),
        atomic_path(tmp_path / "a.npy") as temporary,
    ):
        mapped_array(temporary, np.float16, (4, 4))
    assert not list(tmp_path.iterdir())
