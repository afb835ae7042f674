"""Every way in which a file can be wrong ends in one line, and none in a warning or a crash."""

import bz2
import errno
import gzip
import lzma
import math
import os
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryodl.core.io.mrc import Volume, read_stack, read_volume, write_volume
from cryodl.errors import InputError

SHAPE = (4, 5, 6)  # z, y, x
NX, MODE, MX, CELL, MAPC, ISPG, NSYMBT, ORIGIN, MAGIC = 0, 12, 28, 40, 64, 88, 92, 196, 208


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.mrc"
    data = np.random.default_rng(0).normal(size=SHAPE)
    write_volume(path, data, pixel_size_angstrom=2.0)
    return path


def patched(path, *changes):
    """Overwrite fields: (offset, struct format, values...)."""
    raw = bytearray(path.read_bytes())
    for offset, layout, *values in changes:
        struct.pack_into("<" + layout, raw, offset, *values)
    path.write_bytes(raw)
    return path


def refusal(path, **options):
    """Read what must be refused, and return the one line that says why."""
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    assert "expected" in message
    assert ";" in message  # what to do comes after it
    return message


def test_files_that_are_not_there(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.mrc")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "empty.mrc").write_bytes(b"")
    assert "is empty" in refusal(tmp_path / "empty.mrc")
    (tmp_path / "dangling.mrc").symlink_to(tmp_path / "gone.mrc")
    assert "does not exist" in refusal(tmp_path / "dangling.mrc")
    os.mkfifo(tmp_path / "pipe.mrc")
    assert "not a regular file" in refusal(tmp_path / "pipe.mrc")
    with pytest.raises(InputError, match="expected an MRC file"):
        read_volume("nul\0byte.mrc")


def test_no_permission(good, monkeypatch):
    def denied(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in refusal(good)


@pytest.mark.parametrize("length", [1, 2, 100, 1023])
def test_too_short_for_a_header(good, length):
    good.write_bytes(good.read_bytes()[:length])
    assert f"holds {length} bytes" in refusal(good)


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize("missing", [1, 4, 479, 480])
def test_truncated_data(good, missing, memory_map):
    size = good.stat().st_size
    good.write_bytes(good.read_bytes()[:-missing])
    message = refusal(good, memory_map=memory_map)
    assert f"holds {size - missing} bytes, expected {size} for 6x5x4 voxels" in message


def test_other_formats(good, tmp_path):
    patched(good, (MAGIC, "4s", b"XXXX"))
    assert "expected b'MAP '" in refusal(good)
    for name, start in (("text.mrc", b"data_particles\n"), ("image.mrc", b"II*\0")):
        (tmp_path / name).write_bytes(start + bytes(range(256)) * 20)
        refusal(tmp_path / name)
    (tmp_path / "zeros.mrc").write_bytes(bytes(5000))
    assert "0 x 0 x 0 voxels" in refusal(tmp_path / "zeros.mrc")


def test_a_blank_magic_word_is_an_old_file(good, caplog):
    data = read_volume(good).data
    patched(good, (MAGIC, "4s", b"\0" * 4))
    np.testing.assert_array_equal(read_volume(good).data, data)
    assert "old-style" in caplog.text
    patched(good, (MAGIC, "4s", b"MAP\0"))
    np.testing.assert_array_equal(read_volume(good).data, data)


@pytest.mark.parametrize("sizes", [(0, 5, 4), (-6, 5, 4), (6, 5, 10001), (2**31 - 1,) * 3])
def test_impossible_sizes(good, sizes):
    patched(good, (NX, "3i", *sizes))
    assert f"{' x '.join(map(str, sizes))} voxels, expected 1 to 10000" in refusal(good)


def test_huge_sizes_allocate_nothing(good, tmp_path):
    patched(good, (NX, "3i", 10_000, 10_000, 10_000))
    (tmp_path / "huge.mrc.gz").write_bytes(gzip.compress(good.read_bytes()))
    tracemalloc.start()
    try:
        assert "expected 4000000001024" in refusal(good)
        assert "far too few bytes" in refusal(tmp_path / "huge.mrc.gz")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("mode", "word"),
    [(3, "complex"), (4, "complex"), (16, "RGB"), (101, "4-bit"), (5, ""), (-1, "")],
)
def test_modes_that_are_no_real_map(good, mode, word):
    patched(good, (MODE, "i", mode))
    message = refusal(good)
    assert f"data mode {mode}" in message
    assert word in message


def test_extended_header_that_cannot_be(good):
    patched(good, (NSYMBT, "i", -80))
    assert "extended header of -80 bytes" in refusal(good)
    patched(good, (NSYMBT, "i", 2_000_000_000))
    assert "after 2000001024 bytes of header" in refusal(good)


@pytest.mark.parametrize("order", [(1, 1, 2), (0, 1, 2), (1, 2, 4), (-1, 2, 3)])
def test_order_of_axes_that_cannot_be(good, order):
    patched(good, (MAPC, "3i", *order))
    assert "order of axes" in refusal(good)


@pytest.mark.parametrize(
    "cell",
    [
        (0, 0, 0),
        (-12, -10, -8),
        (math.nan, 10, 8),
        (math.inf, math.inf, math.inf),
        (12, 10, 8.02),
        (1e-30, 1e-30, 1e-30),
        (1e30, 1e30, 1e30),
    ],
)
def test_pixel_sizes_that_cannot_be(good, cell):
    patched(good, (CELL, "3f", *cell))
    message = refusal(good)
    assert "pixel size in the header" in message
    assert "--pixel-size" in message
    assert read_volume(good, pixel_size_angstrom=2.5).pixel_size_angstrom == 2.5


def test_pixel_sizes_within_the_tolerance(good):
    patched(good, (CELL, "3f", 12, 10, 8.007))
    assert read_volume(good).pixel_size_angstrom == 2.0


def test_intervals_other_than_the_voxels_count(good):
    patched(good, (MX, "3i", 12, 10, 8))
    assert read_volume(good).pixel_size_angstrom == 1.0
    patched(good, (MX, "3i", 0, 0, 0))
    assert read_volume(good).pixel_size_angstrom == 2.0


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_given_pixel_size_is_checked(good, value):
    assert "was given for it" in refusal(good, pixel_size_angstrom=value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("memory_map", [False, True])
def test_values_that_are_not_finite(good, value, memory_map):
    patched(good, (1024 + 40, "2f", value, value))
    assert "2 of 120 voxels are NaN or infinite" in refusal(good, memory_map=memory_map)
    kept = read_volume(good, memory_map=memory_map, require_finite=False).data
    assert np.count_nonzero(~np.isfinite(kept)) == 2


def test_blank_maps(tmp_path):
    write_volume(tmp_path / "m.mrc", np.full(SHAPE, 3.5), pixel_size_angstrom=1)
    assert "every voxel has the value 3.5" in refusal(tmp_path / "m.mrc")
    assert (read_volume(tmp_path / "m.mrc", require_variance=False).data == 3.5).all()
    patched(tmp_path / "m.mrc", (1024, "120f", *[math.nan] * 120))
    assert "no finite value" in refusal(tmp_path / "m.mrc", require_finite=False)


def test_boxes_that_are_no_cube(good, tmp_path):
    assert "box 6x5x4" in refusal(good, require_cubic=True)
    cube = np.random.default_rng(0).normal(size=(4, 4, 4))
    write_volume(tmp_path / "cube.mrc", cube, pixel_size_angstrom=1)
    assert read_volume(tmp_path / "cube.mrc", require_cubic=True).shape_zyx == (4, 4, 4)


def test_images_and_stacks_are_no_volumes(good, tmp_path):
    stack = tmp_path / "stack.mrcs"
    stack.write_bytes(good.read_bytes())
    assert "a stack of 4 2D images of 6x5" in refusal(stack)
    (tmp_path / "stack.mrcs.gz").write_bytes(gzip.compress(good.read_bytes()))
    assert "2D images" in refusal(tmp_path / "stack.mrcs.gz")
    original = good.read_bytes()
    patched(good, (ISPG, "i", 0))
    assert read_volume(good).shape_zyx == SHAPE  # old volumes say 0 too
    patched(good, (MX + 8, "i", 1))
    assert "2D images" in refusal(good)
    good.write_bytes(original)
    patched(good, (ISPG, "i", 401), (MX + 8, "i", 2))
    assert "a stack of volumes" in refusal(good)
    write_volume(tmp_path / "image.mrc", np.eye(5)[None], pixel_size_angstrom=1)
    assert "one 2D image of 5x5 pixels" in refusal(tmp_path / "image.mrc")


def test_damaged_gzip(good, tmp_path):
    whole = gzip.compress(good.read_bytes())
    path = tmp_path / "m.mrc.gz"
    for content in (whole[:-9], whole[:60], whole[:4], whole[:-8] + b"\0" * 8):
        path.write_bytes(content)
        assert "damaged gzip file" in refusal(path)
    path.write_bytes(gzip.compress(good.read_bytes()[:-4]))
    assert "holds 1500 bytes, expected 1504" in refusal(path)
    path.write_bytes(good.read_bytes())  # the suffix lies, the content counts
    assert read_volume(path).shape_zyx == SHAPE


def test_nonsense_origin_is_taken_as_zero(good, caplog):
    patched(good, (ORIGIN, "3f", math.nan, 1, 2))
    assert read_volume(good).origin_xyz_angstrom == (0, 0, 0)
    assert "origin" in caplog.text


def test_reading_needs_about_the_memory_of_the_voxels(tmp_path):
    data = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    write_volume(tmp_path / "m.mrc", data, pixel_size_angstrom=1)
    tracemalloc.start()
    try:
        read_volume(tmp_path / "m.mrc")
        assert tracemalloc.get_traced_memory()[1] < 2 * data.nbytes
    finally:
        tracemalloc.stop()


header_word = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(lambda v: struct.pack("<i", v)),
    st.integers(-3, 12).map(lambda v: struct.pack("<i", v)),
    st.floats(width=32).map(lambda v: struct.pack("<f", v)),
    st.binary(min_size=4, max_size=4),
)


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    words=st.lists(st.tuples(st.integers(0, 59), header_word), max_size=4),
    stray=st.lists(st.tuples(st.integers(0, 1503), st.integers(0, 255)), max_size=4),
    length=st.one_of(st.none(), st.integers(1, 1600)),
    compress=st.booleans(),
    memory_map=st.booleans(),
)
@example([(3, struct.pack("<i", 1)), (23, struct.pack("<i", 200))], [], None, False, True)
@example([(i, struct.pack("<i", 100)) for i in (0, 1, 2)], [], None, True, False)
def test_any_damage_gives_a_sane_volume_or_one_line(
    tmp_path, words, stray, length, compress, memory_map
):
    path = tmp_path / "m.mrc"
    data = np.random.default_rng(0).normal(size=SHAPE)
    write_volume(path, data, like=Volume(data, 2.0, (1.0, 2.0, 3.0), (1, 2, 3), ("label",)))
    raw = bytearray(path.read_bytes())
    for index, word in words:
        raw[4 * index : 4 * index + 4] = word
    for offset, value in stray:
        raw[offset] = value
    content = bytes(raw if length is None else raw[:length].ljust(length, b"\0"))
    path.write_bytes(gzip.compress(content) if compress else content)
    for read in (read_volume, read_stack):
        try:
            result = read(path, memory_map=memory_map)
        except InputError as error:
            assert "\n" not in str(error) and "m.mrc" in str(error)
            continue
        if isinstance(result, Volume):
            assert result.data.size * 1 <= len(content)
            assert np.isfinite(result.data).all()
            assert 0.01 <= result.pixel_size_angstrom <= 1e4
            assert all(math.isfinite(v) for v in result.origin_xyz_angstrom)
            assert all(label.isprintable() for label in result.labels)
        else:
            assert result.ndim == 3 and result.size <= len(content)


def test_reading_does_not_import_torch_or_pandas():
    import subprocess

    program = (
        "import sys, cryodl.core.io.mrc, cryodl.core.io.star\n"
        "sys.exit(bool({'torch', 'pandas', 'starfile'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("packer", [bz2, lzma])
def test_other_packers_are_named(tmp_path, packer):
    path = tmp_path / "map.mrc"
    write_volume(path, np.random.default_rng(0).random((8, 8, 8)), pixel_size_angstrom=1.0)
    path.write_bytes(packer.compress(path.read_bytes()))
    with pytest.raises(InputError, match=r"map.mrc: is packed with \w+, expected .*; unpack it"):
        read_volume(path)
